//! What starts a token's clock, and what does not: a request that comes to nothing costs nothing,
//! and one that reached the upstream cannot be taken back.

use http::Method;
use serde_json::json;
use testbed::{
    clients::{http::Ask, raw_http::Wire},
    eventually,
    people::{Token, User},
    stack::Stack,
};

const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";
const SECOND: &str = "device-b-0123456789";
/// How many `5xx` a minute a token gets for nothing.
const FAULTS: usize = 20;

async fn buyer(stack: &Stack) -> (User, Token) {
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    (alice, token)
}

async fn state(stack: &Stack, token: &Token) -> String {
    let status = stack.edge().with(token, Method::GET, "/api/v1/proxy/status").answer().await;
    match status.status {
        200 => status.json()["status"].as_str().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

async fn status_on(stack: &Stack, device: &str, token: &Token, path: &str) -> u16 {
    stack.edge().on(device, token, Method::GET, path).answer().await.status
}

#[tokio::test]
async fn a_token_refused_for_its_scope_stays_ready_and_free_for_every_device() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys_scoped(24, "certificates_only").await;
    for (path, status) in [(PAGE, 403), ("/certificates/details/a;b", 400)] {
        assert_eq!(status_on(&stack, FIRST, &token, path).await, status, "{path}");
    }
    assert_eq!(state(&stack, &token).await, "ready");
    assert_eq!(status_on(&stack, SECOND, &token, "/certificates/filter").await, 200);
    stack.finish().await;
}

#[tokio::test]
async fn a_token_that_the_upstream_fails_stays_ready() {
    let mut stack = Stack::plan().edge_env("UPSTREAM_TIMEOUT_SECONDS", "1").start().await;
    let (_, token) = buyer(&stack).await;
    for (path, status) in [("/status/500", 500), ("/status/503", 503), ("/slow/30000", 504)] {
        stack.announce(status);
        assert_eq!(status_on(&stack, FIRST, &token, path).await, status, "{path}");
        assert_eq!(state(&stack, &token).await, "ready", "{path}");
    }
    // A refusal of the upstream's own is an answer like any other.
    assert_eq!(status_on(&stack, FIRST, &token, "/status/404").await, 404);
    assert_eq!(state(&stack, &token).await, "active");
    stack.finish().await;
}

#[tokio::test]
async fn a_token_tried_while_the_upstream_is_down_stays_ready_and_free_for_every_device() {
    let mut stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    stack.announce(502);
    stack.standin.stop();
    for device in [FIRST, SECOND, FIRST] {
        eventually!(status_on(&stack, device, &token, PAGE).await, |status| *status == 502);
    }
    assert_eq!(state(&stack, &token).await, "ready");
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_after_its_bytes_reached_the_upstream_has_used_its_token() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let host = stack.edge().url().trim_start_matches("http://").to_owned();
    for (method, path, body) in
        [("GET", "/slow/30000", ""), ("PUT", "/upload", "Content-Length: 1000\r\n\r\nten bytes.")]
    {
        let token = alice.buys(24).await;
        let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
        let body = if body.is_empty() { "\r\n" } else { body };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\n{body}", token.text);
        wire.send(head).await.expect("sent");
        eventually!(stack.standin.seen(path), |seen| seen.requests == 1);
        assert_eq!(state(&stack, &token).await, "ready", "{path}: the upstream may still fail");
        drop(wire);
        eventually!(state(&stack, &token).await, |state| state == "active");
        let again = alice.refunds(&token).await;
        assert_eq!(again.status, 400, "{path}: {}", again.text());
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_first_request_that_is_cut_has_used_its_token() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let (alice, token) = buyer(&stack).await;
    let path = "/slow/30000";
    let request = stack.edge().with(&token, Method::GET, path);
    let suspended = async {
        eventually!(stack.standin.seen(path), |seen| seen.requests == 1);
        stack.control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    };
    let (cut, ()) = tokio::join!(request.try_answer(), suspended);
    assert!(cut.as_ref().map_or(true, |answer| answer.status >= 400), "{cut:?}");
    stack.control.admin.changes(&alice, &json!({ "is_active": true })).await.expect(200);
    eventually!(state(&stack, &token).await, |state| state == "active");
    stack.finish().await;
}

#[tokio::test]
async fn an_activation_that_cannot_be_recorded_gives_no_answer_away() {
    let mut stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    stack.announce(503);
    let path = "/slow/2000";
    let request = stack.edge().with(&token, Method::GET, path);
    let outage = async {
        eventually!(stack.standin.seen(path), |seen| seen.requests == 1);
        stack.redis.kill().await;
    };
    let (answer, ()) = tokio::join!(request.answer(), outage);
    assert_eq!(answer.status, 503, "{}", answer.text());
    stack.redis.start_again().await.expect("a start");
    eventually!(state(&stack, &token).await, |state| state == "ready" || state == "active");
    stack.finish().await;
}

#[tokio::test]
async fn more_than_20_faults_a_minute_on_a_ready_token_are_429_and_leave_it_ready() {
    let mut stack = Stack::start().await;
    stack.announce(500);
    let (alice, token) = buyer(&stack).await;
    let path = "/status/500";
    for number in 0..FAULTS {
        assert_eq!(status_on(&stack, FIRST, &token, path).await, 500, "{number}");
    }
    let throttled = stack.edge().on(FIRST, &token, Method::GET, path).answer().await;
    assert_eq!(throttled.status, 429, "{}", throttled.text());
    throttled.problem();
    let seconds: u64 = throttled.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(stack.standin.seen(path).requests, FAULTS as u64);
    assert_eq!(state(&stack, &token).await, "ready");

    let another = alice.buys(24).await;
    assert_eq!(status_on(&stack, FIRST, &another, PAGE).await, 200);
    for number in 0..=FAULTS {
        assert_eq!(status_on(&stack, FIRST, &another, path).await, 500, "{number} on a token whose clock runs");
    }
    stack.finish().await;
}
