//! What the control plane answers in a second, and what that costs it, Postgres and Redis.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use testbed::{actors::User, process::Process, stack::Stack};

use super::{Pace, cores, wrk};
use crate::bench::report::Report;

const AT_ONCE: usize = 32;
/// Each holds a processor for as long as a password takes.
const LOGINS_AT_ONCE: usize = 8;
/// A purchase locks its user, so it takes several to have some at once.
const BUYERS: usize = 16;
const CREDITS: u32 = 1_000_000;
const MEASURED_FOR: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// `GET /users/me` in a second of control-api's processor time.
const AT_LEAST: f64 = 5_000.0;

/// A kind of request.
struct Work {
    name: &'static str,
    path: &'static str,
    /// For wrk.
    script: String,
    at_once: usize,
    is_promised: bool,
}

pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "warn").start().await;
    let mut buyers = Vec::new();
    for number in 0..if pace == Pace::Full { BUYERS } else { 1 } {
        buyers.push(stack.control.user(&format!("buyer{number}")).with_credits(CREDITS).await);
    }
    let all = [looks(&buyers[0]), purchases(&buyers), logins(&buyers[0])];
    let works = if pace == Pace::Full { &all[..] } else { &all[..1] };
    let first = stack.control.plane.process();
    cores::give_first(first)?;
    report.section("Control plane: one replica, with a processor to itself");
    for work in works {
        beside(&stack, &[(stack.control.plane.url(), first)], work, pace, report).await?;
    }
    if pace == Pace::Full {
        let mut second = stack.second_control_plane().await;
        report.section("Control plane: two replicas, which share all processors with Postgres, Redis and the load");
        for process in [first, second.process()] {
            cores::give_all(process)?;
        }
        let replicas = [(stack.control.plane.url(), first), (second.url(), second.process())];
        for work in works {
            beside(&stack, &replicas, work, pace, report).await?;
        }
        second.stop().await?;
    }
    stack.finish().await;
    Ok(())
}

fn looks(user: &User) -> Work {
    let script = format!("wrk.headers['Authorization'] = 'Bearer {}'\n", user.jwt);
    Work { name: "GET /users/me", path: "/users/me", script, at_once: AT_ONCE, is_promised: true }
}

fn logins(user: &User) -> Work {
    let body = json!({ "email": user.email, "password": user.password });
    let script = format!(
        "wrk.method = 'POST'
         wrk.headers['Content-Type'] = 'application/json'
         wrk.body = '{body}'\n"
    );
    Work { name: "A login", path: "/auth/login", script, at_once: LOGINS_AT_ONCE, is_promised: false }
}

fn purchases(buyers: &[User]) -> Work {
    let body = json!({ "duration_hours": 1, "scope": "full" });
    let holders: Vec<String> = buyers.iter().map(|buyer| format!("'Bearer {}'", buyer.jwt)).collect();
    let script = format!(
        "local buyers, turn = {{ {} }}, 0
         function request()
             turn = turn + 1
             local headers = {{ ['Content-Type'] = 'application/json', Authorization = buyers[turn % #buyers + 1] }}
             return wrk.format('POST', nil, headers, '{body}')
         end\n",
        holders.join(", ")
    );
    Work { name: "A purchase", path: "/tokens/purchase", script, at_once: AT_ONCE, is_promised: false }
}

/// The processor time that each of those who take part has used so far.
struct Spent {
    control: Duration,
    postgres: Duration,
    redis: Duration,
}

impl Spent {
    fn so_far(stack: &Stack, replicas: &[(&str, &Process)]) -> anyhow::Result<Self> {
        let control = replicas
            .iter()
            .map(|(_, process)| process.cpu_time())
            .try_fold(Duration::ZERO, |sum, time| anyhow::Ok(sum + time?))?;
        // A server that several runs share would count theirs.
        let postgres = stack.database.server().context("`make bench` has a Postgres of its own")?;
        let redis = stack.redis.process().context("Redis runs")?;
        Ok(Self { control, postgres: postgres.cpu_time_with_children()?, redis: redis.cpu_time()? })
    }
}

/// Of one kind of request, by every replica at once: the round with the median of what it costs control-api.
async fn beside(
    stack: &Stack,
    replicas: &[(&str, &Process)],
    work: &Work,
    pace: Pace,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..if pace == Pace::Full { ROUNDS } else { 1 } {
        let before = Spent::so_far(stack, replicas)?;
        let asks = replicas.iter().map(|(url, _)| {
            let url = format!("{url}/api/v1{}", work.path);
            async move { wrk::ask(&url, &work.script, work.at_once / replicas.len(), MEASURED_FOR).await }
        });
        let answered = futures_util::future::try_join_all(asks).await?;
        let after = Spent::so_far(stack, replicas)?;
        let count = answered.iter().map(|answered| answered.count).sum::<u32>();
        let rate = answered.iter().map(|each| f64::from(each.count) / each.within.as_secs_f64()).sum::<f64>();
        let each = |before: Duration, after: Duration| after.saturating_sub(before) / count;
        let control = each(before.control, after.control);
        rounds.push((control, rate, each(before.postgres, after.postgres), each(before.redis, after.redis)));
    }
    rounds.sort_by_key(|(control, ..)| *control);
    let (control, rate, postgres, redis) = rounds[rounds.len() / 2];
    let per_second = 1.0 / control.as_secs_f64();
    let [control, postgres, redis] = [control, postgres, redis].map(|time| time.as_micros());
    let figure = format!(
        "{rate:.0} a second; each {control} µs of control-api, {postgres} µs of Postgres, {redis} µs of Redis; \
         {per_second:.0} in a second of control-api's processor time"
    );
    if work.is_promised && replicas.len() == 1 {
        let promise = format!("at least {AT_LEAST} in such a second");
        report.promise(work.name, &figure, &promise, per_second >= AT_LEAST);
    } else {
        report.figure(work.name, &figure);
    }
    Ok(())
}
