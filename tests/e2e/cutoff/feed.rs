//! What an edge does not hear while it, or its line to Redis, is away, it learns once it is back.

use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::Signal;
use shared::redis::CHANGES;
use testbed::{
    clients::{http::Ask, websocket::Socket},
    eventually,
    people::{Edge, Token},
    processes::fault_link::Link,
    stack::Stack,
};
use tokio::task::JoinSet;

/// From the moment at which an edge can hear again.
const LEARNS_WITHIN: Duration = Duration::from_secs(5);

async fn quiet_socket(edge: &Edge, token: &Token) -> Socket {
    Socket::idle(edge, token, None).await.expect("an upgrade")
}

async fn revoke(stack: &Stack, token: &Token) {
    let path = format!("/admin/tokens/{}", token.id);
    stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
}

/// How many changes are left of a feed that is trimmed behind an edge's back.
async fn a_gap_is_noticed(left: &str) {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (revoked, good) = (alice.buys(24).await, alice.buys(24).await);
    let (cut, mut spared) = (quiet_socket(stack.edge(), &revoked).await, quiet_socket(stack.edge(), &good).await);
    let edge = stack.edge_planes[0].process();
    edge.signal(Signal::SIGSTOP);
    // The read that is under way is answered with the first change, though nobody takes the answer.
    alice.buys(1).await;
    revoke(&stack, &revoked).await;
    alice.buys(1).await;
    stack.redis.command(&["XTRIM", CHANGES, "MAXLEN", "=", left]).await.expect("a trim");
    edge.signal(Signal::SIGCONT);
    let back = Instant::now();
    let ending = cut.ended().await;
    ending.expect(4003, "token revoked");
    assert!(ending.at - back < LEARNS_WITHIN, "{:?}", ending.at - back);
    assert_eq!(stack.edge().status_for(&revoked, "/").await, 401);
    assert_eq!(stack.edge().status_for(&good, "/").await, 200);
    assert!(spared.is_open().await);
    drop(spared);
    stack.finish().await;
}

#[tokio::test]
async fn a_revocation_trimmed_behind_a_stopped_edge_ends_its_websocket_once_it_goes_on() {
    a_gap_is_noticed("0").await;
}

#[tokio::test]
async fn a_feed_of_which_only_the_end_is_left_counts_as_a_gap() {
    a_gap_is_noticed("1").await;
}

#[tokio::test]
async fn an_edge_stopped_for_a_while_reads_on_where_it_was() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(1000).await;
    let mut sockets = JoinSet::new();
    let mut tokens = Vec::new();
    for _ in 0..20 {
        let token = alice.buys(1).await;
        sockets.spawn(quiet_socket(stack.edge(), &token).await.ended());
        tokens.push(token);
    }
    let edge = stack.edge_planes[0].process();
    edge.signal(Signal::SIGSTOP);
    for token in &tokens {
        revoke(&stack, token).await;
    }
    edge.signal(Signal::SIGCONT);
    let back = Instant::now();
    for ending in sockets.join_all().await {
        ending.expect(4003, "token revoked");
        assert!(ending.at - back < LEARNS_WITHIN, "{:?}", ending.at - back);
    }
    stack.finish().await;
}

/// Takes one edge's line to Redis away: it goes on with what it holds, the other edge cuts at once,
/// and it cuts once it can hear.
async fn an_edge_cut_off_catches_up(part: impl Fn(&Link), is_trimmed: bool) {
    let mut stack = Stack::plan().edges(2).first_edge_by_link().start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (revoked, good) = (alice.buys(24).await, alice.buys(24).await);
    let [mut lagging, prompt] = {
        let (first, second) = (&stack.edges[0], &stack.edges[1]);
        [quiet_socket(first, &revoked).await, quiet_socket(second, &revoked).await]
    };
    let held = quiet_socket(stack.edge(), &good).await;
    let link = stack.link.as_ref().expect("a link");
    part(link);
    revoke(&stack, &revoked).await;
    let answered = Instant::now();
    let ending = prompt.ended().await;
    ending.expect(4003, "token revoked");
    assert!(ending.at.saturating_duration_since(answered) < Duration::from_secs(1), "{ending:?}");
    if is_trimmed {
        stack.redis.command(&["XTRIM", CHANGES, "MAXLEN", "=", "0"]).await.expect("a trim");
    }
    // For longer than it trusts what it last heard.
    let silence = async || stack.edge_planes[0].metric("edge_feed_silence_seconds", "").await;
    eventually!(silence().await, |silence| *silence > 6.0);
    assert_eq!(stack.edge().status_for(&good, "/").await, 200);
    assert!(lagging.is_open().await);

    link.mend();
    let mended = Instant::now();
    let ending = lagging.ended().await;
    ending.expect(4003, "token revoked");
    assert!(ending.at - mended < LEARNS_WITHIN, "{:?}", ending.at - mended);
    eventually!(stack.edge().status_for(&revoked, "/").await, |status| *status == 401);
    assert_eq!(stack.edge().status_for(&good, "/").await, 200);
    drop(held);
    stack.finish().await;
}

#[tokio::test]
async fn an_edge_whose_line_to_redis_hangs_catches_up() {
    an_edge_cut_off_catches_up(Link::hold, false).await;
}

#[tokio::test]
async fn an_edge_whose_line_to_redis_is_cut_catches_up() {
    an_edge_cut_off_catches_up(Link::cut, false).await;
}

#[tokio::test]
async fn an_edge_whose_line_to_redis_is_cut_catches_up_with_what_was_trimmed_meanwhile() {
    an_edge_cut_off_catches_up(Link::cut, true).await;
}
