//! Rewriting holds nothing up and loses nothing: events one by one, the last bytes before trailers,
//! long texts, what is metered.

use std::{io::Write, time::Duration};

use flate2::write::GzDecoder;
use http::Method;
use reqwest::Response;
use testbed::{
    clients::http::{Ask, client},
    eventually,
    people::Token,
    stack::{EdgeStack, Stack, Upstream},
    upstreams::standin::text,
};

const MIB: u64 = 1024 * 1024;
const LONG: u64 = 24 * MIB;
/// Looser than what is measured on a release build.
const MOST_GROWTH: u64 = 24 * MIB;
const LOCAL: &str = "https://127.0.0.1:61000";

async fn token_of(stack: &EdgeStack) -> Token {
    stack.token().await
}

/// Reads on until what has come, once `decode` has seen it, ends an event; that text.
async fn event(answer: &mut Response, decode: &mut impl FnMut(&[u8]) -> String) -> String {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout(eventually::DEADLINE, answer.chunk()).await.expect("an event in time");
        text += &decode(&chunk.expect("a stream").expect("an event"));
    }
    text
}

#[tokio::test]
async fn events_arrive_one_by_one_and_rewritten_in_every_coding() {
    let stack = Stack::start_edges().await;
    let token = token_of(&stack).await;
    let shown = stack.edge().url();
    let named =
        |origin: &str, tick: u32| format!("id: {tick}\ndata: {{\"from\":\"{origin}/sse\",\"tick\":{tick}}}\n\n");
    // A second later each: what comes before the last did not wait for it.
    let path = "/sse?every_ms=1000";
    for path in [path.to_owned(), format!("{path}&coding=br"), format!("{path}&coding=zstd")] {
        let asks = || stack.edge().by_cookie(&token, Method::GET, &path).header("Accept-Encoding", "identity");
        for (request, origin) in [(asks(), shown), (asks().header("X-Local-Url", LOCAL), LOCAL)] {
            let mut answer = request.send().await.expect("an answer");
            let mut decode = |chunk: &[u8]| String::from_utf8(chunk.to_vec()).expect("text");
            for tick in 1..=2 {
                assert_eq!(event(&mut answer, &mut decode).await, named(origin, tick), "{path}");
            }
        }
    }
    let coded = stack.edge().by_cookie(&token, Method::GET, &format!("{path}&coding=gzip"));
    let mut answer = coded.header("Accept-Encoding", "gzip").send().await.expect("an answer");
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut decoder = GzDecoder::new(Vec::new());
    let mut decode = |chunk: &[u8]| {
        decoder.write_all(chunk).and_then(|()| decoder.flush()).expect("gzip");
        String::from_utf8(std::mem::take(decoder.get_mut())).expect("text")
    };
    for tick in 1..=3 {
        assert_eq!(event(&mut answer, &mut decode).await, named(shown, tick));
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_last_bytes_before_trailers_arrive() {
    const BYTES: u64 = 3_000;
    for (upstream, is_http_2) in [(Upstream::Unverified, true), (Upstream::Plain, false)] {
        let stack = Stack::plan().upstream(upstream).start_edges().await;
        let token = token_of(&stack).await;
        let (shown, edge) = (stack.edge().url(), stack.edge());
        let origin = if is_http_2 { stack.standin.url() } else { stack.standin.http_url() };
        for library in [client().http1_only(), client().http2_prior_knowledge()] {
            let library = library.build().expect("a client");
            for coding in ["", "&coding=gzip", "&coding=br", "&coding=zstd"] {
                // The text ends with the origin: what follows could still make it another, so it is
                // held until the very end.
                for ending in ["&trailers=1", ""] {
                    let path = format!("/text?bytes={BYTES}{coding}{ending}");
                    let request = library.get(format!("{}{path}", edge.url())).header("Accept-Encoding", "identity");
                    let request = request.header("Cookie", format!("zenzefi_access_token={}", token.text));
                    assert_eq!(request.answer().await.text(), text(shown, &origin, BYTES), "{upstream:?} {path}");
                }
            }
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_long_text_arrives_whole_while_the_edge_stays_small() {
    let stack = Stack::start_edges().await;
    let token = token_of(&stack).await;
    let path = format!("/text?bytes={LONG}");
    assert_eq!(stack.edge().by_cookie(&token, Method::GET, "/text").answer().await.status, 200);
    let edge = stack.edge_planes[0].process();
    edge.forget_peak().expect("a peak to watch");
    let before = edge.resident_bytes().expect("a size");
    let answer = stack.edge().by_cookie(&token, Method::GET, &path).timeout(Duration::from_secs(120)).answer().await;
    let grown = edge.peak_resident_bytes().expect("a size").saturating_sub(before);
    assert!(answer.text() == text(stack.edge().url(), &stack.standin.url(), LONG), "{} bytes", answer.body.len());
    assert!(grown < MOST_GROWTH, "the edge grew by {} MiB", grown / MIB);
    stack.finish().await;
}
