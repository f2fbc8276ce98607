//! Paying for credits, with the mock provider and with a YooKassa that speaks the real one's protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testbed::{
    client::{Answer, Ask},
    eventually,
    yookassa::{Mood, SECRET_KEY as SHOP_KEY, SHOP_ID, Yookassa},
};

use crate::harness::{Control, MOCK_PAYMENTS, PUBLIC_ORIGIN, Person, WEBHOOK_SECRET, text};

/// The environment of a shop at the YooKassa of this URL.
fn of_shop<'a>(url: &'a str, senders: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("DEBUG", "true"),
        ("PAYMENT_PROVIDER", "yookassa"),
        ("YOOKASSA_SHOP_ID", SHOP_ID),
        ("YOOKASSA_SECRET_KEY", SHOP_KEY),
        ("YOOKASSA_API_URL", url),
        ("YOOKASSA_SENDERS", senders),
    ]
}

async fn shop() -> (Yookassa, Control, Person) {
    let yookassa = Yookassa::start().await.expect("an API");
    let control = Control::start_with(of_shop(&yookassa.url(), "127.0.0.0/8")).await;
    let alice = control.person("alice").await;
    (yookassa, control, alice)
}

fn order(amount: &str) -> Value {
    json!({ "amount_znc": amount, "return_url": format!("{PUBLIC_ORIGIN}/account?paid=1") })
}

async fn starts(control: &Control, person: &Person, body: &Value) -> Answer {
    control.post(person, "/currency/purchase").json(body).answer().await
}

/// Starts a payment; what YooKassa calls it.
async fn started(control: &Control, person: &Person, amount: &str) -> String {
    let started = starts(control, person, &order(amount)).await.expect(201);
    let id = text(&started, "payment_id");
    control.query(&format!("SELECT provider_payment_id FROM payments WHERE id = '{id}'")).await
}

async fn notify(control: &Control, notice: &Value) -> Answer {
    control.call(Method::POST, "/webhooks/payment").json(notice).answer().await
}

/// Makes pending payments due to be asked about, as time does.
async fn make_due(control: &Control) {
    control.query("UPDATE payments SET check_after = now() WHERE status = 'pending'").await;
}

async fn status(control: &Control) -> String {
    control.query("SELECT string_agg(status, ' ' ORDER BY id) FROM payments").await
}

async fn adds_up(control: &Control) {
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

fn received(processed: bool) -> Value {
    json!({ "received": true, "processed": processed })
}

#[tokio::test]
async fn a_payment_is_credited_once_its_provider_says_that_it_was_paid() {
    let (yookassa, control, alice) = shop().await;
    let answer = starts(&control, &alice, &order("18.5")).await.expect(201);
    let id = yookassa.payments().remove(0);
    let made = yookassa.payment(&id);
    assert_eq!(answer["payment_url"], made["confirmation"]["confirmation_url"]);
    assert_eq!((&answer["amount_znc"], &answer["amount_rub"]), (&json!("18.50"), &json!("185.00")));
    assert_eq!(answer["status"], "pending");
    assert_eq!(made["amount"], json!({ "value": "185.00", "currency": "RUB" }));
    assert_eq!(made["metadata"]["payment_id"], answer["payment_id"]);
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(false), "it is pending");
    assert_eq!(control.balance(&alice).await, "0.00");

    yookassa.pays(&id);
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(true));
    assert_eq!(control.balance(&alice).await, "18.50");
    let lines = control.get(&alice, "/currency/transactions").answer().await.expect(200);
    assert_eq!((&lines["total"], &lines["items"][0]["transaction_type"]), (&json!(1), &json!("deposit")));
    assert_eq!(lines["items"][0]["payment_id"], answer["payment_id"]);
    let admin = control.admin().await;
    let logged = control.get(&admin, "/admin/audit-logs?resource_type=payment").answer().await.expect(200);
    let actions: Vec<String> =
        logged["items"].as_array().expect("items").iter().map(|line| text(line, "action")).collect();
    assert_eq!(actions, ["settle_payment", "start_payment"]);
    adds_up(&control).await;
}

