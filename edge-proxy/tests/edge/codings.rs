//! Bodies that come encoded: rewritten all the same, encoded again for who accepts it, and never
//! taken for whole if they are not.

use std::io::{self, Read};

use http::Method;
use testbed::{
    clients::http::{Answer, Ask, client},
    people::Token,
    stack::{EdgeStack, Plan, Stack, Upstream},
    upstreams::standin::text,
};

const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];
const BYTES: u64 = 100_000;
const MIB: u64 = 1024 * 1024;
/// Looser than what is measured on a release build.
const MOST_GROWTH: u64 = 48 * MIB;
const LOCAL: &str = "https://127.0.0.1:61000";

async fn stack_and_token(plan: Plan) -> (EdgeStack, Token) {
    let stack = plan.start_edges().await;
    let token = stack.token().await;
    (stack, token)
}

/// The body without its coding.
fn decoded(answer: &Answer) -> String {
    let (body, mut text) = (&answer.body[..], String::new());
    let read: io::Result<usize> = match answer.header("content-encoding") {
        "" => { body }.read_to_string(&mut text),
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        "zstd" => zstd::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        other => panic!("{other} was not asked for"),
    };
    read.unwrap_or_else(|error| panic!("{error}: {:?}", answer.headers));
    text
}

#[tokio::test]
async fn a_coded_text_is_rewritten_and_comes_in_a_coding_that_the_client_accepts() {
    for upstream in [Upstream::Unverified, Upstream::Plain] {
        let (stack, token) = stack_and_token(Stack::plan().upstream(upstream)).await;
        let shown = stack.edge().url();
        let origin = if upstream == Upstream::Plain { stack.standin.http_url() } else { stack.standin.url() };
        for library in [client().http1_only(), client().http2_prior_knowledge()] {
            let library = library.build().expect("a client");
            for (comes, accepts, leaves) in [
                ("gzip", "gzip, deflate, br, zstd", "gzip"),
                ("br", "gzip, deflate, br, zstd", "br"),
                ("zstd", "gzip, deflate, br, zstd", "zstd"),
                ("deflate", "gzip, deflate", "gzip"),
                ("deflate", "deflate", ""),
                ("br", "gzip", ""),
                ("gzip", "gzip;q=0, br", ""),
                ("zstd", "identity", ""),
            ] {
                let request = library.get(format!("{shown}/text?bytes={BYTES}&coding={comes}"));
                let request = request.header("Cookie", format!("zenzefi_access_token={}", token.text));
                let answer = request.header("Accept-Encoding", accepts).answer().await;
                assert_eq!(answer.header("content-encoding"), leaves, "{comes} for {accepts}");
                assert!(decoded(&answer) == text(shown, &origin, BYTES), "{comes} for {accepts}: {:?}", answer.headers);
                assert!(answer.header("etag").starts_with("W/"), "{comes}: {:?}", answer.headers);
                let vary: Vec<_> =
                    answer.headers.get_all("vary").iter().filter_map(|line| line.to_str().ok()).collect();
                assert!(vary.join(", ").to_ascii_lowercase().contains("accept-encoding"), "{comes}: {vary:?}");
                assert_eq!(answer.header("content-length"), "", "{comes} for {accepts}");
            }
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn callers_that_lose_the_coding_get_none_also_where_the_upstream_insists_on_one() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let (edge, origin) = (stack.edge(), stack.standin.url());
    for coding in CODINGS {
        for media_type in ["text/html", "application/octet-stream"] {
            let path = format!("/text?bytes={BYTES}&coding={coding}&type={media_type}");
            let asks = || edge.with(&token, Method::GET, &path).header("Accept-Encoding", "gzip, br, zstd, deflate");
            let shown = if media_type == "text/html" { LOCAL } else { &origin };
            for (request, shown) in [(asks(), origin.as_str()), (asks().header("X-Local-Url", LOCAL), shown)] {
                let answer = request.answer().await;
                assert_eq!(answer.header("content-encoding"), "", "{coding} {media_type} {shown}");
                assert!(answer.text() == text(shown, &origin, BYTES), "{coding} {media_type} {shown}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_broken_coding_ends_in_an_error_that_the_client_sees() {
    let (mut stack, token) = stack_and_token(Stack::plan()).await;
    stack.announce(502);
    for library in [client().http1_only(), client().http2_prior_knowledge()] {
        let library = library.build().expect("a client");
        for coding in CODINGS {
            for (broken, accepts) in
                [("cut", coding), ("cut", "identity"), ("corrupt", coding), ("corrupt", "identity")]
            {
                let path = format!("/text?bytes={BYTES}&coding={coding}&broken={broken}");
                let request = library.get(format!("{}{path}", stack.edge().url())).header("Accept-Encoding", accepts);
                let request = request.header("Cookie", format!("zenzefi_access_token={}", token.text));
                // Before the first byte went out it may still be told in words.
                let answer = request.try_answer().await;
                let is_told = answer.as_ref().map_or(true, |answer| answer.status == 502);
                assert!(is_told, "{coding} {broken} for {accepts} passed for whole: {answer:?}");
            }
        }
        assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_bomb_is_stopped_where_it_would_go_off_and_neither_way_does_the_edge_grow() {
    const MEBIBYTES: usize = 64;
    let (mut stack, token) = stack_and_token(Stack::plan()).await;
    stack.announce(502);
    let edge = stack.edge_planes[0].process();
    assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    edge.forget_peak().expect("a peak to watch");
    let before = edge.resident_bytes().expect("a size");
    let asks = |accepts| {
        let request = stack.edge().by_cookie(&token, Method::GET, &format!("/bomb/{MEBIBYTES}"));
        request.header("Accept-Encoding", accepts)
    };
    let plain = asks("identity").try_answer().await;
    assert!(plain.as_ref().map_or(true, |answer| answer.status == 502), "{:?}", plain.map(|answer| answer.body.len()));
    let coded = asks("gzip").answer().await;
    assert!(coded.body.len() < MEBIBYTES * 32 * 1024, "{}", coded.body.len());
    assert_eq!(decoded(&coded).len(), MEBIBYTES * 1024 * 1024);
    let grown = edge.peak_resident_bytes().expect("a size").saturating_sub(before);
    assert!(grown < MOST_GROWTH, "the edge grew by {} MiB", grown / MIB);
    stack.finish().await;
}

#[tokio::test]
async fn the_upstream_is_asked_only_for_codings_that_the_edge_knows() {
    const KNOWN: [&str; 5] = ["gzip", "br", "zstd", "deflate", "identity"];
    let (stack, token) = stack_and_token(Stack::plan()).await;
    for accepts in [
        "gzip, deflate, br, zstd",
        "gzip, deflate, br, zstd, dcb, dcz",
        "compress",
        "*",
        "xz;q=1.0, *;q=0.5",
        "sdch, BR;q=0.3",
        "",
    ] {
        let request = stack.edge().by_cookie(&token, Method::GET, "/echo").header("Accept-Encoding", accepts);
        let echo = request.answer().await.expect(200);
        let pairs = echo["headers"].as_array().expect("pairs").iter().filter(|pair| pair[0] == "accept-encoding");
        let lines: Vec<&str> = pairs.filter_map(|pair| pair[1].as_str()).collect();
        let names =
            lines.iter().flat_map(|line| line.split(',')).map(|item| item.split(';').next().unwrap_or_default());
        let names: Vec<String> = names.map(|name| name.trim().to_ascii_lowercase()).collect();
        assert!(!names.is_empty(), "without a word the upstream may choose any: {accepts:?}");
        assert!(names.iter().all(|name| KNOWN.contains(&name.as_str())), "{accepts:?} became {lines:?}");
        for known in KNOWN.iter().filter(|known| accepts.to_ascii_lowercase().contains(*known)) {
            assert!(names.iter().any(|name| name == known), "{accepts:?} became {lines:?}");
        }
    }
    stack.finish().await;
}
