//! Paying for credits, by a YooKassa that speaks the real one's protocol.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::{User, text},
    servers::yookassa::{Mood, SECRET_KEY as SHOP_KEY, SHOP_ID, Yookassa},
};

use crate::harness::{Control, PUBLIC_ORIGIN};

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

async fn shop() -> (Yookassa, Control, User) {
    let yookassa = Yookassa::start().await.expect("an API");
    let control = Control::start_with(of_shop(&yookassa.url(), "127.0.0.0/8")).await;
    let alice = control.user("alice").await;
    (yookassa, control, alice)
}

pub fn order(amount: &str) -> Value {
    json!({ "amount_znc": amount, "return_url": format!("{PUBLIC_ORIGIN}/account?paid=1") })
}

pub async fn starts(person: &User, body: &Value) -> Answer {
    person.post("/currency/purchase").json(body).answer().await
}

/// Starts a payment; what YooKassa calls it.
async fn started(control: &Control, person: &User, amount: &str) -> String {
    let started = starts(person, &order(amount)).await.expect(201);
    let id = text(&started, "payment_id");
    control.query(&format!("SELECT provider_payment_id FROM payments WHERE id = '{id}'")).await
}

async fn notify(control: &Control, notice: &Value) -> Answer {
    control.api.request(Method::POST, "/webhooks/payment").json(notice).answer().await
}

/// Makes pending payments due to be asked about, as time does.
async fn make_due(control: &Control) {
    control.query("UPDATE payments SET check_after = now() WHERE status = 'pending'").await;
}

/// How all payments stand, in the order in which they were started.
pub async fn status(control: &Control) -> String {
    control.query("SELECT string_agg(status, ' ' ORDER BY id) FROM payments").await
}

pub async fn adds_up(control: &Control) {
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

pub fn received(processed: bool) -> Value {
    json!({ "received": true, "processed": processed })
}

#[tokio::test]
async fn a_payment_is_credited_once_its_provider_says_that_it_was_paid() {
    let (yookassa, control, alice) = shop().await;
    let answer = starts(&alice, &order("18.5")).await.expect(201);
    let id = yookassa.payments().remove(0);
    let made = yookassa.payment(&id);
    assert_eq!(answer["payment_url"], made["confirmation"]["confirmation_url"]);
    assert_eq!((&answer["amount_znc"], &answer["amount_rub"]), (&json!("18.50"), &json!("185.00")));
    assert_eq!(answer["status"], "pending");
    assert_eq!(made["amount"], json!({ "value": "185.00", "currency": "RUB" }));
    assert_eq!(made["metadata"]["payment_id"], answer["payment_id"]);
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(false), "it is pending");
    assert_eq!(alice.balance().await, "0.00");

    yookassa.pays(&id);
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(true));
    assert_eq!(alice.balance().await, "18.50");
    let lines = alice.get("/currency/transactions").answer().await.expect(200);
    assert_eq!((&lines["total"], &lines["items"][0]["transaction_type"]), (&json!(1), &json!("deposit")));
    assert_eq!(lines["items"][0]["payment_id"], answer["payment_id"]);
    let admin = &control.admin;
    let logged = admin.get("/admin/audit-logs?resource_type=payment").answer().await.expect(200);
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
    assert_eq!(alice.balance().await, "0.00");

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
    assert_eq!(alice.balance().await, "10.00");
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
    assert_eq!((status(&control).await.as_str(), alice.balance().await.as_str()), ("pending", "0.00"));
    adds_up(&control).await;
}

#[tokio::test]
async fn a_notice_of_a_sender_that_is_not_listed_is_refused_before_anybody_is_asked() {
    let yookassa = Yookassa::start().await.expect("an API");
    let control = Control::start_with(of_shop(&yookassa.url(), "185.71.76.0/27")).await;
    let alice = control.user("alice").await;
    let id = started(&control, &alice, "10").await;
    yookassa.pays(&id);
    let call = || control.api.request(Method::POST, "/webhooks/payment").json(&yookassa.notice(&id));
    assert_eq!(call().answer().await.status, 401);
    assert_eq!(call().header("x-forwarded-for", "185.71.76.1").answer().await.status, 401, "anybody can write that");
    assert_eq!(yookassa.asked(), 0);
    make_due(&control).await;
    eventually!(alice.balance().await, |balance| balance == "10.00");
}

