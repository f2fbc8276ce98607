//! How much one token, user or address may do: on all edges and all control planes together.

use std::time::Instant;

use http::Method;
use serde_json::json;
use shared::redis::lease_key;
use testbed::{
    clients::{
        http::{Answer, Ask},
        websocket::{Socket, upgrade},
    },
    eventually,
    people::{Edge, Token},
    stack::Stack,
};

const PAGE: &str = "/users/currentUser";

/// Sends requests until one is refused; how many were let through, and the refusal.
async fn until_refused(edge: &Edge, token: &Token) -> (usize, Answer) {
    let mut passed = 0;
    loop {
        let answer = edge.with(token, Method::GET, PAGE).answer().await;
        match answer.status {
            200 => passed += 1,
            _ => return (passed, answer),
        }
    }
}

#[track_caller]
fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap_or_else(|_| panic!("no number in {header}: {answer:?}"))
}

/// How much of a limit per minute is free again since then.
fn regained(since: Instant, per_minute: usize) -> usize {
    usize::try_from(since.elapsed().as_millis()).expect("a short time") * per_minute / 60_000
}

#[tokio::test]
async fn the_limits_hold_across_two_edges_and_two_control_planes_together() {
    const TOKEN: usize = 120;
    const USER: usize = 60;
    let planned = Stack::plan().edges(2).edge_env("TOKEN_REQUESTS_PER_MINUTE", &TOKEN.to_string());
    let planned = planned.control_env("USER_REQUESTS_PER_MINUTE", &USER.to_string());
    let stack = planned.control_env("REGISTRATIONS_PER_HOUR", "5").start().await;
    let mut second_plane = stack.second_control_plane().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;

    let began = Instant::now();
    let (here, refused) = until_refused(&stack.edges[0], &token).await;
    assert!((TOKEN..=TOKEN + regained(began, TOKEN) + 1).contains(&here), "{here} passed one edge");
    assert!(refused.problem().starts_with("Too many requests"), "{}", refused.problem());
    assert!((1..=2).contains(&number(&refused, "retry-after")), "{refused:?}");
    let told = ["ratelimit-limit", "ratelimit-remaining"].map(|name| number(&refused, name));
    assert_eq!(told, [TOKEN as u64, 0]);
    assert!((55..=61).contains(&number(&refused, "ratelimit-reset")), "{refused:?}");
    // The other edge hears of that within a second of its first request.
    let mut there = 0;
    eventually!(
        {
            let status = stack.edges[1].status_for(&token, PAGE).await;
            there += usize::from(status == 200);
            status
        },
        |status| *status == 429
    );
    assert!(there < TOKEN * 2 / 3, "{there} more passed the other edge: it counts for itself");

    // Alice's calls by the first plane were a handful.
    let began = Instant::now();
    let mut answered = 0;
    for number in 0..2 * USER {
        let of_first = alice.request(Method::GET, "/users/me");
        let of_second =
            stack.control.api.client().get(format!("{}/api/v1/users/me", second_plane.url())).bearer_auth(&alice.jwt);
        let answer = if number % 2 == 0 { of_first } else { of_second }.answer().await;
        assert!([200, 429].contains(&answer.status), "{}", answer.text());
        answered += usize::from(answer.status == 200);
    }
    assert!((USER - 10..=USER + regained(began, USER) + 1).contains(&answered), "{answered} were answered");

    let mut opened = 0;
    for attempt in 0..12 {
        let url = if attempt % 2 == 0 { stack.control.plane.url() } else { second_plane.url() };
        let body = json!({ "email": format!("{attempt}@example.com"), "username": format!("name{attempt}"), "password": "a long one" });
        let answer = stack.control.api.client().post(format!("{url}/api/v1/auth/register")).json(&body).answer().await;
        opened += usize::from(answer.status == 201);
    }
    assert_eq!(opened, 9, "Alice was the first of ten");
    second_plane.stop().await.expect("a graceful stop");
    stack.finish().await;
}

