//! Brute force on logins: who is locked out, for how long, and who is not. Time passes by moving
//! what Redis remembers into the past.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use shared::redis::ATTEMPTS_KEYS;
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::text,
    processes::programs::Plane,
};
use tokio::task::JoinSet;

use crate::harness::Control;

const HOME: &str = "198.51.100.7";
const ELSEWHERE: &str = "203.0.113.9";
const BEHIND_A_PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.0/8");
const WRONG: &str = "a guess, and a wrong one";
/// What a time in milliseconds is later than, and no count.
const TIMES_FROM: i64 = 1_000_000_000_000;

async fn logs_in_from(control: &Control, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    control.api.request(Method::POST, "/auth/login").header("X-Forwarded-For", address).json(&body).answer().await
}

/// Fails so often, as fast as an account may be tried.
async fn fails(control: &Control, address: &str, email: &str, times: u32) {
    for _ in 0..times {
        later(control, 5).await;
        assert_eq!(logs_in_from(control, address, email, WRONG).await.status, 401);
    }
}

/// For how many seconds a refusal says to wait.
fn wait(refused: &Answer) -> u64 {
    assert_eq!(refused.status, 429, "{}", refused.text());
    let seconds = refused.header("retry-after").parse().expect("seconds");
    let unit = if seconds == 1 { "second" } else { "seconds" };
    assert_eq!(refused.problem(), format!("Too many failed logins. Try again in {seconds} {unit}."));
    seconds
}

async fn remembered(control: &Control) -> Vec<String> {
    let keys = control.redis.command(&["KEYS", ATTEMPTS_KEYS]).await.expect("keys");
    keys.lines().map(str::to_owned).collect()
}

/// Makes what Redis remembers older by this number of seconds.
async fn later(control: &Control, seconds: i64) {
    fn shift(value: &mut Value, ms: i64) {
        match value {
            Value::Number(number) if number.as_i64() > Some(TIMES_FROM) => {
                *value = json!(number.as_i64().unwrap_or_default() - ms);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| shift(item, ms)),
            Value::Object(fields) => fields.values_mut().for_each(|field| shift(field, ms)),
            _ => {}
        }
    }
    for key in remembered(control).await {
        let kept = control.redis.command(&["GET", &key]).await.expect("a value");
        let mut value: Value = serde_json::from_str(&kept).expect("JSON");
        shift(&mut value, seconds * 1_000);
        control.redis.command(&["SET", &key, &value.to_string(), "KEEPTTL"]).await.expect("a write");
    }
}

async fn audited(control: &Control, action: &str) -> String {
    control.query(&format!("SELECT count(*) FROM audit_logs WHERE action = '{action}'")).await
}

#[tokio::test]
async fn each_rung_locks_an_account_for_one_address_for_longer_and_is_told_once() {
    let control = Control::start_with([("LOGIN_FAILURES_PER_HOUR", "0")]).await;
    let alice = control.user("alice").await;
    let mut failed = 0;
    for (failures, seconds) in [(7, 60), (10, 600), (15, 900), (20, 3_600), (25, 86_400), (26, 86_400)] {
        fails(&control, HOME, &alice.email, failures - failed).await;
        failed = failures;
        for _ in 0..3 {
            let locked_for = wait(&control.api.tries_to_log_in(&alice.email, &alice.password).await);
            assert!((seconds - 5..=seconds).contains(&locked_for), "{failures}: {locked_for}");
        }
        later(&control, i64::try_from(seconds).expect("a few")).await;
    }
    assert_eq!(audited(&control, "login_failed").await, "26", "what is refused is not written");
    assert_eq!(audited(&control, "login_locked").await, "6");
    let details = "SELECT details FROM audit_logs WHERE action = 'login_locked' ORDER BY created_at LIMIT 1";
    let details: Value = serde_json::from_str(&control.query(details).await).expect("JSON");
    assert_eq!(details, json!({ "failures": 7, "seconds": 60 }));
    control.api.logs_in(&alice.email, &alice.password).await;
    fails(&control, HOME, &alice.email, 6).await;
    control.api.logs_in(&alice.email, &alice.password).await;
}

#[tokio::test]
async fn nobody_locks_another_out_but_only_slows_them_down() {
    let control = Control::start_with([BEHIND_A_PROXY]).await;
    let alice = control.user("alice").await;
    fails(&control, ELSEWHERE, &alice.email, 7).await;
    wait(&logs_in_from(&control, ELSEWHERE, &alice.email, &alice.password).await);
    logs_in_from(&control, HOME, &alice.email, &alice.password).await.expect(200);
    let slowed_for = wait(&logs_in_from(&control, HOME, &alice.email, &alice.password).await);
    assert!(slowed_for <= 5, "{slowed_for}");
    later(&control, 5).await;
    logs_in_from(&control, HOME, &alice.email, &alice.password).await.expect(200);
}

