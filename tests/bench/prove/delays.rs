//! How soon a purchase counts on every edge, and how soon a revocation does.

use std::time::{Duration, Instant};

use testbed::{
    people::{Edge, Token, User},
    stack::Stack,
};

use crate::bench::report::{Durations, Report, milliseconds};

const PURCHASES: usize = 200;
const REVOCATIONS: usize = 200;
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
const PATH: &str = "/users/currentUser";

pub async fn measure(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<()> {
    report.section("From the control plane to two edges");
    let (mut purchases, mut first_uses, mut good_at_once) = (Durations::default(), Durations::default(), 0);
    for number in 0..PURCHASES {
        let started = Instant::now();
        let token = alice.buys(1).await;
        purchases.push_since(started);
        let edge = &stack.edges[number % stack.edges.len()];
        let asked = Instant::now();
        good_at_once += usize::from(edge.status_for(&token, PATH).await == 200);
        first_uses.push_since(asked);
    }
    report.figure("A purchase", &purchases.summary());
    report.figure("The first request with it, activation included", &first_uses.summary());
    let share = format!("{good_at_once} of {PURCHASES}");
    report.promise("Usable as soon as the purchase is answered", &share, "all", good_at_once == PURCHASES);

    let mut delays = Durations::default();
    for _ in 0..REVOCATIONS {
        let token = alice.buys(1).await;
        for edge in &stack.edges {
            anyhow::ensure!(edge.status_for(&token, PATH).await == 200, "a bought token is refused");
        }
        let revoked = Instant::now();
        let (_, first, second) =
            tokio::join!(alice.rotates(&token), last_use(&stack.edges[0], &token), last_use(&stack.edges[1], &token));
        delays.push(first.max(second).saturating_duration_since(revoked));
    }
    report.figure("From asking for a revocation to its last use on either edge", &delays.summary());
    let p99 = delays.percentile(99);
    let promise = format!("within {} s", REVOKED_WITHIN.as_secs());
    report.promise("Revoked everywhere, p99", &milliseconds(p99), &promise, p99 <= REVOKED_WITHIN);
    Ok(())
}

/// Uses the token until it is refused; when the last use that was let in began.
async fn last_use(edge: &Edge, token: &Token) -> Instant {
    let mut last = Instant::now();
    loop {
        let began = Instant::now();
        if edge.status_for(token, PATH).await != 200 {
            return last;
        }
        last = began;
    }
}
