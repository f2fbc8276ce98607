//! A token ends at its own second: not before it, not long after it, and by nobody's wall clock but
//! that of Redis.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::json;
use testbed::{
    clients::{http::Ask, websocket::Socket},
    people::{Edge, Token},
    stack::Stack,
};
use tokio::task::JoinSet;

const CUT_WITHIN: Duration = Duration::from_secs(1);
/// The edge counts from before it asked Redis what is left, and so is early by as much as the
/// answer took.
const EARLY: Duration = Duration::from_millis(250);

async fn quiet_socket(edge: &Edge, token: &Token) -> Socket {
    Socket::idle(edge, token, None).await.expect("an upgrade")
}

/// Debian's library that tells a program another time.
pub fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let mut found = libraries.filter(|library| library.is_file());
    found.next().expect("libfaketime: install Debian's faketime package, or run deploy/install-tools.sh test")
}

#[tokio::test]
async fn each_of_many_websockets_ends_at_its_own_tokens_second() {
    let stack = Stack::plan().edges(2).debug_env("TOKEN_HOUR_SECONDS", "3").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let mut sockets = JoinSet::new();
    for edge in stack.edges.iter().cycle().take(40) {
        let token = alice.buys(1).await;
        let socket = quiet_socket(edge, &token).await;
        let ends_at = edge.ends_at(&token).await;
        sockets.spawn(async move { (ends_at, socket.ended().await) });
    }
    for (ends_at, ending) in sockets.join_all().await {
        ending.expect(4001, "token expired");
        assert!(ending.at > ends_at - EARLY, "{:?} early", ends_at - ending.at);
        assert!(ending.at.saturating_duration_since(ends_at) < CUT_WITHIN, "{:?} late", ending.at - ends_at);
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_edge_whose_clock_is_an_hour_off_cuts_at_the_right_second_all_the_same() {
    for (offset, hours) in [("+1h", 1), ("-1h", -1)] {
        let mut stack = Stack::plan()
            .debug_env("TOKEN_HOUR_SECONDS", "3")
            .edge_env("LD_PRELOAD", &faketime().to_string_lossy())
            .edge_env("FAKETIME", offset)
            .edge_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start()
            .await;
        stack.settle().await;
        let health = stack.edge().get("/health").answer().await.expect(200);
        let told: DateTime<Utc> = health["timestamp"].as_str().expect("a time").parse().expect("a time");
        let off_by = (told - Utc::now()).num_seconds();
        assert!((off_by - hours * 3600).abs() < 60, "the edge's clock is {off_by} s off, not {offset}");
        let known = stack.edge_planes[0].metric("edge_clock_offset_seconds", "").await;
        assert!((known - f64::from(i32::try_from(hours * 3600).expect("small"))).abs() < 60.0, "{known}");

        let alice = stack.control.user("alice").with_credits(100).await;
        let token = alice.buys(1).await;
        let bought = Instant::now();
        let socket = quiet_socket(stack.edge(), &token).await;
        let ends_at = stack.edge().ends_at(&token).await;
        assert!(ends_at - bought < Duration::from_secs(10), "the token has {:?}", ends_at - bought);
        let ending = socket.ended().await;
        ending.expect(4001, "token expired");
        assert!(ending.at > ends_at - EARLY, "{offset}: {:?} early", ends_at - ending.at);
        assert!(ending.at.saturating_duration_since(ends_at) < CUT_WITHIN, "{offset}: {:?} late", ending.at - ends_at);
        let refused = stack.edge().with(&token, http::Method::GET, "/").answer().await;
        assert_eq!((refused.status, &refused.json()["status"]), (401, &json!(401)));
        stack.finish().await;
    }
}
