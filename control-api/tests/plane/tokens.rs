//! Buying tokens, and what their owners do with them.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use shared::{
    redis::{self, replies::Lookup},
    token::credential::{Credential, Handover},
};
use testbed::{
    clients::http::Ask,
    people::{Token, text},
};
use uuid::Uuid;

use crate::harness::{Control, PUBLIC_ORIGIN};

#[tokio::test]
async fn a_purchase_answers_with_the_text_once_and_lists_never_hold_it() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("500").await;
    let body = json!({ "duration_hours": 24, "scope": "certificates_only" });
    let bought = alice.post("/tokens/purchase").json(&body).answer().await.expect(201);
    assert!(Credential::parse_token_text(&text(&bought, "token")).is_some());
    let expected = [
        ("duration_hours", json!(24)),
        ("scope", json!("certificates_only")),
        ("cost_znc", json!("18.00")),
        ("activated_at", Value::Null),
        ("expires_at", Value::Null),
        ("is_active", json!(true)),
    ];
    for (field, value) in expected {
        assert_eq!(bought[field], value, "{field}");
    }
    let listed = alice.get("/tokens/my-tokens").answer().await;
    assert!(!listed.text().contains(&text(&bought, "token")));
    let listed = listed.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["state"], &listed[0]["id"]), (&json!("ready"), &bought["id"]));
    assert!(text(&bought, "token").starts_with(&text(&listed[0], "token_prefix")));
    assert_eq!(alice.balance().await, "482.00");
    assert_eq!(control.query("SELECT count(*) FROM access_tokens WHERE token_prefix <> ''").await, "1");
}

#[tokio::test]
async fn only_what_is_sold_can_be_bought() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("10000").await;
    for hours in [1, 12, 24, 168, 720] {
        alice.purchases(hours).await.expect(201);
    }
    for hours in [2, 23, 100_000] {
        let refused = alice.purchases(hours).await;
        let detail = "Invalid duration. Must be one of: [1, 12, 24, 168, 720]";
        assert_eq!((refused.status, refused.problem().as_str()), (400, detail));
    }
    assert_eq!(alice.balance().await, "9571.00");
}

#[tokio::test]
async fn a_balance_that_is_too_low_changes_nothing() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let refused = alice.purchases(720).await;
    let detail = "Insufficient balance. Required: 300.00 ZNC, Available: 100.00 ZNC";
    assert_eq!((refused.status, refused.problem().as_str()), (402, detail));
    assert_eq!(alice.balance().await, "100.00");
    assert_eq!(control.query("SELECT count(*) FROM access_tokens").await, "0");
}

#[tokio::test]
async fn a_balance_of_18_buys_one_token_whatever_runs_at_once() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("18.00").await;
    let replica = control.replica().await;
    let body = json!({ "duration_hours": 24 });
    let at = |origin: &str| {
        control.api.client().post(format!("{origin}/api/v1/tokens/purchase")).bearer_auth(&alice.jwt).json(&body)
    };
    let answers = join_all((0..20).map(|turn| {
        let origin = if turn % 2 == 0 { control.plane.url() } else { replica.url() };
        at(origin).answer()
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| [201, 402].contains(&answer.status)));
    assert_eq!(alice.balance().await, "0.00");
    assert_eq!(control.query("SELECT count(*) FROM access_tokens").await, "1");
}

#[tokio::test]
async fn prices_of_zero_make_tokens_free() {
    let free = ["TOKEN_PRICE_1H", "TOKEN_PRICE_12H", "TOKEN_PRICE_24H", "TOKEN_PRICE_7D", "TOKEN_PRICE_30D"];
    let control = Control::start_with(free.map(|name| (name, "0"))).await;
    let alice = control.user("alice").await;
    let bought = alice.purchases(720).await.expect(201);
    assert_eq!(bought["cost_znc"], "0.00");
}

#[tokio::test]
async fn my_tokens_hides_what_ended_unless_asked_and_shows_nobody_elses() {
    let control = Control::start().await;
    let (alice, bob) = (control.user("alice").with_credits("100").await, control.user("bob").with_credits("100").await);
    let [ready, expired, refunded] = [alice.buys(1).await, alice.buys(1).await, alice.buys(1).await];
    bob.buys(1).await;
    control
        .query(&format!(
            "UPDATE access_tokens SET activated_at = now() - interval '2 hours' WHERE id = '{}'",
            expired.id
        ))
        .await;
    alice.delete(&format!("/tokens/{}", refunded.id)).answer().await.expect(200);
    let states = async |query: &str| {
        let listed = alice.get(&format!("/tokens/my-tokens{query}")).answer().await.expect(200);
        let listed = listed.as_array().unwrap().iter();
        listed.map(|token| (text(token, "id"), text(token, "state"))).collect::<Vec<_>>()
    };
    let named = |token: &Token, state: &str| (token.id.to_string(), state.to_owned());
    assert_eq!(states("").await, [named(&ready, "ready")]);
    let all = [named(&refunded, "revoked"), named(&expired, "expired"), named(&ready, "ready")];
    assert_eq!(states("?active_only=false").await, all);
}

