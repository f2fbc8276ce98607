//! How often users may call and addresses may open accounts, on every replica together.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    people::User,
    processes::programs::Plane,
};

use crate::harness::Control;

const BEHIND_A_PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.0/8");
const HOME: &str = "198.51.100.7";

fn account(name: &str) -> Value {
    json!({ "email": format!("{name}@example.com"), "username": name, "password": "a password of mine" })
}

async fn registers_from(control: &Control, plane: &Plane, address: &str, name: &str) -> Answer {
    let url = format!("{}/api/v1/auth/register", plane.url());
    control.api.client().post(url).header("X-Forwarded-For", address).json(&account(name)).answer().await
}

async fn calls(control: &Control, plane: &Plane, person: &User) -> Answer {
    control.api.client().get(format!("{}/api/v1/users/me", plane.url())).bearer_auth(&person.jwt).answer().await
}

/// Checks a refusal, and for how many seconds it says to wait.
fn wait(refused: &Answer, what: &str, limit: u32) -> u64 {
    assert_eq!(refused.status, 429, "{}", refused.text());
    let number = |name| refused.header(name).parse::<u64>().unwrap_or_else(|_| panic!("{name} in {refused:?}"));
    let seconds = number("retry-after");
    let unit = if seconds == 1 { "second" } else { "seconds" };
    assert_eq!(refused.problem(), format!("{what}. Try again in {seconds} {unit}."));
    assert_eq!((number("ratelimit-limit"), number("ratelimit-remaining")), (limit.into(), 0));
    assert!(number("ratelimit-reset") >= seconds, "{refused:?}");
    seconds
}

#[tokio::test]
async fn an_address_opens_so_many_accounts_on_all_replicas_together_and_others_go_on() {
    let limits = [BEHIND_A_PROXY, ("REGISTRATIONS_PER_HOUR", "5")];
    let control = Control::start_with(limits).await;
    let replica = control.replica_with("control-api-2", limits).await;
    for number in 0..10 {
        let plane = if number % 2 == 0 { &control.plane } else { &replica };
        registers_from(&control, plane, HOME, &format!("alice{number}")).await.expect(201);
    }
    for plane in [&control.plane, &replica] {
        let refused = registers_from(&control, plane, HOME, "alice-again").await;
        let seconds = wait(&refused, "Too many registrations from this address", 10);
        assert!((600..=720).contains(&seconds), "{seconds}");
    }
    registers_from(&control, &replica, "203.0.113.9", "bob").await.expect(201);
    let keys = control.redis.command(&["KEYS", "*"]).await.expect("keys");
    assert!(keys.contains("registrations") && !keys.contains(HOME), "{keys}");
}

#[tokio::test]
async fn what_is_refused_for_its_form_counts_as_no_registration() {
    let control = Control::start_with([("REGISTRATIONS_PER_HOUR", "5")]).await;
    for _ in 0..12 {
        assert_eq!(control.api.registers(&json!({ "email": "nobody" })).await.status, 422);
    }
    control.api.registers(&account("alice")).await.expect(201);
}

#[tokio::test]
async fn a_user_makes_so_many_calls_a_minute_on_all_replicas_together_and_others_go_on() {
    const PER_MINUTE: u32 = 20;
    let limits = [("USER_REQUESTS_PER_MINUTE", "20")];
    let control = Control::start_with(limits).await;
    let replica = control.replica_with("control-api-2", limits).await;
    let (alice, bob) = (control.user("alice").await, control.user("bob").await);
    let began = Instant::now();
    // Logging in called once.
    let mut answered = 1;
    for _ in 0..PER_MINUTE {
        for plane in [&control.plane, &replica] {
            answered += u32::from(calls(&control, plane, &alice).await.status == 200);
        }
    }
    let regained = u32::try_from(began.elapsed().as_secs()).expect("few seconds") * PER_MINUTE / 60;
    assert!((PER_MINUTE..=PER_MINUTE + regained + 1).contains(&answered), "{answered} were answered");
    let refused = loop {
        let answer = calls(&control, &replica, &alice).await;
        if answer.status != 200 {
            break answer;
        }
    };
    wait(&refused, "Too many requests", PER_MINUTE);
    calls(&control, &replica, &bob).await.expect(200);
    assert_eq!(
        control.api.request(Method::GET, "/bundles/").answer().await.status,
        200,
        "who has no login has no limit"
    );
}

#[tokio::test]
async fn without_redis_each_replica_holds_the_limits_by_itself() {
    let limits = [BEHIND_A_PROXY, ("REGISTRATIONS_PER_HOUR", "5"), ("USER_REQUESTS_PER_MINUTE", "20")];
    let mut control = Control::start_with(limits).await;
    let alice = control.user("alice").await;
    control.redis.kill().await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(calls(&control, &control.plane, &alice).await.status);
    }
    assert!(statuses.starts_with(&[200; 15]) && statuses.ends_with(&[429]), "{statuses:?}");
    for number in 0..10 {
        registers_from(&control, &control.plane, HOME, &format!("bob{number}")).await.expect(201);
    }
    assert_eq!(registers_from(&control, &control.plane, HOME, "bob-again").await.status, 429);
}
