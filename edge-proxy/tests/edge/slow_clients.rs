//! Clients that take their time, and bodies that are too large: they end, and nobody else notices.

use std::time::Duration;

use http::Method;
use testbed::{
    clients::{
        http::Ask,
        raw_http::Wire,
        slow::{self, Slow},
    },
    eventually,
    stack::Stack,
};
use tokio_util::sync::CancellationToken;

const SLOW: usize = 350;
const AT_LEAST: Duration = Duration::from_millis(900);

#[tokio::test]
async fn hundreds_of_slow_clients_end_while_a_good_one_is_served_throughout() {
    let stack = Stack::plan()
        .edge_env("HEADER_TIMEOUT_SECONDS", "2")
        .edge_env("BODY_TIMEOUT_SECONDS", "2")
        .edge_env("IDLE_TIMEOUT_SECONDS", "1")
        .start_edges()
        .await;
    let (good, slow_one) = (stack.token().await, stack.token().await);
    let host = stack.edge().url().trim_start_matches("http://").to_owned();
    let slow = slow::start(&host, &slow_one, SLOW);
    let all_ended = CancellationToken::new();
    let served = async {
        let mut served = 0;
        while !all_ended.is_cancelled() {
            assert_eq!(stack.edge().status_for(&good, "/users/currentUser").await, 200);
            served += 1;
        }
        served
    };
    let ends = async {
        let ended = slow::all(slow, eventually::DEADLINE).await;
        all_ended.cancel();
        ended.unwrap_or_else(|left| panic!("{left} slow clients are still connected"))
    };
    let (served, ended) = tokio::join!(served, ends);
    assert!(served > 10, "the good client was served {served} times");
    assert_eq!(ended.len(), SLOW, "all of them connected");
    for one in ended {
        let expected = match one.slow {
            Slow::Head | Slow::Body | Slow::DrippingBody => 408,
            Slow::Idle => 200,
            Slow::Silent | Slow::Preface | Slow::NoRequest => 0,
        };
        assert!(one.status == expected && one.after >= AT_LEAST, "{one:?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_body_that_is_larger_than_allowed_is_413_however_it_says_so() {
    let stack = Stack::plan().edge_env("MAX_BODY_BYTES", "100000").start_edges().await;
    let token = stack.token().await;
    let edge = stack.edge();
    let allowed = edge.with(&token, Method::POST, "/upload").body(vec![b'x'; 100_000]).answer().await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    let seen = stack.standin.seen("/upload").requests;
    let announced = edge.with(&token, Method::POST, "/upload").body(vec![b'x'; 100_001]).answer().await;
    assert_eq!(announced.status, 413);
    announced.problem();
    assert_eq!(stack.standin.seen("/upload").requests, seen, "what says so is not forwarded");

    let mut wire = Wire::connect(edge.url()).await.expect("a connection");
    let host = edge.url().trim_start_matches("http://");
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        token.text
    );
    wire.send([head.as_bytes(), b"186a1\r\n", &[b'x'; 100_001], b"\r\n0\r\n\r\n"].concat()).await.expect("sent");
    let answer = wire.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (413, "close"));
    stack.finish().await;
}

#[tokio::test]
async fn a_request_that_is_shorter_than_http_2s_opening_is_answered() {
    let stack = Stack::start_edges().await;
    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    wire.send("GET / HTTP/1.0\r\n\r\n").await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 421);
    stack.finish().await;
}