#[tokio::test]
async fn while_the_provider_is_down_notices_come_again_and_the_reconciler_credits() {
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
    assert_eq!(alice.balance().await, "0.00");

    yookassa.is(Mood::Well);
    let replica = control.replica_with("control-api-2", of_shop(&yookassa.url(), "127.0.0.0/8")).await;
    make_due(&control).await;
    eventually!(alice.balance().await, |balance| balance == "10.00");
    assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(false));
    assert_eq!(alice.balance().await, "10.00");
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
            control.api.client().post(format!("{}/api/v1/webhooks/payment", plane.url())).json(&notice).answer()
        }))
        .await;
        let processed = answers.iter().filter(|answer| answer.expect(200)["processed"] == true).count();
        assert!(processed <= 1, "the reconciler may have been first: {processed}");
        assert_eq!(alice.balance().await, format!("{round}0.00"));
    }
    adds_up(&control).await;
}

#[tokio::test]
async fn a_payment_whose_making_was_never_answered_is_made_once_and_found_again() {
    let (yookassa, control, alice) = shop().await;
    let call = |key: &'static str, amount: &'static str| {
        alice.post("/currency/purchase").header("idempotency-key", key).json(&order(amount)).answer()
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
    assert_eq!(starts(&alice, &order("20")).await.status, 503);
    yookassa.is(Mood::Well);
    make_due(&control).await;
    eventually!(control.query("SELECT count(provider_payment_id) FROM payments").await, |made| made == "2");
    assert_eq!(yookassa.payments().len(), 2);
    for id in yookassa.payments() {
        yookassa.pays(&id);
        assert_eq!(notify(&control, &yookassa.notice(&id)).await.expect(200), received(true));
    }
    assert_eq!(alice.balance().await, "30.00");
    adds_up(&control).await;
}

#[tokio::test]
async fn a_payment_expires_only_when_its_provider_says_that_it_will_not_be_paid() {
    let (yookassa, control, alice) = shop().await;
    let (late, never) = (started(&control, &alice, "10").await, started(&control, &alice, "20").await);
    yookassa.is(Mood::Mute);
    assert_eq!(starts(&alice, &order("30")).await.status, 503);
    yookassa.is(Mood::Well);
    control.query("UPDATE payments SET expires_at = now(), check_after = now()").await;
    eventually!(status(&control).await, |all| all == "pending pending expired");
    eventually!(control.query("SELECT min(checks) FROM payments").await, |checks| checks == "1");
    assert_eq!(status(&control).await, "pending pending expired", "what can still be paid does not expire");
    yookassa.pays(&late);
    yookassa.cancels(&never);
    make_due(&control).await;
    eventually!(status(&control).await, |all| all == "succeeded expired expired");
    assert_eq!(alice.balance().await, "10.00");
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
    assert_eq!(alice.balance().await, "10.00");
    adds_up(&control).await;
}

#[tokio::test]
async fn without_a_provider_nothing_is_sold_and_no_notice_is_taken() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let refused = starts(&alice, &order("10")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "Payments are not configured"));
    let refused = alice.post("/currency/mock-purchase").json(&json!({ "amount": "10" })).answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (404, "Not found"));
    assert_eq!(notify(&control, &json!({})).await.status, 503);
    assert_eq!(
        control.api.client().get(control.url("/mock-pay/00000000-0000-0000-0000-000000000000")).answer().await.status,
        404
    );
}

#[tokio::test]
async fn a_payer_is_sent_back_only_to_where_this_service_is_or_may_be_called_from() {
    let (yookassa, control, alice) = shop().await;
    let with = |url: &str| json!({ "amount_znc": "10", "return_url": url });
    let control_page = control.url("/docs");
    for good in [format!("{PUBLIC_ORIGIN}/"), "http://localhost:61000/x".to_owned(), control_page] {
        starts(&alice, &with(&good)).await.expect(201);
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
        let refused = starts(&alice, &with(bad)).await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "return_url", "{bad}");
    }
    assert_eq!((yookassa.payments().len(), made), (3, 3));
}