#[tokio::test]
async fn notices_that_are_forged_replayed_stale_or_reordered_credit_nothing_twice() {
    let (yookassa, control, alice) = shop().await;
    let (one, two) = (started(&control, &alice, "10").await, started(&control, &alice, "20").await);
    let pending = yookassa.notice(&one);
    let mut forged = pending.clone();
    forged["event"] = json!("payment.succeeded");
    forged["object"]["status"] = json!("succeeded");
    assert_eq!(notify(&control, &forged).await.expect(200), received(false), "the API says otherwise");
    let mut unknown = forged.clone();
    unknown["object"]["id"] = json!("22d6d597-000f-5000-9000-145f6df21d6f");
    let mut elsewhere = forged.clone();
    elsewhere["object"]["id"] = json!("../refunds/1");
    for bad in [unknown, elsewhere, json!({}), json!({ "type": "notification", "event": "payment.succeeded" })] {
        let refused = notify(&control, &bad).await;
        assert_eq!(refused.status, 401, "{bad}");
        refused.problem();
    }
    assert_eq!(control.balance(&alice).await, "0.00");

    yookassa.pays(&one);
    let paid = yookassa.notice(&one);
    assert_eq!(notify(&control, &pending).await.expect(200), received(true), "a stale notice is as good a hint");
    for late in [&paid, &pending, &paid, &forged] {
        assert_eq!(notify(&control, late).await.expect(200), received(false));
    }
    yookassa.cancels(&two);
    assert_eq!(notify(&control, &yookassa.notice(&two)).await.expect(200), received(true));
    yookassa.pays(&two);
    assert_eq!(notify(&control, &yookassa.notice(&two)).await.expect(200), received(false), "canceled is final");
    assert_eq!(control.balance(&alice).await, "10.00");
    assert_eq!(status(&control).await, "succeeded canceled");
    adds_up(&control).await;
}

#[tokio::test]
async fn a_payment_of_another_amount_currency_or_name_is_not_credited() {
    let (yookassa, control, alice) = shop().await;
    let id = started(&control, &alice, "10").await;
    yookassa.pays(&id);
    let notice = yookassa.notice(&id);
    let good = yookassa.payment(&id);
    for wrong in [
        json!({ "amount": { "value": "1.00", "currency": "RUB" } }),
        json!({ "amount": { "value": "1000.00", "currency": "RUB" } }),
        json!({ "amount": { "value": "100.00", "currency": "KZT" } }),
        json!({ "id": "22d6d597-000f-5000-9000-145f6df21d6f" }),
    ] {
        yookassa.change(&id, &wrong);
        assert_eq!(notify(&control, &notice).await.status, 401, "{wrong}");
        make_due(&control).await;
        eventually!(control.query("SELECT count(*) FROM payments WHERE check_after <= now()").await, |due| due == "0");
        yookassa.change(&id, &good);
    }
    yookassa.forgets(&id);
    assert_eq!(notify(&control, &notice).await.status, 401);
    assert_eq!((status(&control).await.as_str(), control.balance(&alice).await.as_str()), ("pending", "0.00"));
    adds_up(&control).await;
}

#[tokio::test]
async fn a_notice_of_a_sender_that_is_not_listed_is_refused_before_anybody_is_asked() {
    let yookassa = Yookassa::start().await.expect("an API");
    let control = Control::start_with(of_shop(&yookassa.url(), "185.71.76.0/27")).await;
    let alice = control.person("alice").await;
    let id = started(&control, &alice, "10").await;
    yookassa.pays(&id);
    let call = || control.call(Method::POST, "/webhooks/payment").json(&yookassa.notice(&id));
    assert_eq!(call().answer().await.status, 401);
    assert_eq!(call().header("x-forwarded-for", "185.71.76.1").answer().await.status, 401, "anybody can write that");
    assert_eq!(yookassa.asked(), 0);
    make_due(&control).await;
    eventually!(control.balance(&alice).await, |balance| balance == "10.00");
}

