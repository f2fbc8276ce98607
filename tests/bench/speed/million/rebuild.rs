//! Redis emptied: when it holds all of them again, and who worked for how long until then.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use shared::redis;
use testbed::stack::Stack;
use tokio::time::sleep;

use crate::bench::{
    report::{Bound, Goal, Report},
    speed::spread::Spread,
};

/// A million in 20 s.
const REBUILD: Goal = Goal {
    what: "Tokens into an empty Redis, a second",
    bound: Bound::AtLeast,
    goal: 50_000.0,
    held: 50_000.0,
    unit: "",
};
const GIVEN_UP_AFTER: Duration = Duration::from_secs(120);
const LOOKED_EVERY: Duration = Duration::from_millis(50);
const ROUNDS: usize = 3;

pub async fn measure(stack: &Stack, count: usize, report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("{count} tokens into an empty Redis"));
    let control = stack.control.plane.process();
    let postgres = stack.control.database.server().context("`make bench` has a Postgres of its own")?;
    let redis = stack.redis.process().context("Redis runs")?;
    let spent = || anyhow::Ok([control.cpu_time()?, postgres.cpu_time_with_children()?, redis.cpu_time()?]);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let before = spent()?;
        let took = rebuild(stack, count).await?;
        let after = spent()?;
        let [control, postgres, redis] =
            [0, 1, 2].map(|who| format!("{:.1} s", after[who].saturating_sub(before[who]).as_secs_f64()));
        let figure = format!(
            "{:.1} s; processor time: control-api {control}, Postgres {postgres}, Redis {redis}",
            took.as_secs_f64()
        );
        report.figure(&format!("Round {round}"), &figure);
        rounds.push(f64::from(u32::try_from(count)?) / took.as_secs_f64());
    }
    let rate = Spread::of(&rounds);
    report.goal(&REBUILD, rate.median, &format!("{rate:.0}"));
    Ok(())
}

/// How long after Redis was emptied it holds everything.
async fn rebuild(stack: &Stack, count: usize) -> anyhow::Result<Duration> {
    stack.redis.flush().await?;
    let flushed = Instant::now();
    while stack.redis.command(&["HGET", redis::SNAPSHOT, redis::SNAPSHOT_BUILT_AT]).await?.is_empty() {
        ensure!(flushed.elapsed() < GIVEN_UP_AFTER, "Redis is not whole after {GIVEN_UP_AFTER:?}");
        sleep(LOOKED_EVERY).await;
    }
    let took = flushed.elapsed();
    let keys: usize = stack.redis.command(&["DBSIZE"]).await?.parse()?;
    ensure!(keys >= 2 * count, "Redis holds {keys} keys, not a token and a credential for each of {count}");
    Ok(took)
}
