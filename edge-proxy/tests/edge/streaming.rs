//! Long bodies: they arrive whole, and nothing holds them.

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use reqwest::Body;
use sha2::{Digest, Sha256};
use testbed::{
    clients::http::Ask,
    eventually::DEADLINE,
    stack::Stack,
    upstreams::{
        paced::{self, Paced},
        standin::{Content, checksum},
    },
};
use tokio::time::timeout;

const MIB: u64 = 1024 * 1024;
const LONG: u64 = 64 * MIB;
/// Looser than what `make prove` measures on a release build.
const MOST_GROWTH: u64 = 32 * MIB;

#[tokio::test]
async fn a_long_download_and_a_long_upload_arrive_whole_while_the_edge_stays_small() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    assert_eq!(stack.edge().status_for(&token, &format!("/download/{MIB}")).await, 200);
    let edge = stack.edge_planes[0].process();
    edge.forget_peak().expect("a peak to watch");
    let before = edge.resident_bytes().expect("a size");

    let path = format!("/download/{LONG}");
    let mut download = stack.edge().with(&token, Method::GET, &path).send().await.expect("a download");
    let announced = download.headers()["x-checksum-sha256"].to_str().expect("digits").to_owned();
    assert_eq!(download.content_length(), Some(LONG));
    let (mut hasher, mut received) = (Sha256::new(), 0);
    while let Some(chunk) = download.chunk().await.expect("a chunk") {
        hasher.update(&chunk);
        received += chunk.len() as u64;
    }
    let computed: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((received, computed.as_str()), (LONG, announced.as_str()));

    let content = Content::new(LONG).map(Ok::<Bytes, std::io::Error>);
    let upload = stack.edge().with(&token, Method::PUT, "/upload").body(Body::wrap_stream(stream::iter(content)));
    let arrived = upload.answer().await.expect(200);
    assert_eq!(arrived["bytes"], LONG);
    assert_eq!(arrived["sha256"], checksum(LONG));

    let grown = edge.peak_resident_bytes().expect("a size").saturating_sub(before);
    assert!(grown < MOST_GROWTH, "the edge grew by {} MiB", grown / MIB);
    stack.finish().await;
}

#[tokio::test]
async fn a_rewritten_page_begins_to_arrive_before_the_upstream_sends_its_second_mebibyte() {
    let named = "https://zenzefi.local";
    let mut mebibyte = format!("<a href=\"{named}/a\">").into_bytes();
    mebibyte.resize(paced::MIB, b' ');
    let upstream = Paced::start(mebibyte.into()).await.expect("an upstream");
    let plan = Stack::plan().edge_env("ZENZEFI_URL", &upstream.url()).edge_env("ZENZEFI_ALIASES", named);
    let stack = plan.start_edges().await;
    let token = stack.token().await;

    let page = stack.edge().get("/3").header("Cookie", format!("zenzefi_access_token={}", token.text));
    let mut page = page.send().await.expect("a page");
    let first = timeout(DEADLINE, page.chunk()).await.expect("a chunk in time").expect("a stream").expect("a chunk");
    let shown = stack.edge().url();
    assert!(first.starts_with(format!("<a href=\"{shown}/a\">").as_bytes()), "{}", first[..80].escape_ascii());
    upstream.let_go_on(true);
    let mut received = first.len();
    while let Some(chunk) = page.chunk().await.expect("a chunk") {
        received += chunk.len();
    }
    assert_eq!(received, 3 * (paced::MIB + shown.len() - named.len()));
    stack.finish().await;
}

#[tokio::test]
async fn server_sent_events_flow_one_by_one() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    // The second would come after a minute: what arrives before was not held back for it.
    let mut events =
        stack.edge().with(&token, Method::GET, "/sse?every_ms=60000").send().await.expect("an answer at once");
    let first = timeout(DEADLINE, events.chunk()).await.expect("an event in time");
    let first = first.expect("a stream").expect("an event");
    let from = stack.standin.url();
    assert_eq!(first, format!("id: 1\ndata: {{\"from\":\"{from}/sse\",\"tick\":1}}\n\n"));
    drop(events);
    stack.finish().await;
}

#[tokio::test]
async fn a_body_that_the_upstream_cuts_short_is_cut_short_for_the_client_too() {
    let mut stack = Stack::start_edges().await;
    stack.announce(502);
    let token = stack.token().await;
    let cut = stack.edge().with(&token, Method::GET, "/abort?after=200000").try_answer().await;
    assert!(cut.is_err(), "a truncated body passed for a whole one: {cut:?}");
    assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    stack.finish().await;
}