#[tokio::test]
async fn while_the_provider_is_down_notices_are_to_be_sent_again_and_the_reconciler_credits() {
    let (yookassa, control, alice) = shop().await;
    let id = started(&control, &alice, "10").await;
    yookassa.pays(&id);
    yookassa.is(Mood::Down);
    for _ in 0..2 {
        let refused = notify(&control, &yookassa.notice(&id)).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
        refused.problem();
    }
    make_due(&control).await;
    eventually!(control.query("SELECT checks FROM payments").await, |checks| checks == "1");
    assert_eq!(control.balance(&alice).await, "0.00");

    yookassa.is(Mood::Well);
    let replica = control.replica_with("control-api-2", of_shop(&yookassa.url(), "127.0.0.0/8")).await;
    make_due(&control).await;
    eventually!(control.balance(&alice).await, |balance| balance == "10.00");
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(false));
    assert_eq!(control.balance(&alice).await, "10.00");
    drop(replica);
    adds_up(&control).await;
}

#[tokio::test]
async fn equal_notices_at_once_on_two_replicas_credit_once() {
    let (yookassa, control, alice) = shop().await;
    let replica = control.replica_with("control-api-2", of_shop(&yookassa.url(), "127.0.0.0/8")).await;
    for round in 1..=5 {
        let id = started(&control, &alice, "10").await;
        yookassa.pays(&id);
        let notice = yookassa.notice(&id);
        make_due(&control).await;
        let answers = join_all((0..10).map(|number| {
            let plane = if number % 2 == 0 { &control.plane } else { &replica };
            control.http.post(format!("{}/api/v1/webhooks/payment", plane.url())).json(&notice).answer()
        }))
        .await;
        let processed = answers.iter().filter(|answer| answer.expect(200)["processed"] == true).count();
        assert!(processed <= 1, "the reconciler may have been first: {processed}");
        assert_eq!(control.balance(&alice).await, format!("{round}0.00"));
    }
    adds_up(&control).await;
}

#[tokio::test]
async fn a_payment_whose_making_was_never_answered_is_made_once_and_found_again() {
    let (yookassa, control, alice) = shop().await;
    let call = |key: &'static str, amount: &'static str| {
        control.post(&alice, "/currency/purchase").header("idempotency-key", key).json(&order(amount)).answer()
    };
    yookassa.is(Mood::Mute);
    assert_eq!(call("k", "10").await.status, 503);
    assert_eq!(yookassa.payments().len(), 1, "asked twice, made once");
    assert_eq!(control.query("SELECT count(*), count(provider_payment_id) FROM payments").await, "1|0");
    yookassa.is(Mood::Well);
    let answers = join_all((0..10).map(|_| call("k", "10"))).await;
    assert!(answers.iter().all(|answer| answer.expect(201) == answers[0].expect(201)));
    assert_eq!(call("k", "11").await.status, 422);

    yookassa.is(Mood::Mute);
    assert_eq!(starts(&control, &alice, &order("20")).await.status, 503);
    yookassa.is(Mood::Well);
    make_due(&control).await;
    eventually!(control.query("SELECT count(provider_payment_id) FROM payments").await, |made| made == "2");
    assert_eq!(yookassa.payments().len(), 2);
    for id in yookassa.payments() {
        yookassa.pays(&id);
        assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(true));
    }
    assert_eq!(control.balance(&alice).await, "30.00");
    adds_up(&control).await;
}

#[tokio::test]
async fn a_payment_expires_only_when_its_provider_says_that_it_will_not_be_paid() {
    let (yookassa, control, alice) = shop().await;
    let (late, never) = (started(&control, &alice, "10").await, started(&control, &alice, "20").await);
    yookassa.is(Mood::Mute);
    assert_eq!(starts(&control, &alice, &order("30")).await.status, 503);
    yookassa.is(Mood::Well);
    control.query("UPDATE payments SET expires_at = now(), check_after = now()").await;
    eventually!(status(&control).await, |all| all == "pending pending expired");
    eventually!(control.query("SELECT min(checks) FROM payments").await, |checks| checks == "1");
    assert_eq!(status(&control).await, "pending pending expired", "what can still be paid does not expire");
    yookassa.pays(&late);
    yookassa.cancels(&never);
    make_due(&control).await;
    eventually!(status(&control).await, |all| all == "succeeded expired expired");
    assert_eq!(control.balance(&alice).await, "10.00");
    adds_up(&control).await;
}