#[tokio::test]
async fn an_account_that_does_not_exist_or_is_disabled_is_locked_like_any() {
    let control = Control::start_with([("LOGIN_FAILURES_PER_HOUR", "0")]).await;
    let (alice, bob) = (control.user("alice").await, control.user("bob").await);
    control.admin.changes(&bob, &json!({ "is_active": false })).await.expect(200);
    let cases = [(alice.email.as_str(), WRONG), ("nobody@example.com", WRONG), (&bob.email, &bob.password)];
    let mut answers = Vec::new();
    for (email, password) in cases {
        let mut told = Vec::new();
        for try_number in 0..8 {
            // Another spelling is the same account.
            let email = if try_number % 2 == 0 { email.to_owned() } else { email.to_uppercase() };
            let answer = control.api.tries_to_log_in(&email, password).await;
            let wait = answer.header("retry-after").parse().ok().map(|seconds: u64| seconds.div_ceil(10));
            told.push((answer.status, wait));
        }
        answers.push(told);
    }
    let [seven @ .., (eighth, wait)] = &answers[0][..] else { panic!("eight tries") };
    assert!(seven.iter().all(|told| *told == (401, None)) && (*eighth, *wait) == (429, Some(6)), "{answers:?}");
    assert!(answers.iter().all(|told| *told == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits_whatever_the_account() {
    let control = Control::start_with([("LOGIN_FAILURES_PER_HOUR", "5"), BEHIND_A_PROXY]).await;
    let alice = control.user("alice").await;
    for number in 0..5 {
        let answer = logs_in_from(&control, "2001:db8::1", &format!("{number}@example.com"), WRONG).await;
        assert_eq!(answer.status, 401);
    }
    let same_network = wait(&logs_in_from(&control, "2001:db8::2", &alice.email, &alice.password).await);
    assert!((3_500..=3_600).contains(&same_network), "{same_network}");
    logs_in_from(&control, "2001:db8:0:1::1", &alice.email, &alice.password).await.expect(200);
    later(&control, 3_600).await;
    logs_in_from(&control, "2001:db8::1", &alice.email, &alice.password).await.expect(200);
}

#[tokio::test]
async fn what_redis_remembers_of_logins_ends_and_names_nobody() {
    let control = Control::start_with([BEHIND_A_PROXY]).await;
    let alice = control.user("alice").await;
    fails(&control, HOME, &alice.email, 8 - 1).await;
    fails(&control, HOME, "nobody@example.com", 1).await;
    logs_in_from(&control, ELSEWHERE, &alice.email, &alice.password).await.expect(200);
    let admin = &control.admin;
    admin.delete(&format!("/admin/users/{}/login-failures", alice.id)).answer().await.expect(200);
    let keys = remembered(&control).await;
    assert!(keys.len() >= 4, "{keys:?}");
    for key in keys {
        let left: i64 = control.redis.command(&["PTTL", &key]).await.expect("a reply").parse().expect("a number");
        assert!((1..=2 * 86_400_000).contains(&left), "{key} stands for {left} ms");
        let kept = format!("{key} {}", control.redis.command(&["GET", &key]).await.expect("a value"));
        for secret in [alice.email.as_str(), "nobody", "example.com", HOME, ELSEWHERE, &alice.id, WRONG] {
            assert!(!kept.contains(secret), "{kept}");
        }
    }
}

#[tokio::test]
async fn an_admin_or_a_new_password_lets_an_account_in_at_once() {
    let operators = ("USER_PASSWORD", "an operator's choice");
    let control = Control::start_with([BEHIND_A_PROXY, ("LOGIN_FAILURES_PER_HOUR", "0"), operators]).await;
    let alice = control.user("alice").await;
    let path = format!("/admin/users/{}/login-failures", alice.id);
    let is_locked = async |password: &str| {
        for address in [HOME, ELSEWHERE] {
            wait(&logs_in_from(&control, address, &alice.email, password).await);
        }
    };
    let lock = async |password: &str| {
        fails(&control, HOME, &alice.email, 7).await;
        later(&control, 5).await;
        fails(&control, ELSEWHERE, &alice.email, 7).await;
        is_locked(password).await;
    };
    let are_in = async |password: &str| {
        for address in [HOME, ELSEWHERE, HOME] {
            logs_in_from(&control, address, &alice.email, password).await.expect(200);
        }
    };
    lock(&alice.password).await;
    assert_eq!(alice.delete(&path).answer().await.status, 403);
    is_locked(&alice.password).await;
    let admin = &control.admin;
    let cleared = admin.delete(&path).answer().await.expect(200);
    assert_eq!(cleared, json!({ "cleared": true, "user_id": alice.id }));
    are_in(&alice.password).await;
    assert_eq!(audited(&control, "clear_login_failures").await, "1");
    let nobody = admin.delete("/admin/users/00000000-0000-0000-0000-000000000000/login-failures");
    assert_eq!(nobody.answer().await.problem(), "User not found");

    lock(&alice.password).await;
    let change = json!({ "password": "another password", "current_password": alice.password });
    alice.patch("/users/me", &change).answer().await.expect(200);
    are_in("another password").await;

    lock("another password").await;
    let link = admin.post(&format!("/admin/users/{}/password-link", alice.id)).answer().await.expect(200);
    let url = text(&link, "url");
    let (_, code) = url.split_once("?code=").expect("a code");
    let form = [("code", code), ("password", "a third password")];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let sent = control
        .api
        .client()
        .post(control.url("/set-password"))
        .header("origin", control.url(""))
        .body(form)
        .answer()
        .await;
    assert_eq!(sent.status, 303, "{}", sent.text());
    are_in("a third password").await;

    lock("a third password").await;
    control.plane.runs(&["user", "set-password", "--email", &alice.email]).await.expect("a new password");
    are_in(operators.1).await;
}

#[tokio::test]
async fn without_redis_failures_count_all_the_same_and_nobody_else_is_locked_out() {
    let mut control = Control::start_with([BEHIND_A_PROXY]).await;
    let (alice, bob) = (control.user("alice").await, control.user("bob").await);
    control.redis.kill().await;
    let mut statuses = BTreeMap::new();
    for _ in 0..10 {
        let status = logs_in_from(&control, HOME, &alice.email, WRONG).await.status;
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(401, 7), (429, 3)]));
    logs_in_from(&control, HOME, &bob.email, &bob.password).await.expect(200);
    logs_in_from(&control, ELSEWHERE, &alice.email, &alice.password).await.expect(200);
    control.redis.start_again().await.expect("a server");
    eventually!(
        {
            logs_in_from(&control, ELSEWHERE, &bob.email, WRONG).await;
            remembered(&control).await.len()
        },
        |keys| *keys > 0
    );
}

/// Tries to log in so often at once, on these replicas by turns; how often each status came.
async fn floods(control: &Control, planes: &[&Plane], times: usize, email: &str, password: &str) -> BTreeMap<u16, u32> {
    let mut tries = JoinSet::new();
    for (_, plane) in (0..times).zip(planes.iter().cycle()) {
        let body = json!({ "email": email, "password": password });
        let request = control.api.client().post(format!("{}/api/v1/auth/login", plane.url())).json(&body);
        tries.spawn(async move { request.answer().await.status });
    }
    let mut statuses = BTreeMap::new();
    for status in tries.join_all().await {
        *statuses.entry(status).or_insert(0) += 1;
    }
    statuses
}

#[tokio::test]
async fn of_200_wrong_tries_at_once_no_more_are_checked_than_may_fail_while_others_log_in() {
    let control = Control::start_with([BEHIND_A_PROXY]).await;
    let other = control.replica().await;
    let (alice, bob) = (control.user("alice").await, control.user("bob").await);
    let planes = [&control.plane, &other];
    let (statuses, logged_in) = tokio::join!(
        floods(&control, &planes, 200, &alice.email, WRONG),
        logs_in_from(&control, ELSEWHERE, &bob.email, &bob.password)
    );
    let of = |status| statuses.get(&status).copied().unwrap_or(0);
    // 503: on a machine this busy some waited too long for their turn.
    assert_eq!((of(401), of(401) + of(429) + of(503)), (7, 200), "{statuses:?}");
    logged_in.expect(200);
    assert_eq!(audited(&control, "login_failed").await, "7");
}

#[tokio::test]
async fn good_logins_are_not_counted_however_many_come_at_once() {
    let control = Control::start_with([("LOGIN_FAILURES_PER_HOUR", "3")]).await;
    let other = control.replica().await;
    let alice = control.user("alice").await;
    let statuses = floods(&control, &[&control.plane, &other], 40, &alice.email, &alice.password).await;
    let of = |status| statuses.get(&status).copied().unwrap_or(0);
    assert!(of(200) > 7 && of(200) + of(503) == 40, "{statuses:?}");
    assert_eq!(remembered(&control).await, Vec::<String>::new(), "nothing of them is remembered");
}
