//! Registering, and one's own account.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{clients::http::Ask, people::text};

use crate::harness::Control;

#[tokio::test]
async fn a_new_account_has_every_field_and_no_rights() {
    let control = Control::start().await;
    let body = json!({ "email": "Alice@Example.com", "username": "alice", "password": "password1", "full_name": "Alice A.",
        "is_superuser": true, "unknown": 1 });
    let user = control.api.registers(&body).await.expect(201);
    let fields: Vec<&str> = user.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "created_at",
        "email",
        "full_name",
        "id",
        "is_active",
        "is_superuser",
        "referral_code",
        "updated_at",
        "username",
    ];
    assert_eq!(fields, expected);
    assert_eq!((&user["email"], &user["is_superuser"]), (&json!("Alice@Example.com"), &json!(false)));
    assert_eq!(text(&user, "referral_code").len(), 12);
    assert!(text(&user, "created_at").ends_with('Z'));
    let alice = control.api.logs_in("alice@EXAMPLE.com", "password1").await;
    assert_eq!(alice.get("/users/me").answer().await.expect(200)["referral_code"], user["referral_code"]);
}

#[tokio::test]
async fn concurrent_registrations_of_one_name_give_exactly_one_201() {
    let control = Control::start().await;
    let try_all = async |bodies: Vec<Value>, refusal: &str| {
        let answers = join_all(bodies.iter().map(|body| control.api.registers(body))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!((refused.status, refused.problem().as_str()), (400, refusal));
        }
    };
    let of_email = |case: usize| {
        let email = if case.is_multiple_of(2) { "one@example.com" } else { "ONE@Example.com" };
        json!({ "email": email, "username": format!("user-{case}"), "password": "password1" })
    };
    try_all((0..12).map(of_email).collect(), "Email already registered").await;
    let of_username =
        |case: usize| json!({ "email": format!("u{case}@example.com"), "username": "same", "password": "password1" });
    try_all((0..12).map(of_username).collect(), "Username already taken").await;
    assert_eq!(control.query("SELECT count(*) FROM users").await, "3");
    let both = json!({ "email": "one@example.com", "username": "same", "password": "password1" });
    assert_eq!(control.api.registers(&both).await.problem(), "Email already registered");
}

#[tokio::test]
async fn e_mails_are_folded_beyond_ascii_and_usernames_are_not() {
    let control = Control::start().await;
    let body = |email: &str, username: &str| json!({ "email": email, "username": username, "password": "password1" });
    control.api.registers(&body("имя@почта.рф", "name")).await.expect(201);
    assert_eq!(control.api.registers(&body("ИМЯ@почта.рф", "other")).await.problem(), "Email already registered");
    control.api.registers(&body("other@example.com", "NAME")).await.expect(201);
}

#[tokio::test]
async fn a_referral_code_that_nobody_has_creates_nothing() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let code = text(&alice.get("/users/me").answer().await.expect(200), "referral_code");
    let register = async |code: &str| {
        let body = json!({ "email": "bob@example.com", "username": "bob", "password": "password1" });
        control.api.request(http::Method::POST, &format!("/auth/register?ref={code}")).json(&body).answer().await
    };
    for unknown in ["NOBODYSCODE2", "", "%00"] {
        let refused = register(unknown).await;
        assert!([400, 422].contains(&refused.status), "{unknown}: {}", refused.status);
    }
    assert_eq!(register("NOBODYSCODE2").await.problem(), "Invalid referral code");
    assert_eq!(control.query("SELECT count(*) FROM users WHERE username = 'bob'").await, "0");
    register(&code).await.expect(201);
    let referrer = control.query("SELECT r.username FROM users u JOIN users r ON r.id = u.referred_by").await;
    assert_eq!(referrer, "alice");
}

#[tokio::test]
async fn a_profile_changes_only_in_what_is_sent() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let patch = async |body: Value| alice.patch("/users/me", &body).answer().await;
    assert_eq!(patch(json!({ "full_name": "Alice A." })).await.expect(200)["full_name"], "Alice A.");
    assert_eq!(patch(json!({})).await.expect(200)["full_name"], "Alice A.");
    assert_eq!(patch(json!({ "email": "new@example.com" })).await.expect(200)["email"], "alice@example.com");
    assert_eq!(patch(json!({ "full_name": null })).await.expect(200)["full_name"], Value::Null);
}

#[tokio::test]
async fn a_new_password_needs_the_current_one_and_ends_every_login() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let patch = async |body: Value| alice.patch("/users/me", &body).answer().await;
    let missing = patch(json!({ "password": "new password" })).await;
    assert_eq!(missing.expect(422)["errors"][0]["field"], "current_password");
    let wrong = patch(json!({ "password": "new password", "current_password": "wrong" })).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (400, "Current password is incorrect"));
    patch(json!({ "password": "new password", "current_password": alice.password })).await.expect(200);
    assert_eq!(alice.get("/users/me").answer().await.status, 401);
    assert_eq!(control.api.tries_to_log_in(&alice.email, &alice.password).await.status, 401);
    control.api.logs_in(&alice.email, "new password").await;
}

#[tokio::test]
async fn the_balance_is_a_text_with_two_decimals() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let balance = alice.get("/currency/balance").answer().await.expect(200);
    assert_eq!(balance, json!({ "balance": "0.00", "currency": "ZNC" }));
    control.admin.changes(&alice, &json!({ "currency_balance": 482 })).await.expect(200);
    assert_eq!(alice.balance().await, "482.00");
}