#[tokio::test]
async fn the_database_refuses_a_payment_that_comes_back_or_parts_from_the_ledger() {
    let (yookassa, control, alice) = shop().await;
    let (one, _two) = (started(&control, &alice, "10").await, started(&control, &alice, "20").await);
    yookassa.pays(&one);
    notify(&control, &yookassa.notice(&one)).await.expect(200);
    let credit = |payment: &str| {
        format!(
            "UPDATE users SET currency_balance = currency_balance + 10, ledger_seq = 2 WHERE id = '{0}';
             INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description, payment_id)
             VALUES (gen_random_uuid(), '{0}', 2, 10, 20, 'deposit', 'by hand', {payment})",
            alice.id
        )
    };
    let (first, second) =
        ("(SELECT id FROM payments WHERE amount_znc = 10)", "(SELECT id FROM payments WHERE amount_znc = 20)");
    for (statement, why) in [
        ("UPDATE payments SET status = 'pending', settled_at = NULL WHERE amount_znc = 10".to_owned(), "stays so"),
        ("UPDATE payments SET status = 'canceled' WHERE amount_znc = 10".to_owned(), "stays so"),
        ("DELETE FROM payments".to_owned(), "a payment is kept"),
        ("UPDATE payments SET amount_znc = 5 WHERE amount_znc = 20".to_owned(), "does not change"),
        ("UPDATE payments SET provider_payment_id = 'x' WHERE amount_znc = 20".to_owned(), "does not change"),
        (
            "UPDATE payments SET status = 'succeeded', settled_at = now() WHERE amount_znc = 20".to_owned(),
            "and the ledger differ",
        ),
        (credit(first), "transactions_payment_id_key"),
        (credit(second), "and the ledger differ"),
        (credit("NULL"), "transactions_deposit_is_a_payments"),
    ] {
        let error = control.database.query(&statement).await.expect_err(&statement);
        assert!(format!("{error:#}").contains(why), "{statement}: {error:#}");
    }
    assert_eq!(control.balance(&alice).await, "10.00");
    adds_up(&control).await;
}

