//! The audit log: who did what, from where, with what it tells of.

use http::Method;
use serde_json::{Value, json};
use testbed::people::text;
use testbed::{clients::http::Ask, eventually};

use crate::harness::Control;

async fn logged(control: &Control, query: &str) -> Value {
    let admin = &control.admin;
    admin.get(&format!("/admin/audit-logs?limit=100&{query}")).answer().await.expect(200)
}

fn actions(page: &Value) -> Vec<String> {
    page["items"].as_array().expect("items").iter().map(|line| text(line, "action")).collect()
}

#[tokio::test]
async fn whatever_people_do_is_written_with_who_what_and_from_where() {
    let control = Control::start_with([("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let alice = control.user("alice").with_credits("40").await;
    let purchase = alice.post("/tokens/purchase").json(&json!({ "duration_hours": 24 }));
    let purchase = purchase.header("X-Forwarded-For", "6.6.6.6, 198.51.100.7").header("User-Agent", "a client/1.0");
    let token = purchase.header("X-Request-Id", "request-1").answer().await.expect(201);
    let path = format!("/tokens/{}", text(&token, "id"));
    alice.post(&format!("{path}/rotate")).answer().await.expect(200);
    alice.post(&format!("{path}/extend")).json(&json!({ "duration_hours": 1 })).answer().await.expect(200);
    alice.delete(&path).answer().await.expect(200);
    alice.patch("/users/me", &json!({ "full_name": "Alice A." })).answer().await.expect(200);
    let password = json!({ "password": "another password", "current_password": alice.password });
    alice.patch("/users/me", &password).answer().await.expect(200);
    assert_eq!(control.api.tries_to_log_in(&alice.email, "not her password").await.status, 401);

    let mine = logged(&control, &format!("user_id={}", alice.id)).await;
    let expected = [
        "login_failed",
        "change_password",
        "change_profile",
        "refund",
        "extend",
        "rotate",
        "purchase",
        "login",
        "register",
    ];
    assert_eq!(actions(&mine), expected);
    let purchase = logged(&control, "action=purchase&resource_type=token").await;
    assert_eq!(purchase["total"], 1);
    let line = &purchase["items"][0];
    for (field, value) in [
        ("user_id", json!(alice.id)),
        ("resource_id", token["id"].clone()),
        ("ip_address", json!("198.51.100.7")),
        ("user_agent", json!("a client/1.0")),
        ("request_id", json!("request-1")),
        ("user_email", json!(alice.email)),
        ("user_username", json!("alice")),
        ("details", json!({ "duration_hours": 24, "scope": "full", "cost_znc": "18.00", "new_balance": "22.00" })),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    let whole = logged(&control, "").await.to_string();
    for secret in [text(&token, "token"), alice.password.clone(), "another password".to_owned()] {
        assert!(!whole.contains(&secret), "a secret is in the log");
    }
}

#[tokio::test]
async fn what_admins_change_is_written_with_the_old_and_the_new() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40").await;
    let token = alice.buys(24).await;
    let admin = &control.admin;
    admin.delete(&format!("/admin/tokens/{}", token.id)).answer().await.expect(200);
    admin.delete(&format!("/admin/tokens/{}", token.id)).answer().await.expect(200);
    admin.post(&format!("/admin/users/{}/password-link", alice.id)).answer().await.expect(200);
    let off = json!({ "is_active": false, "currency_balance": "3", "reason": "left" });
    admin.patch(&format!("/admin/users/{}", alice.id), &off).answer().await.expect(200);
    let done = logged(&control, &format!("user_id={}", admin.id)).await;
    let done: Vec<_> = actions(&done).into_iter().filter(|action| action != "login" && action != "register").collect();
    assert_eq!(done, ["change_user", "draw_password_link", "revoke", "change_user"], "repeating changes nothing");
    let last = logged(&control, "action=change_user").await["items"][0].clone();
    let details = json!({
        "is_active": { "old": true, "new": false },
        "currency_balance": { "old": "22.00", "new": "3.00" },
        "reason": "left",
    });
    assert_eq!((&last["details"], &last["resource_id"]), (&details, &json!(alice.id)));
}

#[tokio::test]
async fn what_was_refused_or_failed_left_no_line_and_nobody_else_sees_any() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    assert_eq!(alice.purchases(24).await.status, 402);
    assert_eq!(logged(&control, "action=purchase").await["total"], 0);
    assert_eq!(alice.get("/admin/audit-logs").answer().await.status, 403);
    assert_eq!(control.api.request(Method::GET, "/admin/audit-logs").answer().await.status, 401);
}

#[tokio::test]
async fn the_log_is_never_changed_and_dropped_by_the_day_when_it_is_old_enough() {
    let mut control = Control::start().await;
    control.user("alice").await;
    for statement in ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"] {
        let error = control.database.query(statement).await.expect_err(statement);
        assert!(format!("{error:#}").contains("append-only"), "{error:#}");
    }
    let kept = "SELECT action FROM audit_logs WHERE user_agent = 'a test' ORDER BY created_at";
    for days in [40, 31, 29] {
        let day = format!("(now() AT TIME ZONE 'UTC')::date - {days}");
        let made = format!("SELECT audit_logs_make_days({day}, {day})");
        control.query(&made).await;
        let old = format!(
            "INSERT INTO audit_logs (id, action, resource_type, details, user_agent, created_at)
             VALUES (gen_random_uuid(), '{days} days ago', 'user', '{{}}', 'a test', now() - interval '{days} days')"
        );
        control.query(&old).await;
    }
    control.plane.kill().await;
    control.plane.start_again().await.expect("a control plane");
    eventually!(control.query(kept).await, |kept| kept == "29 days ago");
    let ahead = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass
        AND inhrelid::regclass::text > 'audit_logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
        AND inhrelid::regclass::text <> 'audit_logs_default'";
    assert_eq!(control.query(ahead).await, "7");
    assert_eq!(logged(&control, "action=register").await["total"], 2, "the admin's and Alice's");
}