#[tokio::test]
async fn more_hours_keep_the_credentials_and_cost_what_a_purchase_costs() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(1).await;
    let extend = async |hours: i64| {
        let path = format!("/tokens/{}/extend", token.id);
        alice.post(&path).json(&json!({ "duration_hours": hours })).answer().await
    };
    let extended = extend(24).await.expect(200);
    assert_eq!((&extended["duration_hours"], &extended["cost_znc"]), (&json!(25), &json!("19.00")));
    assert!(extended.get("token").is_none());
    assert_eq!(alice.balance().await, "11.00");
    let Lookup::Live(grant) = control.lookup(&token.digest()).await else { panic!("the token works") };
    assert_eq!(grant.duration.as_secs(), 25 * 3600);
    assert_eq!(extend(24).await.status, 402);
    assert_eq!(extend(5).await.status, 400);
    control.query("UPDATE access_tokens SET activated_at = now() - interval '2 days'").await;
    assert_eq!(extend(1).await.problem(), "Token has expired");
}

#[tokio::test]
async fn a_rotated_token_opens_with_its_new_text_only() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let old = alice.buys(24).await;
    let rotated = alice.post(&format!("/tokens/{}/rotate", old.id)).answer().await.expect(200);
    let new = Token::of(&rotated);
    assert_eq!(new.id, old.id);
    assert!(control.is_live(&new.digest()).await);
    assert_eq!(control.lookup(&old.digest()).await, Lookup::Revoked);
    assert_eq!(alice.balance().await, "12.00");
}

#[tokio::test]
async fn a_token_is_handed_to_a_browser_in_two_halves() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    let opened = alice.post(&format!("/tokens/{}/open", token.id)).answer().await.expect(200);
    let url = text(&opened, "url");
    let code = url.strip_prefix(&format!("{PUBLIC_ORIGIN}/_gateway/enter?code=")).expect("the edge's address");
    let key = redis::handover_key(&Handover::code_digest(code));
    let seconds: i64 = control.redis.command(&["TTL", &key]).await.unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
    let salt = control.redis.command(&["GETDEL", &key]).await.unwrap();
    let secret = Handover::join(code, &salt).expect("two halves").secret();
    assert!(control.is_live(&secret.digest()).await);
    let kept = control.query("SELECT digest::text FROM credentials").await;
    assert!(!kept.contains(code) && !kept.contains(secret.expose()));
}

#[tokio::test]
async fn a_token_keeps_its_newest_ten_browsers() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    let mut secrets = Vec::new();
    for _ in 0..12 {
        let opened = alice.post(&format!("/tokens/{}/open", token.id)).answer().await.expect(200);
        let url = text(&opened, "url");
        let code = url.split_once("code=").unwrap().1;
        let salt = control.redis.command(&["GET", &redis::handover_key(&Handover::code_digest(code))]).await.unwrap();
        secrets.push(Handover::join(code, &salt).unwrap().secret().digest());
    }
    let live = join_all(secrets.iter().map(|secret| control.is_live(secret))).await;
    assert_eq!(live, [vec![false; 2], vec![true; 10]].concat());
    assert!(control.is_live(&token.digest()).await);
}

#[tokio::test]
async fn what_is_not_ones_own_is_not_found() {
    let control = Control::start().await;
    let (alice, mallory) =
        (control.user("alice").with_credits("30").await, control.user("mallory").with_credits("30").await);
    let token = alice.buys(1).await;
    for id in [token.id, Uuid::nil()] {
        let calls = [
            mallory.delete(&format!("/tokens/{id}")),
            mallory.post(&format!("/tokens/{id}/rotate")),
            mallory.post(&format!("/tokens/{id}/open")),
            mallory.post(&format!("/tokens/{id}/extend")).json(&json!({ "duration_hours": 1 })),
        ];
        for call in calls {
            let refused = call.answer().await;
            assert_eq!((refused.status, refused.problem().as_str()), (404, "Token not found or already revoked"));
        }
    }
    let refused = control.api.request(Method::DELETE, &format!("/tokens/{}", token.id)).answer().await;
    assert_eq!(refused.problem(), "Not authenticated");
    assert!(control.is_live(&token.digest()).await);
    assert_eq!(mallory.balance().await, "30.00");
}
