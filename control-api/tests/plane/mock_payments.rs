//! Paying for credits without money, as in development.

use std::time::{SystemTime, UNIX_EPOCH};
use testbed::people::text;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testbed::{clients::http::Ask, eventually};

use crate::{
    harness::{Control, MOCK_PAYMENTS, PUBLIC_ORIGIN, WEBHOOK_SECRET},
    payments::{adds_up, order, received, starts, status},
};

#[tokio::test]
async fn the_mock_page_pays_or_cancels_by_a_signed_notice() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").await;
    let press = async |url: &str, decision: &str| {
        let post = control.api.client().post(url).header("content-type", "application/x-www-form-urlencoded");
        post.body(format!("decision={decision}")).answer().await
    };
    let paid = text(&starts(&alice, &order("10")).await.expect(201), "payment_url");
    assert!(paid.starts_with(&control.url("/mock-pay/")), "{paid}");
    let page = control.api.client().get(&paid).answer().await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("10.00 ZNC for 100.00 RUB"), "{}", page.text());
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(press(&paid, "steal").await.status, 400);
    assert_eq!(alice.balance().await, "0.00");
    let done = press(&paid, "pay").await;
    assert!(done.text().contains("The payment is succeeded"), "{}", done.text());
    assert!(done.text().contains(&format!(r#"href="{PUBLIC_ORIGIN}/account?paid=1""#)), "{}", done.text());
    for decision in ["pay", "cancel"] {
        assert!(press(&paid, decision).await.text().contains("The payment is succeeded"));
    }
    let canceled = text(&starts(&alice, &order("20")).await.expect(201), "payment_url");
    assert!(press(&canceled, "cancel").await.text().contains("The payment is canceled"));
    assert!(press(&canceled, "pay").await.text().contains("The payment is canceled"));
    assert_eq!(alice.balance().await, "10.00");
    for unknown in ["x", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(control.api.client().get(control.url(&format!("/mock-pay/{unknown}"))).answer().await.status, 404);
    }
    starts(&alice, &order("30")).await.expect(201);
    control.query("UPDATE payments SET expires_at = now(), check_after = now() WHERE status = 'pending'").await;
    eventually!(status(&control).await, |all| all == "succeeded canceled expired");
    adds_up(&control).await;
}

#[tokio::test]
async fn a_mock_notice_counts_only_with_a_fresh_signature_of_its_own() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").await;
    let id = text(&starts(&alice, &order("10")).await.expect(201), "payment_id");
    let object = |amount: &str, currency: &str, status: &str| {
        let amount = json!({ "value": amount, "currency": currency });
        let object = json!({ "id": format!("mock-{id}"), "status": status, "amount": amount });
        json!({ "type": "notification", "event": "payment.succeeded", "object": object }).to_string()
    };
    let send = async |body: &str, signature: Option<String>| {
        let mut call =
            control.api.request(Method::POST, "/webhooks/payment").header("content-type", "application/json");
        if let Some(signature) = signature {
            call = call.header("x-signature", signature);
        }
        call.body(body.to_owned()).answer().await
    };
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("fits");
    let good = object("100.00", "RUB", "succeeded");
    for (body, signature) in [
        (good.clone(), None),
        (good.clone(), Some("t=1,v1=00".to_owned())),
        (good.clone(), Some(signed(WEBHOOK_SECRET, now - 310, &good))),
        (good.clone(), Some(signed(WEBHOOK_SECRET, now + 310, &good))),
        (good.clone(), Some(signed("another secret, which is somebody else's", now, &good))),
        (format!("{good} "), Some(signed(WEBHOOK_SECRET, now, &good))),
        (object("1.00", "RUB", "succeeded"), Some(signed(WEBHOOK_SECRET, now, &object("1.00", "RUB", "succeeded")))),
        (
            object("100.00", "USD", "succeeded"),
            Some(signed(WEBHOOK_SECRET, now, &object("100.00", "USD", "succeeded"))),
        ),
    ] {
        let refused = send(&body, signature.clone()).await;
        assert_eq!(refused.status, 401, "{body} {signature:?}");
        refused.problem();
    }
    assert_eq!(alice.balance().await, "0.00");
    let pending = object("100.00", "RUB", "pending");
    let signature = signed(WEBHOOK_SECRET, now, &good);
    assert_eq!(send(&good, Some(signature.clone())).await.expect(200), received(true));
    assert_eq!(send(&good, Some(signature)).await.expect(200), received(false));
    assert_eq!(send(&pending, Some(signed(WEBHOOK_SECRET, now, &pending))).await.expect(200), received(false));
    assert_eq!(alice.balance().await, "10.00");
    adds_up(&control).await;
}

/// What the mock signs a body with.
fn signed(secret: &str, time: i64, body: &str) -> String {
    let key = hmac_sha256(secret.as_bytes(), format!("{time}.{body}").as_bytes());
    format!("t={time},v1={key}")
}

/// RFC 2104, by hand, so that the test has its own word on what a signature is.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    assert!(key.len() <= 64, "a longer key is hashed first");
    let padded = |pad: u8| (0..64).map(|i| key.get(i).copied().unwrap_or_default() ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn credits_are_bought_without_paying_only_from_the_mock() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").await;
    let buy = |amount: Value| alice.post("/currency/mock-purchase").json(&json!({ "amount": amount })).answer();
    let bought = buy(json!("10.00")).await.expect(201);
    let message = "10.00 ZNC added to the balance.";
    assert_eq!(bought, json!({ "success": true, "amount": "10.00", "new_balance": "10.00", "message": message }));
    let all = join_all((0..8).map(|_| buy(json!(10)))).await;
    assert!(all.iter().all(|answer| answer.status == 201));
    assert_eq!(alice.balance().await, "90.00");
    for bad in [json!(0), json!("0.00"), json!(-1), json!("1.001"), json!("1000000.01"), json!(null), json!("x")] {
        let refused = buy(bad.clone()).await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "amount", "{bad}");
    }
    control.admin.changes(&alice, &json!({ "currency_balance": "1000000000" })).await.expect(200);
    assert_eq!(alice.balance().await, "1000000000.00");
    buy(json!("1000000")).await.expect(201);
    adds_up(&control).await;
}
