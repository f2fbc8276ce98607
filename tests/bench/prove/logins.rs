//! What the time of a failed login tells, and what a crowd of logins costs others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use testbed::{
    clients::http::Ask,
    people::{ControlApi, User},
    stack::Stack,
};
use tokio::task::JoinSet;

use crate::bench::report::{Durations, Report, milliseconds};

/// Accounts that are tried, of each kind: each fails less often than locks it.
const ACCOUNTS: usize = 120;
const ROUNDS: usize = 5;
/// How far the medians of the kinds may lie apart, in hundredths of the least.
const APART_PERCENT: u32 = 5;
const WRONG: &str = "a guess, and a wrong one";
const AT_ONCE: usize = 200;
const MOST_GROWTH_MIB: u64 = 96;
const OTHERS_WITHIN: Duration = Duration::from_millis(250);

/// On a stack of its own, where nothing else is hashed.
pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").await;
    for (kind, is_active) in [("active", true), ("disabled", false)] {
        let statement = format!(
            "INSERT INTO users (id, email, username, password_hash, is_superuser, referral_code, is_active)
             SELECT gen_random_uuid(), '{kind}-' || n || '@example.com', '{kind}-' || n, password_hash, false,
                 upper(substr(md5('{kind}' || n), 1, 12)), {is_active}
             FROM users, generate_series(1, {ACCOUNTS}) AS n WHERE id = '{}'",
            alice.id
        );
        stack.control.database.query(&statement).await?;
    }
    timing(&stack, &alice, report).await;
    crowd(&stack, &alice, report).await?;
    stack.finish().await;
    Ok(())
}

/// Logs in; the status of the answer.
async fn try_login(api: &ControlApi, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    api.request(Method::POST, "/auth/login").json(&body).answer().await.status
}

/// The three kinds by turns, so that whatever else the machine does strikes each alike.
async fn timing(stack: &Stack, alice: &User, report: &mut Report) {
    report.section("The time of a failed login");
    let api = &stack.control.api;
    let kinds = [
        ("a wrong password", "active", WRONG),
        ("an unknown e-mail", "unknown", WRONG),
        ("a disabled account", "disabled", alice.password.as_str()),
    ];
    let mut durations: [Durations; 3] = Default::default();
    for turn in 0..ROUNDS * ACCOUNTS {
        for place in 0..kinds.len() {
            let kind = (turn + place) % kinds.len();
            let (_, name, password) = kinds[kind];
            let email = format!("{name}-{}@example.com", turn % ACCOUNTS + 1);
            let started = Instant::now();
            let status = try_login(api, &email, password).await;
            assert_eq!(status, 401, "{email}");
            durations[kind].push_since(started);
        }
    }
    for ((what, ..), durations) in kinds.iter().zip(&durations) {
        let [p10, p90] = [10, 90].map(|percent| milliseconds(durations.percentile(percent)));
        report.figure(&format!("With {what}"), &format!("p10 {p10}, p90 {p90}, {}", durations.summary()));
    }
    let medians = durations.map(|durations| durations.percentile(50));
    let (least, most) = (medians.into_iter().min().unwrap_or_default(), medians.into_iter().max().unwrap_or_default());
    let apart = most.saturating_sub(least);
    let percent = 100.0 * apart.as_secs_f64() / least.as_secs_f64();
    let is_kept = apart * 100 <= least * APART_PERCENT;
    let figure = format!("{} or {percent:.1} %", milliseconds(apart));
    report.promise("The medians lie apart by", &figure, &format!("at most {APART_PERCENT} %"), is_kept);
}

async fn crowd(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("{AT_ONCE} logins at once"));
    let process = stack.control.plane.process();
    process.forget_peak()?;
    let before = process.resident_bytes()?;
    let mut logins = JoinSet::new();
    let started = Instant::now();
    for number in 0..AT_ONCE {
        let (api, password) = (stack.control.api.clone(), alice.password.clone());
        let email = format!("active-{}@example.com", number % ACCOUNTS + 1);
        logins.spawn(async move { try_login(&api, &email, &password).await });
    }
    let mut statuses = BTreeMap::new();
    let mut others = Durations::default();
    while statuses.values().sum::<usize>() < AT_ONCE {
        let asked = Instant::now();
        alice.request(Method::GET, "/users/me").answer().await.expect(200);
        others.push_since(asked);
        while let Some(status) = logins.try_join_next() {
            *statuses.entry(status?).or_insert(0_usize) += 1;
        }
    }
    let all = started.elapsed();
    let grown_mib = process.peak_resident_bytes()?.saturating_sub(before) / 1024 / 1024;
    let are_in = statuses == BTreeMap::from([(200, AT_ONCE)]);
    report.promise("Answered", &format!("{statuses:?} in {}", milliseconds(all)), "all 200", are_in);
    let promise = format!("less than {MOST_GROWTH_MIB} MiB");
    report.promise("control-api's growth", &format!("{grown_mib} MiB"), &promise, grown_mib < MOST_GROWTH_MIB);
    let promise = format!("p99 less than {}", milliseconds(OTHERS_WITHIN));
    let is_kept = others.percentile(99) < OTHERS_WITHIN;
    report.promise("GET /users/me meanwhile", &others.summary(), &promise, is_kept);
    Ok(())
}
