//! What the control plane answers in a second, and what that costs it, Postgres and Redis.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use testbed::{people::User, processes::process::Process, stack::Stack};

use super::{
    Pace, cores,
    load::wrk::{self, Asked},
    spread::Spread,
};
use crate::bench::report::{Bound, Goal, Report};

const AT_ONCE: usize = 32;
/// Each holds a processor for as long as a password takes.
const LOGINS_AT_ONCE: usize = 8;
/// A purchase locks its user, so it takes several to have some at once.
const BUYERS: usize = 16;
const CREDITS: u32 = 1_000_000;
const ROUNDS: usize = 3;

const LOOKS: Goal = Goal {
    what: "GET /users/me in a second of control-api's processor time",
    bound: Bound::AtLeast,
    goal: 5_000.0,
    held: 12_000.0,
    unit: "",
};

/// A kind of request.
struct Work {
    name: &'static str,
    path: &'static str,
    /// For wrk.
    script: String,
    at_once: usize,
    status: u16,
}

pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let (buyers, seconds) = match pace {
        Pace::Full => (BUYERS, 3),
        Pace::Quick => (1, 2),
    };
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "warn").start().await;
    let names = (0..buyers).map(|number| format!("buyer{number}"));
    let buyers =
        futures_util::future::join_all(names.map(async |name| stack.control.user(&name).with_credits(CREDITS).await))
            .await;
    let all = [looks(&buyers[0]), purchases(&buyers), logins(&buyers[0])];
    let works = if pace == Pace::Full { &all[..] } else { &all[..1] };
    let first = stack.control.plane.process();
    cores::give_first(first)?;
    report.section("Control plane: one replica, with a processor to itself");
    let found = beside(&stack, &[(stack.control.plane.url(), first)], works, seconds, report).await?;
    report.goal(&LOOKS, found[0].median, &format!("{:.0}", found[0]));
    if pace == Pace::Full {
        let mut second = stack.second_control_plane().await;
        report.section("Control plane: two replicas, which share all processors with Postgres, Redis and the load");
        for process in [first, second.process()] {
            cores::give_all(process)?;
        }
        let replicas = [(stack.control.plane.url(), first), (second.url(), second.process())];
        beside(&stack, &replicas, works, seconds, report).await?;
        second.stop().await?;
    }
    stack.finish().await;
    Ok(())
}

fn looks(user: &User) -> Work {
    let script = format!("wrk.headers['Authorization'] = 'Bearer {}'\n", user.jwt);
    Work { name: "GET /users/me", path: "/users/me", script, at_once: AT_ONCE, status: 200 }
}

fn logins(user: &User) -> Work {
    let body = json!({ "email": user.email, "password": user.password });
    let script = format!(
        "wrk.method = 'POST'
         wrk.headers['Content-Type'] = 'application/json'
         wrk.body = '{body}'\n"
    );
    Work { name: "A login", path: "/auth/login", script, at_once: LOGINS_AT_ONCE, status: 200 }
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
    Work { name: "A purchase", path: "/tokens/purchase", script, at_once: AT_ONCE, status: 201 }
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
        let postgres = stack.control.database.server().context("`make bench` has a Postgres of its own")?;
        let redis = stack.redis.process().context("Redis runs")?;
        Ok(Self { control, postgres: postgres.cpu_time_with_children()?, redis: redis.cpu_time()? })
    }
}

/// What every replica at once answers of each kind of request, and what that costs; how many are
/// answered in a second of control-api's processor time, by kind.
async fn beside(
    stack: &Stack,
    replicas: &[(&str, &Process)],
    works: &[Work],
    seconds: u64,
    report: &mut Report,
) -> anyhow::Result<Vec<Spread>> {
    let mut rounds = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for (work, rounds) in works.iter().zip(&mut rounds) {
            rounds.push(round(stack, replicas, work, seconds).await?);
        }
    }
    let spread =
        |rounds: &[Round], figure: fn(&Round) -> f64| Spread::of(&rounds.iter().map(figure).collect::<Vec<_>>());
    let row = |(work, rounds): (&Work, &Vec<Round>)| {
        let costs = [
            spread(rounds, |round| round.control),
            spread(rounds, |round| round.postgres),
            spread(rounds, |round| round.redis),
        ];
        let rate = format!("{:.0}", spread(rounds, |round| round.per_second));
        let costs = costs.map(|cost| format!("{cost:.0}"));
        [work.name.to_owned(), rate].into_iter().chain(costs).collect::<Vec<_>>()
    };
    let titles = ["", "a second", "each of control-api, µs", "of Postgres, µs", "of Redis, µs"];
    report.table(&titles, &works.iter().zip(&rounds).map(row).collect::<Vec<_>>());
    Ok(rounds.iter().map(|rounds| spread(rounds, |round| 1e6 / round.control)).collect())
}

/// What one round of a kind of request found.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    /// The processor time of each for a request, in microseconds.
    control: f64,
    postgres: f64,
    redis: f64,
}

async fn round(stack: &Stack, replicas: &[(&str, &Process)], work: &Work, seconds: u64) -> anyhow::Result<Round> {
    let before = Spent::so_far(stack, replicas)?;
    let connections = work.at_once / replicas.len();
    let asks = replicas.iter().map(async |(url, _)| {
        let url = format!("{url}/api/v1{}", work.path);
        wrk::ask(&Asked { url: &url, script: &work.script, connections, seconds, status: work.status }).await
    });
    let answered = futures_util::future::try_join_all(asks).await?;
    let after = Spent::so_far(stack, replicas)?;
    let count: u32 = answered.iter().map(|answered| answered.count).sum();
    let each = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(count);
    Ok(Round {
        per_second: answered.iter().map(wrk::Answered::per_second).sum(),
        control: each(before.control, after.control),
        postgres: each(before.postgres, after.postgres),
        redis: each(before.redis, after.redis),
    })
}
