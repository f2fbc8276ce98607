//! Ten thousand WebSockets on two edges: how soon one ends once its token is revoked, and all of a
//! user at once.

use std::time::Instant;

use http::Method;
use serde_json::json;
use testbed::{
    clients::{
        http::Ask,
        websocket::{Ending, Socket},
    },
    people::Token,
    stack::Stack,
};
use tokio::task::JoinSet;

use super::{Pace, cores, listener::Listener};
use crate::bench::report::{Bound, Durations, Goal, Report, milliseconds};

const OPENED_AT_ONCE: usize = 32;

const REVOCATION: Goal = Goal {
    what: "From the call that revokes to the closed WebSocket, p99",
    bound: Bound::AtMost,
    goal: 100.0,
    held: 100.0,
    unit: " ms",
};

/// With every processor for everything: this is about the way through all of it.
pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let (count, revoked) = match pace {
        Pace::Full => (10_000, 1_000),
        Pace::Quick => (2_000, 500),
    };
    report.section(&format!("{count} WebSockets open on two edges"));
    cores::share()?;
    let upstream = Listener::standin().await?;
    let stack = Stack::plan()
        .edges(2)
        .control_env("LOG_LEVEL", "info")
        .edge_env("LOG_LEVEL", "info")
        .edge_env("ZENZEFI_URL", &upstream.url())
        .start()
        .await;
    let alice = stack.control.user("alice").await;
    let tokens = stack.seeds(&alice, count).await?;
    let sockets = open(&stack, &tokens).await?;

    let mut calls = Vec::new();
    for token in &tokens[..revoked] {
        let path = format!("/admin/tokens/{}", token.id);
        let called = Instant::now();
        stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
        calls.push((called, Instant::now()));
    }
    let called = Instant::now();
    stack.control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    let disabled = Instant::now();

    let [mut called_for, mut answered_for, mut together] = <[Durations; 3]>::default();
    let mut told = 0;
    for (number, ending) in sockets.join_all().await {
        match calls.get(number) {
            Some((called, answered)) => {
                called_for.push(ending.at.saturating_duration_since(*called));
                answered_for.push(ending.at.saturating_duration_since(*answered));
            }
            None => together.push(ending.at.saturating_duration_since(called)),
        }
        told += usize::from(ending.close.is_some());
    }
    report.figure("From the call to the closed WebSocket, revoked one by one", &called_for.summary());
    report.figure("From the answer to that call", &answered_for.summary());
    let p99 = called_for.percentile(99).as_secs_f64() * 1000.0;
    report.goal(&REVOCATION, p99, &format!("{p99:.1}"));
    report.figure("The call that disables the user of all the others", &milliseconds(disabled - called));
    report.figure("From the start of that call to the closed WebSocket", &together.summary());
    report.promise("Told why by a close frame", &format!("{told} of {count}"), "all", told == count);
    stack.finish().await;
    Ok(())
}

/// Opens an idle WebSocket with each token, on the edges by turns: how each ends, by its token's
/// number.
async fn open(stack: &Stack, tokens: &[Token]) -> anyhow::Result<JoinSet<(usize, Ending)>> {
    let mut workers = JoinSet::new();
    for worker in 0..OPENED_AT_ONCE {
        let numbered = tokens.iter().cloned().enumerate().skip(worker).step_by(OPENED_AT_ONCE);
        let (numbered, edges) = (numbered.collect::<Vec<_>>(), stack.edges.clone());
        workers.spawn(async move {
            let mut sockets = Vec::new();
            for (number, token) in numbered {
                sockets.push((number, Socket::idle(&edges[number % edges.len()], &token, None).await?));
            }
            anyhow::Ok(sockets)
        });
    }
    let mut ending = JoinSet::new();
    for sockets in workers.join_all().await {
        for (number, socket) in sockets? {
            ending.spawn(async move { (number, socket.ended().await) });
        }
    }
    Ok(ending)
}
