//! The ledger: every movement of credits, and a balance that is its sum with any writer.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{
    clients::http::Ask,
    people::{User, text},
};

use crate::harness::Control;

async fn lines(person: &User, query: &str) -> Value {
    person.get(&format!("/currency/transactions{query}")).answer().await.expect(200)
}

/// Type, amount and description of each line, newest first.
fn told(page: &Value) -> Vec<(String, String, String)> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|line| (text(line, "transaction_type"), text(line, "amount"), text(line, "description"))).collect()
}

fn line(kind: &str, amount: &str, description: &str) -> (String, String, String) {
    (kind.to_owned(), amount.to_owned(), description.to_owned())
}

#[tokio::test]
async fn every_movement_of_credits_is_a_line_that_says_what_it_was_for() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40").await;
    let token = alice.buys(1).await;
    let extend = alice.post(&format!("/tokens/{}/extend", token.id)).json(&json!({ "duration_hours": 24 }));
    extend.answer().await.expect(200);
    alice.delete(&format!("/tokens/{}", token.id)).answer().await.expect(200);
    control
        .admin
        .changes(&alice, &json!({ "currency_balance": "12.50", "reason": "Counted wrongly" }))
        .await
        .expect(200);
    let page = lines(&alice, "").await;
    let expected = [
        line("adjustment", "-27.50", "Counted wrongly"),
        line("refund", "19.00", "Token refund: 25h (not activated)"),
        line("purchase", "-18.00", "Token extension: 24h"),
        line("purchase", "-1.00", "Token purchase: 1h (full)"),
        line("adjustment", "40.00", "Balance set by an administrator"),
    ];
    assert_eq!(told(&page), expected);
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(5), &json!(10), &json!(0)));
    assert_eq!(page["items"][0]["payment_id"], Value::Null);
    assert_eq!(alice.balance().await, "12.50");
}

#[tokio::test]
async fn the_ledger_pages_and_shows_one_type_and_only_ones_own() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40").await;
    let bob = control.user("bob").await;
    for _ in 0..3 {
        alice.buys(1).await;
    }
    let page = lines(&alice, "?limit=1&offset=1&transaction_type=purchase").await;
    assert_eq!((told(&page).len(), &page["total"]), (1, &json!(3)));
    assert_eq!(lines(&bob, "").await["total"], 0);
    for query in ["limit=0", "limit=101", "offset=-1", "transaction_type=theft"] {
        let refused = alice.get(&format!("/currency/transactions?{query}")).answer().await;
        assert_eq!(refused.status, 422, "{query}");
    }
}

#[tokio::test]
async fn the_database_refuses_whatever_would_part_a_balance_from_its_ledger() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40").await;
    alice.buys(24).await;
    let id = &alice.id;
    for (statement, why) in [
        (format!("UPDATE users SET currency_balance = 1000 WHERE id = '{id}'"), "what the ledger says"),
        (format!("UPDATE users SET ledger_seq = 9 WHERE id = '{id}'"), "what the ledger says"),
        ("UPDATE transactions SET amount = 1".to_owned(), "append-only"),
        ("DELETE FROM transactions".to_owned(), "append-only"),
        ("TRUNCATE transactions".to_owned(), "append-only"),
        (inserted(id, 3, "5", "27"), "what the ledger says"),
        (inserted(id, 3, "5", "99"), "does not go on"),
        (inserted(id, 7, "5", "27"), "does not go on"),
        (inserted(id, 1, "5", "5"), "transactions_user_id_seq_key"),
    ] {
        let error = control.database.query(&statement).await.expect_err(&statement);
        assert!(format!("{error:#}").contains(why), "{statement}: {error:#}");
    }
    assert_eq!(alice.balance().await, "22.00");
}

fn inserted(user_id: &str, seq: u32, amount: &str, balance_after: &str) -> String {
    format!(
        "INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description)
         VALUES (gen_random_uuid(), '{user_id}', {seq}, {amount}, {balance_after}, 'adjustment', 'by hand')"
    )
}

#[tokio::test]
async fn a_check_of_the_ledger_names_whom_it_does_not_add_up_for() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40").await;
    control.user("bob").with_credits("40").await;
    alice.buys(24).await;
    let admin = &control.admin;
    let verified = admin.get("/admin/ledger/verify").answer().await.expect(200);
    assert_eq!(verified, json!({ "ok": true, "users": 3, "differing": 0, "differences": [] }));
    let clean = control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
    assert!(clean.contains("3 users, 0 whose balance and ledger differ"), "{clean}");

    // As a faulty disk would, or an operator who switches the triggers off.
    let part = format!(
        "SET session_replication_role = replica; UPDATE users SET currency_balance = 23 WHERE id = '{}'",
        alice.id
    );
    control.database.query(&part).await.expect("a change past the triggers");
    let verified = admin.get("/admin/ledger/verify").answer().await.expect(200);
    let difference = json!({ "user_id": alice.id, "balance": "23.00", "ledger": "22.00", "lines": 2 });
    assert_eq!(verified, json!({ "ok": false, "users": 3, "differing": 1, "differences": [difference] }));
    let refused = control.plane.runs(&["ledger", "verify"]).await.expect_err("it does not add up");
    assert!(format!("{refused:#}").contains(&format!("{} has a balance of 23.00 ZNC", alice.id)), "{refused:#}");
    let hidden = alice.get("/admin/ledger/verify").answer().await;
    assert_eq!(hidden.status, 403);
}

#[tokio::test]
async fn purchases_and_refunds_at_once_leave_a_ledger_that_adds_up() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("18").await;
    for _ in 0..5 {
        let bought = join_all((0..6).map(|_| alice.purchases(24))).await;
        let tokens: Vec<_> = bought.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(tokens.len(), 1, "18.00 buys one token");
        assert!(bought.iter().all(|answer| matches!(answer.status, 201 | 402)));
        let path = format!("/tokens/{}", text(&tokens[0].json(), "id"));
        let given = join_all((0..6).map(|_| alice.delete(&path).answer())).await;
        assert_eq!(given.iter().filter(|answer| answer.status == 200).count(), 1);
    }
    assert_eq!(alice.balance().await, "18.00");
    assert_eq!(lines(&alice, "").await["total"], 11);
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}