#[tokio::test]
async fn without_redis_an_edge_holds_the_limit_by_itself() {
    const PER_MINUTE: usize = 60;
    let planned = Stack::plan().edge_env("TOKEN_REQUESTS_PER_MINUTE", &PER_MINUTE.to_string());
    let mut stack = planned.start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    assert_eq!(stack.edge().status_for(&token, PAGE).await, 200);
    stack.redis.kill().await;
    stack.announce(503);
    let began = Instant::now();
    let (passed, refused) = until_refused(stack.edge(), &token).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!((PER_MINUTE - 1..=PER_MINUTE + regained(began, PER_MINUTE)).contains(&passed), "{passed}");
    stack.finish().await;
}

#[tokio::test]
async fn a_device_conflict_is_told_before_the_limit_and_a_request_past_it_takes_no_lease() {
    let mut stack = Stack::plan().edge_env("TOKEN_REQUESTS_PER_MINUTE", "2").start().await;
    stack.settle().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let on = |device, method, path| stack.edge().on(device, &token, method, path).answer();
    for expected in [200, 200, 429] {
        assert_eq!(on("device-a", Method::GET, PAGE).await.status, expected);
    }
    assert_eq!(on("device-b", Method::GET, PAGE).await.status, 409);
    on("device-a", Method::POST, "/api/v1/proxy/session/release").await.expect(200);
    assert_eq!(on("device-b", Method::GET, PAGE).await.status, 429);
    let lease = lease_key(token.id, None);
    eventually!(stack.redis.command(&["EXISTS", &lease]).await.expect("a reply"), |left| left == "0");
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").answer().await;
    assert_eq!(status.status, 200, "asking how a token stands has no such limit");
    stack.finish().await;
}

/// A request whose answer has begun and does not end.
async fn open(edge: &Edge, token: &Token) -> Result<reqwest::Response, Answer> {
    let answer = edge.with(token, Method::GET, "/sse?every_ms=50").send().await.expect("an answer");
    match answer.status().as_u16() {
        200 => Ok(answer),
        status => {
            Err(Answer { status, headers: answer.headers().clone(), body: answer.bytes().await.expect("a body") })
        }
    }
}

#[tokio::test]
async fn a_token_has_a_bounded_number_open_and_room_again_however_one_ended() {
    let planned = Stack::plan().edge_env("TOKEN_OPEN_REQUESTS", "2").edge_env("TOKEN_OPEN_WEBSOCKETS", "1");
    let mut stack = planned.start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (token, other) = (alice.buys(24).await, alice.buys(24).await);
    let edge = stack.edge().clone();
    let first = open(&edge, &token).await.expect("the first");
    let second = open(&edge, &token).await.expect("the second");
    let refused = open(&edge, &token).await.expect_err("the third");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.problem().contains("are open"), "{}", refused.problem());
    assert_eq!(edge.status_for(&other, PAGE).await, 200);

    let socket = Socket::idle(&edge, &token, None).await.expect("a WebSocket");
    let upgrades = async || Socket::open(upgrade(&edge, &token, None, "")).await.map(|_| ()).err();
    assert_eq!(upgrades().await, Some(429));
    drop(socket);
    eventually!(upgrades().await, |refused| refused.is_none());

    // One hung up; then both are cut.
    drop(first);
    eventually!(edge.status_for(&token, PAGE).await, |status| *status == 200);
    let third = eventually!(open(&edge, &token).await, |opened| opened.is_ok()).expect("a place");
    let rotated = alice.rotates(&token).await;
    eventually!(edge.status_for(&rotated, PAGE).await, |status| *status == 200);
    let both = [open(&edge, &rotated).await.is_ok(), open(&edge, &rotated).await.is_ok()];
    assert_eq!(both, [true, true], "what was cut has left its places");
    drop((second, third));
    stack.finish().await;
}

#[tokio::test]
async fn an_edge_serves_so_many_at_once_and_tells_others_to_come_again() {
    let mut stack = Stack::plan().edge_env("OPEN_REQUESTS", "3").start().await;
    stack.settle().await;
    stack.announce(503);
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let edge = stack.edge().clone();
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.push(open(&edge, &token).await.expect("a place"));
    }
    let refused = open(&edge, &token).await.expect_err("one too many");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    assert!(refused.problem().starts_with("The gateway serves as many as it can"), "{}", refused.problem());
    assert_eq!(edge.get("/health").answer().await.expect(200)["status"], "healthy");
    opened.pop();
    eventually!(edge.status_for(&token, PAGE).await, |status| *status == 200);
    stack.finish().await;
}
