//! One of two edges cut off from Redis while the other goes on: what is open there, who is let in,
//! and what a revocation does.

use std::time::{Duration, Instant};

use http::Method;
use testbed::{
    clients::{http::Ask, websocket::Socket},
    eventually,
    stack::Stack,
};
use tokio::time::sleep_until;

use super::losses::{GRACE, STALENESS, WELL_WITHIN, seconds};
use crate::bench::report::Report;

const PARTED_FOR: Duration = Duration::from_secs(90);

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("One edge of two cut off from Redis for 90 s");
    let plan = Stack::plan().edges(2).first_edge_by_link();
    let mut stack = plan.control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "warn").start().await;
    stack.announce(503);
    let alice = stack.control.user("alice").with_credits(1_000).await;
    let (on_parted, on_other) = (alice.buys(24).await, alice.buys(24).await);
    let (never_seen, revoked) = (alice.buys(24).await, alice.buys(24).await);
    let [parted, other] = &stack.edges[..] else { anyhow::bail!("two edges") };
    let (socket, mut other_socket) =
        (Socket::idle(parted, &on_parted, None).await?, Socket::idle(other, &on_other, None).await?);
    let doomed = Socket::idle(parted, &revoked, None).await?;

    let link = stack.link.as_ref().expect("a link");
    link.hold();
    let began = Instant::now();
    stack.control.admin.request(Method::DELETE, &format!("/admin/tokens/{}", revoked.id)).answer().await.expect(200);
    let (ending, doomed, statuses) = tokio::join!(socket.ended(), doomed.ended(), async {
        // What this edge has never seen it cannot judge.
        let here = parted.status_for(&never_seen, "/status/200").await;
        (here, other.status_for(&never_seen, "/status/200").await, other.status_for(&revoked, "/status/200").await)
    });
    for (what, ending) in [("in use", ending), ("revoked meanwhile", doomed)] {
        let (code, reason) = ending.close.unwrap_or_default();
        let lived_on = ending.at.saturating_duration_since(began);
        let is_kept = code == 1013 && (GRACE - STALENESS..=GRACE + STALENESS).contains(&lived_on);
        let figure = format!("after {} with {code} {reason}", seconds(lived_on));
        report.promise(&format!("A WebSocket there, {what}, ended"), &figure, "after 55 to 65 s with 1013", is_kept);
    }
    let is_kept = statuses == (503, 200, 401);
    report.promise(
        "A new token there and elsewhere, a revoked one elsewhere",
        &format!("{statuses:?}"),
        "503, 200, 401",
        is_kept,
    );
    sleep_until((began + PARTED_FOR).into()).await;
    link.mend();
    let mended = Instant::now();
    eventually!(parted.status_for(&on_parted, "/status/200").await, |status| *status == 200);
    let after = mended.elapsed();
    let promise = format!("less than {}", seconds(WELL_WITHIN));
    report.promise("Well again once it reaches Redis", &seconds(after), &promise, after < WELL_WITHIN);
    let status = parted.status_for(&revoked, "/status/200").await;
    report.promise("The revoked token there", &status.to_string(), "401", status == 401);
    let is_open = other_socket.is_open().await;
    report.promise("A WebSocket on the other edge is open", &is_open.to_string(), "true", is_open);
    drop(other_socket);
    stack.finish().await;
    Ok(())
}