#[tokio::test]
async fn the_mock_page_pays_or_cancels_by_a_signed_notice() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.person("alice").await;
    let press = async |url: &str, decision: &str| {
        let post = control.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        post.body(format!("decision={decision}")).answer().await
    };
    let paid = text(&starts(&control, &alice, &order("10")).await.expect(201), "payment_url");
    assert!(paid.starts_with(&control.url("/mock-pay/")), "{paid}");
    let page = control.http.get(&paid).answer().await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("10.00 ZNC for 100.00 RUB"), "{}", page.text());
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(press(&paid, "steal").await.status, 400);
    assert_eq!(control.balance(&alice).await, "0.00");
    let done = press(&paid, "pay").await;
    assert!(done.text().contains("The payment is succeeded"), "{}", done.text());
    assert!(done.text().contains(&format!(r#"href="{PUBLIC_ORIGIN}/account?paid=1""#)), "{}", done.text());
    for decision in ["pay", "cancel"] {
        assert!(press(&paid, decision).await.text().contains("The payment is succeeded"));
    }
    let canceled = text(&starts(&control, &alice, &order("20")).await.expect(201), "payment_url");
    assert!(press(&canceled, "cancel").await.text().contains("The payment is canceled"));
    assert!(press(&canceled, "pay").await.text().contains("The payment is canceled"));
    assert_eq!(control.balance(&alice).await, "10.00");
    for unknown in ["x", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(control.http.get(control.url(&format!("/mock-pay/{unknown}"))).answer().await.status, 404);
    }
    starts(&control, &alice, &order("30")).await.expect(201);
    control.query("UPDATE payments SET expires_at = now(), check_after = now() WHERE status = 'pending'").await;
    eventually!(status(&control).await, |all| all == "succeeded canceled expired");
    adds_up(&control).await;
}

#[tokio::test]
async fn a_mock_notice_counts_only_with_a_fresh_signature_of_its_own() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.person("alice").await;
    let id = text(&starts(&control, &alice, &order("10")).await.expect(201), "payment_id");
    let object = |amount: &str, currency: &str, status: &str| {
        let amount = json!({ "value": amount, "currency": currency });
        let object = json!({ "id": format!("mock-{id}"), "status": status, "amount": amount });
        json!({ "type": "notification", "event": "payment.succeeded", "object": object }).to_string()
    };
    let send = async |body: &str, signature: Option<String>| {
        let mut call = control.call(Method::POST, "/webhooks/payment").header("content-type", "application/json");
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
    assert_eq!(control.balance(&alice).await, "0.00");
    let pending = object("100.00", "RUB", "pending");
    let signature = signed(WEBHOOK_SECRET, now, &good);
    assert_eq!(send(&good, Some(signature.clone())).await.expect(200), received(true));
    assert_eq!(send(&good, Some(signature)).await.expect(200), received(false));
    assert_eq!(send(&pending, Some(signed(WEBHOOK_SECRET, now, &pending))).await.expect(200), received(false));
    assert_eq!(control.balance(&alice).await, "10.00");
    adds_up(&control).await;
}

/// What the mock signs a body with.
fn signed(secret: &str, time: i64, body: &str) -> String {
    let key = hmac_sha256(secret.as_bytes(), format!("{time}.{body}").as_bytes());
    format!("t={time},v1={key}")
}

/// RFC 2104, by hand, so that the test has its own word on what a signature is.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    assert!(key.len() <= 64, "a longer key is hashed first");
    let padded = |pad: u8| (0..64).map(|i| key.get(i).copied().unwrap_or_default() ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn credits_are_bought_without_paying_only_from_the_mock() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.person("alice").await;
    let buy =
        |amount: Value| control.post(&alice, "/currency/mock-purchase").json(&json!({ "amount": amount })).answer();
    let bought = buy(json!("10.00")).await.expect(201);
    let message = "10.00 ZNC added to the balance.";
    assert_eq!(bought, json!({ "success": true, "amount": "10.00", "new_balance": "10.00", "message": message }));
    let all = join_all((0..8).map(|_| buy(json!(10)))).await;
    assert!(all.iter().all(|answer| answer.status == 201));
    assert_eq!(control.balance(&alice).await, "90.00");
    for bad in [json!(0), json!("0.00"), json!(-1), json!("1.001"), json!("1000000.01"), json!(null), json!("x")] {
        let refused = buy(bad.clone()).await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "amount", "{bad}");
    }
    control.set(&alice, &json!({ "currency_balance": "1000000000" })).await;
    assert_eq!(control.balance(&alice).await, "1000000000.00");
    buy(json!("1000000")).await.expect(201);
    adds_up(&control).await;
}

#[tokio::test]
async fn without_a_provider_nothing_is_sold_and_no_notice_is_taken() {
    let control = Control::start().await;
    let alice = control.person("alice").await;
    let refused = starts(&control, &alice, &order("10")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "Payments are not configured"));
    let refused = control.post(&alice, "/currency/mock-purchase").json(&json!({ "amount": "10" })).answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (404, "Not found"));
    assert_eq!(notify(&control, &json!({})).await.status, 503);
    assert_eq!(
        control.http.get(control.url("/mock-pay/00000000-0000-0000-0000-000000000000")).answer().await.status,
        404
    );
}

#[tokio::test]
async fn a_payer_is_sent_back_only_to_where_this_service_is_or_may_be_called_from() {
    let (yookassa, control, alice) = shop().await;
    let with = |url: &str| json!({ "amount_znc": "10", "return_url": url });
    let control_page = control.url("/docs");
    for good in [format!("{PUBLIC_ORIGIN}/"), "http://localhost:61000/x".to_owned(), control_page] {
        starts(&control, &alice, &with(&good)).await.expect(201);
    }
    let made = yookassa.payments().len();
    for bad in [
        "https://evil.example/",
        "https://gateway.example/",
        "http://gateway.example:8443/",
        "https://gateway.example:8443@evil.example/",
        "https://me@gateway.example:8443/",
        "https://gateway.example:8443.evil.example/",
        "javascript:alert(1)",
        "//gateway.example:8443/",
        "/account",
        "",
    ] {
        let refused = starts(&control, &alice, &with(bad)).await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "return_url", "{bad}");
    }
    assert_eq!((yookassa.payments().len(), made), (3, 3));
}
