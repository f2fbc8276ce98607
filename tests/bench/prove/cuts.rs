//! How soon what is open ends once its token has.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use reqwest::Body;
use testbed::{
    clients::{
        http::Ask,
        websocket::{Ending, Socket},
    },
    people::{Edge, Token, User},
    stack::Stack,
    upstreams::standin::Content,
};
use tokio::{sync::Notify, task::JoinSet, time::sleep_until};

use crate::bench::report::{Durations, Report, milliseconds};

const SOCKETS: usize = 1_000;
const P99_WITHIN: Duration = Duration::from_millis(250);
const ALL_WITHIN: Duration = Duration::from_secs(1);
const LONG: u64 = 1024 * 1024 * 1024;
const ROUNDS: usize = 5;
/// A name, and whether it is a download.
const BODIES: [(&str, bool); 2] = [("1 GiB down", true), ("1 GiB up", false)];
/// How much of a body has moved when its token ends.
const MOVED: u64 = 64 * 1024 * 1024;
/// How long before its token's end a body sets out; it would need longer.
const SETS_OUT_BEFORE: Duration = Duration::from_secs(1);

/// Revokes the tokens of many idle WebSockets, and of long bodies.
pub async fn revocations(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<()> {
    report.section("Cutting what a revoked token has open");
    let tokens = stack.seeds(alice, SOCKETS).await?;
    let mut sockets = JoinSet::new();
    for (number, token) in tokens.iter().enumerate() {
        let socket = Socket::idle(&stack.edges[number % stack.edges.len()], token, None).await?;
        sockets.spawn(async move { (number, socket.ended().await) });
    }
    let mut answered = Vec::new();
    for token in &tokens {
        answered.push(revoke(stack, token).await);
    }
    let (mut delays, mut told) = (Durations::default(), 0);
    for (number, ending) in sockets.join_all().await {
        delays.push(ending.at.saturating_duration_since(answered[number]));
        told += usize::from(is_closed_with(&ending, 4003, "token revoked"));
    }
    report.figure("From the API's answer to the closed WebSocket, idle ones on two edges", &delays.summary());
    promise_p99(report, "WebSockets closed after a revocation", &delays);
    promise_all(report, "WebSockets closed after a revocation", &delays);
    report.promise("Told why by a close frame", &format!("{told} of {SOCKETS}"), "all", told == SOCKETS);

    for (name, is_download) in BODIES {
        let mut delays = Durations::default();
        for _ in 0..ROUNDS {
            let token = alice.buys(1).await;
            let moved = Arc::new(Notify::new());
            let revoked = async {
                moved.notified().await;
                Ok(revoke(stack, &token).await)
            };
            let body = move_body(stack.edge(), &token, is_download, moved.clone());
            let (ended, answered) = tokio::try_join!(body, revoked)?;
            delays.push(ended.saturating_duration_since(answered));
        }
        report.figure(&format!("From the API's answer to the cut of {name}"), &delays.summary());
        promise_all(report, &format!("{name} cut after a revocation"), &delays);
    }
    Ok(())
}

/// Lets the time of many idle WebSockets' tokens run out, and of long bodies'.
pub async fn expiries(report: &mut Report) -> anyhow::Result<()> {
    report.section("Cutting at a token's second");
    let plan = Stack::plan().edges(2).debug_env("TOKEN_HOUR_SECONDS", "15");
    let stack = plan.control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let mut sockets = JoinSet::new();
    for (number, token) in stack.seeds(&alice, SOCKETS).await?.iter().enumerate() {
        let edge = &stack.edges[number % stack.edges.len()];
        let socket = Socket::idle(edge, token, None).await?;
        let ends_at = edge.ends_at(token).await;
        sockets.spawn(async move { (ends_at, socket.ended().await) });
    }
    let (mut delays, mut leads, mut told) = (Durations::default(), Durations::default(), 0);
    for (ends_at, ending) in sockets.join_all().await {
        delays.push(ending.at.saturating_duration_since(ends_at));
        leads.push(ends_at.saturating_duration_since(ending.at));
        told += usize::from(is_closed_with(&ending, 4001, "token expired"));
    }
    report.figure("From the token's last millisecond to the closed WebSocket", &delays.summary());
    // The edge counts from before it asked Redis what is left, and so is early by as much as the
    // answer took.
    report.figure("From the closed WebSocket to the token's last millisecond", &leads.summary());
    promise_p99(report, "WebSockets closed after their token's second", &delays);
    promise_all(report, "WebSockets closed after their token's second", &delays);
    promise_p99(report, "WebSockets closed before their token's second", &leads);
    report.promise("Told why by a close frame", &format!("{told} of {SOCKETS}"), "all", told == SOCKETS);

    // Lets the upstream work the checksum out before the clock starts to matter.
    stack.edge().with(&alice.buys(1).await, Method::HEAD, &format!("/download/{LONG}")).send().await?;
    for (name, is_download) in BODIES {
        let token = alice.buys(1).await;
        anyhow::ensure!(stack.edge().status_for(&token, "/status/200").await == 200, "a bought token is refused");
        let ends_at = stack.edge().ends_at(&token).await;
        sleep_until((ends_at - SETS_OUT_BEFORE).into()).await;
        let ended = move_body(stack.edge(), &token, is_download, Arc::default()).await?;
        let delay = ended.max(ends_at) - ended.min(ends_at);
        let is_kept = delay < P99_WITHIN;
        report.promise(&format!("{name} cut at its second"), &milliseconds(delay), "within 250 ms", is_kept);
    }
    stack.finish().await;
    Ok(())
}

fn is_closed_with(ending: &Ending, code: u16, reason: &str) -> bool {
    ending.close.as_ref().is_some_and(|(with, why)| (*with, why.as_str()) == (code, reason))
}

/// Revokes a token as an administrator does; when that was answered.
async fn revoke(stack: &Stack, token: &Token) -> Instant {
    let path = format!("/admin/tokens/{}", token.id);
    stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
    Instant::now()
}

/// Moves a long body until it is cut, and says when that was; tells once a good part of it has
/// moved.
async fn move_body(edge: &Edge, token: &Token, is_download: bool, moved: Arc<Notify>) -> anyhow::Result<Instant> {
    let mut bytes = 0;
    let mut count = move |block: &Bytes| {
        bytes += block.len() as u64;
        if bytes >= MOVED {
            moved.notify_one();
        }
    };
    if is_download {
        let request = edge.with(token, Method::GET, &format!("/download/{LONG}"));
        let mut answer = request.send().await?.error_for_status()?;
        while let Ok(chunk) = answer.chunk().await {
            count(&chunk.context("a body that was cut passed for a whole one")?);
        }
        return Ok(Instant::now());
    }
    let content = Content::new(LONG).inspect(count).map(Ok::<Bytes, io::Error>);
    let upload = edge.with(token, Method::PUT, "/upload").body(Body::wrap_stream(stream::iter(content)));
    match upload.send().await {
        Ok(answer) => bail!("an upload that was cut was answered with {}", answer.status()),
        Err(_) => Ok(Instant::now()),
    }
}

fn promise_p99(report: &mut Report, what: &str, delays: &Durations) {
    let p99 = delays.percentile(99);
    report.promise(&format!("{what}, p99"), &milliseconds(p99), "less than 250 ms", p99 < P99_WITHIN);
}

fn promise_all(report: &mut Report, what: &str, delays: &Durations) {
    let most = delays.percentile(100);
    report.promise(&format!("{what}, most"), &milliseconds(most), "less than 1 s", most < ALL_WITHIN);
}
