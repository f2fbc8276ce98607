//! Calls that are repeated with their key: the same call, and the same answer.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::{Token, User, text},
};

use crate::harness::Control;

async fn buys_once(person: &User, key: &str, body: &Value) -> Answer {
    person.post("/tokens/purchase").header("Idempotency-Key", key).json(body).answer().await
}

#[tokio::test]
async fn one_key_ten_times_at_once_on_two_replicas_is_one_purchase_and_ten_equal_answers() {
    let control = Control::start().await;
    let replica = control.replica().await;
    let alice = control.user("alice").with_credits("100").await;
    let body = json!({ "duration_hours": 24 });
    let urls = [control.url("/api/v1/tokens/purchase"), format!("{}/api/v1/tokens/purchase", replica.url())];
    let call = |number: usize| {
        let call = control.api.client().request(Method::POST, &urls[number % 2]).bearer_auth(&alice.jwt);
        call.header("Idempotency-Key", "a-key").json(&body).answer()
    };
    let answers = join_all((0..10).map(call)).await;
    let first = answers[0].json();
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (201, first.clone()));
    }
    assert_eq!(alice.balance().await, "82.00");
    assert!(control.is_live(&Token::of(&first).digest()).await);
    assert_eq!(control.query("SELECT count(*) FROM audit_logs WHERE action = 'purchase'").await, "1");
}

#[tokio::test]
async fn a_key_belongs_to_its_user_its_call_and_its_body() {
    let control = Control::start().await;
    let [alice, bob] = [control.user("alice").with_credits("100").await, control.user("bob").with_credits("100").await];
    let bought = buys_once(&alice, "k", &json!({ "duration_hours": 24 })).await.expect(201);
    let same = json!({ "scope": "full", "duration_hours": 24, "unknown": 1 });
    assert_eq!(buys_once(&alice, "k", &same).await.expect(201), bought, "it asks for the same");
    for other in [json!({ "duration_hours": 1 }), json!({ "duration_hours": 24, "scope": "certificates_only" })] {
        let refused = buys_once(&alice, "k", &other).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json()["errors"][0]["field"], "Idempotency-Key");
    }
    let of_bob = buys_once(&bob, "k", &json!({ "duration_hours": 24 })).await.expect(201);
    assert_ne!(of_bob["id"], bought["id"]);
    let extend = async |hours: u32| {
        let extend = alice.post(&format!("/tokens/{}/extend", text(&bought, "id")));
        extend.header("Idempotency-Key", "k").json(&json!({ "duration_hours": hours })).answer().await
    };
    let extended = extend(24).await.expect(200);
    assert_eq!(extended["duration_hours"], 48);
    assert_eq!(extend(24).await.expect(200), extended);
    assert_eq!(extend(1).await.status, 422);
    assert_eq!(alice.balance().await, "64.00");
}

#[tokio::test]
async fn what_failed_is_not_kept_and_may_be_tried_again() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let body = json!({ "duration_hours": 24 });
    assert_eq!(buys_once(&alice, "k", &body).await.status, 402);
    control.admin.changes(&alice, &json!({ "currency_balance": "20" })).await.expect(200);
    buys_once(&alice, "k", &body).await.expect(201);
    let long = "k".repeat(256);
    for bad in ["", "a b", long.as_str()] {
        assert_eq!(buys_once(&alice, bad, &body).await.status, 422, "{bad:?}");
    }
    assert_eq!(buys_once(&alice, &long[1..], &body).await.status, 402);
}

#[tokio::test]
async fn a_text_is_kept_sealed_and_only_as_long_as_it_opens_something() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let body = json!({ "duration_hours": 1 });
    let mut bought = Vec::new();
    for key in ["refunded", "revoked", "rotated", "kept"] {
        bought.push(Token::of(&buys_once(&alice, key, &body).await.expect(201)));
    }
    let kept =
        control.query("SELECT encode(sealed, 'escape') FROM sealed_texts; SELECT outcome FROM idempotency_keys").await;
    assert!(bought.iter().all(|token| !kept.contains(&token.text[..16])), "a text is in the clear");
    alice.delete(&format!("/tokens/{}", bought[0].id)).answer().await.expect(200);
    let admin = &control.admin;
    admin.delete(&format!("/admin/tokens/{}", bought[1].id)).answer().await.expect(200);
    alice.post(&format!("/tokens/{}/rotate", bought[2].id)).answer().await.expect(200);
    let left = control.query("SELECT token_id FROM sealed_texts").await;
    assert_eq!(left, bought[3].id.to_string());
    let repeated = buys_once(&alice, "rotated", &body).await;
    let told = "This purchase exists; rotate the token to get a new text";
    assert_eq!((repeated.status, repeated.problem().as_str()), (409, told));
    assert_eq!(Token::of(&buys_once(&alice, "kept", &body).await.expect(201)).text, bought[3].text);

    control.query("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'").await;
    control.plane.kill().await;
    control.plane.start_again().await.expect("a control plane");
    eventually!(control.query("SELECT count(*) FROM sealed_texts").await, |left| left == "0");
    buys_once(&alice, "kept", &json!({ "duration_hours": 12 })).await.expect(201);
}
