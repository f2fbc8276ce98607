//! Redis emptied under load, and silent for a while: who notices, and for how long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::redis;
use testbed::{
    clients::{
        load::{Load, Tally},
        websocket::Socket,
    },
    people::{Token, User},
    stack::Stack,
};
use tokio::time::{sleep, sleep_until};

use crate::bench::report::{Report, milliseconds};

const TOKENS: usize = 100_000;
/// How many of them an edge has seen when Redis is emptied.
const SEEN: usize = 20_000;
const WORKERS: usize = 16;
pub const WELL_WITHIN: Duration = Duration::from_secs(5);
const SHORT_PAUSE: Duration = Duration::from_secs(3);
const LOOKED_EVERY: Duration = Duration::from_millis(50);
const LONG_PAUSE: Duration = Duration::from_secs(90);
/// `REDIS_OUTAGE_GRACE_SECONDS` and `REVOCATION_STALENESS_SECONDS`, which are at their defaults.
pub const GRACE: Duration = Duration::from_secs(60);
pub const STALENESS: Duration = Duration::from_secs(5);
/// How many tokens are in use while Redis is silent.
const HOLDERS: usize = 1_000;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let plan = Stack::plan().edges(2).control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "warn");
    let mut stack = plan.start().await;
    stack.announce(503);
    let alice = stack.control.user("alice").await;
    let tokens = flush(&stack, &alice, report).await?;
    short_pause(&stack, &tokens, report).await?;
    long_pause(&stack, &tokens, report).await?;
    stack.finish().await;
    Ok(())
}

async fn flush(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<Arc<[Token]>> {
    report.section("Redis emptied under load");
    let started = Instant::now();
    let tokens: Arc<[Token]> = stack.seeds(alice, TOKENS).await?.into();
    report.figure(&format!("{TOKENS} new tokens published"), &seconds(started.elapsed()));
    stack.redis.flush().await?;
    let flushed = Instant::now();
    while stack.redis.command(&["HGET", redis::SNAPSHOT, redis::SNAPSHOT_BUILT_AT]).await?.is_empty() {
        sleep(LOOKED_EVERY).await;
    }
    report.figure("Emptied without load: filled again after", &seconds(flushed.elapsed()));
    let load = Load::start(&stack.edges, &tokens, SEEN, WORKERS);
    load.calms(SEEN).await?;
    stack.redis.flush().await?;
    let flushed = Instant::now();
    load.reach(TOKENS);
    load.calms(TOKENS).await?;
    let tally = load.stop().await;
    let well_after = trouble(&tally, flushed);
    report.figure("Answers of that load", &statuses(&tally));
    report.promise(
        &format!("Until the last of {TOKENS} live tokens works again"),
        &seconds(well_after),
        &format!("less than {}", seconds(WELL_WITHIN)),
        well_after < WELL_WITHIN,
    );
    none_called_bad(report, &tally);
    Ok(tokens)
}

async fn short_pause(stack: &Stack, tokens: &Arc<[Token]>, report: &mut Report) -> anyhow::Result<()> {
    report.section("Redis silent for 3 s");
    let load = Load::start(&stack.edges, tokens, HOLDERS, WORKERS);
    // Each of them is held by both edges then.
    load.calms(4 * HOLDERS).await?;
    let socket = Socket::idle(stack.edge(), &tokens[0], None).await?;
    stack.redis.pause();
    sleep(SHORT_PAUSE).await;
    stack.redis.resume();
    load.reach(HOLDERS);
    load.calms(4 * HOLDERS).await?;
    let tally = load.stop().await;
    report.figure("Answers of tokens in use", &statuses(&tally));
    let is_kept = tally.of(200) == tally.total() && tally.slowest < Duration::from_secs(1);
    report.promise("The slowest of them", &milliseconds(tally.slowest), "less than 1 s, all 200", is_kept);
    drop(socket);
    Ok(())
}

async fn long_pause(stack: &Stack, tokens: &Arc<[Token]>, report: &mut Report) -> anyhow::Result<()> {
    report.section("Redis silent for 90 s");
    let load = Load::start(&stack.edges, tokens, HOLDERS, WORKERS);
    load.calms(4 * HOLDERS).await?;
    let socket = Socket::idle(stack.edge(), &tokens[0], None).await?;
    stack.redis.pause();
    let paused = Instant::now();
    let (ending, ()) = tokio::join!(socket.ended(), sleep_until((paused + LONG_PAUSE).into()));
    stack.redis.resume();
    let resumed = Instant::now();
    load.reach(HOLDERS);
    load.calms(4 * HOLDERS).await?;
    let tally = load.stop().await;
    let (code, reason) = ending.close.unwrap_or_default();
    let lived_on = ending.at.saturating_duration_since(paused);
    let is_kept = code == 1013 && (GRACE - STALENESS..=GRACE + STALENESS).contains(&lived_on);
    let what = format!("after {} with {code} {reason}", seconds(lived_on));
    report.promise("An idle WebSocket ended", &what, "after 55 to 65 s with 1013", is_kept);
    report.figure("Answers of tokens in use", &statuses(&tally));
    none_called_bad(report, &tally);
    let well_after = trouble(&tally, resumed);
    let promise = format!("less than {}", seconds(WELL_WITHIN));
    report.promise("Well again once Redis answers", &seconds(well_after), &promise, well_after < WELL_WITHIN);
    Ok(())
}

/// For how long there was trouble since then.
fn trouble(tally: &Tally, since: Instant) -> Duration {
    tally.last_trouble.map_or(Duration::ZERO, |last| last.saturating_duration_since(since))
}

fn none_called_bad(report: &mut Report, tally: &Tally) {
    let wrong = tally.total() - tally.of(200) - tally.of(503);
    report.promise("Neither let in nor asked to wait", &wrong.to_string(), "none, and so no 401", wrong == 0);
}

fn statuses(tally: &Tally) -> String {
    let each = tally.statuses.iter().map(|(status, count)| format!("{count} × {status}"));
    each.collect::<Vec<_>>().join(", ")
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
