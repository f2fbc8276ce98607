//! The bonus of the user who recommended a buyer, and its conditions.

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::redis::events::Usage;
use testbed::people::{Token, User, text};
use testbed::{clients::http::Ask, eventually};

use crate::{
    bundles::{buys_bundle, purchase},
    harness::Control,
};

/// Any time after today, as an edge tells it.
const LATER_MS: i64 = 1_900_000_000_000;

/// Somebody new with a balance, brought by `referrer`.
async fn brought(control: &Control, referrer: &User, name: &str, balance: &str) -> User {
    let me = referrer.get("/users/me").answer().await.expect(200);
    let path = format!("/auth/register?ref={}", text(&me, "referral_code"));
    let (email, password) = (format!("{name}@example.com"), format!("{name}'s password"));
    let body = json!({ "email": email, "username": name, "password": password });
    control.api.request(http::Method::POST, &path).json(&body).answer().await.expect(201);
    let person = control.api.logs_in(&email, &password).await;
    control.admin.changes(&person, &json!({ "currency_balance": balance })).await.expect(200);
    person
}

/// Tells of a token's first use, as an edge does, and waits until it is recorded.
async fn used(control: &Control, token: &Token) {
    control.tell(&Usage::Activated { token_id: token.id, at_ms: LATER_MS }).await;
    let recorded = format!("SELECT count(activated_at) FROM access_tokens WHERE id = '{}'", token.id);
    eventually!(control.query(&recorded).await, |recorded| recorded == "1");
}

async fn referrals(person: &User) -> Value {
    person.get("/users/me/referrals").answer().await.expect(200)
}

/// What was earned and what is still to come.
async fn bonus(person: &User) -> (String, String) {
    let referrals = referrals(person).await;
    (text(&referrals, "total_bonus_earned"), text(&referrals, "pending_bonus"))
}

fn amounts(earned: &str, pending: &str) -> (String, String) {
    (earned.to_owned(), pending.to_owned())
}

/// Waits until all that is due has been paid: a bonus that is due from now on is paid with or after
/// what was due before.
async fn paid(control: &Control) {
    let [judge, sentinel] = ["judge", "sentinel"].map(str::to_owned);
    let judge = match control.api.tries_to_log_in("judge@example.com", "judge's password").await.status {
        200 => control.api.logs_in("judge@example.com", "judge's password").await,
        _ => control.user(&judge).await,
    };
    let number = control.query("SELECT count(*) FROM users").await;
    let buyer = brought(control, &judge, &format!("{sentinel}-{number}"), "100").await;
    used(control, &buyer.buys(168).await).await;
    eventually!(bonus(&judge).await.1, |pending| pending == "0.00");
}

#[tokio::test]
async fn a_first_purchase_of_100_pays_10_once_it_is_used() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "300").await;
    assert_eq!(bonus(&alice).await, amounts("0.00", "0.00"));
    let token = bob.buys(168).await;
    assert_eq!(bonus(&alice).await, amounts("0.00", "10.00"));
    paid(&control).await;
    assert_eq!(alice.balance().await, "0.00", "before it is used nothing is paid");
    used(&control, &token).await;
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("10.00", "0.00"));
    assert_eq!(alice.balance().await, "10.00");
    let page = alice.get("/currency/transactions").answer().await.expect(200);
    let line = &page["items"][0];
    assert_eq!((&page["total"], &line["transaction_type"]), (&json!(1), &json!("referral_bonus")));
    assert_eq!((&line["amount"], &line["description"]), (&json!("10.00"), &json!("Referral bonus: bob")));
    let act = "SELECT resource_id, details->>'amount' FROM audit_logs WHERE action = 'referral_bonus'
        AND details->>'token_id' = '{id}'"
        .replace("{id}", &token.id.to_string());
    assert_eq!(control.query(&act).await, format!("{}|10.00", alice.id));
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

#[tokio::test]
async fn a_first_purchase_of_99_99_pays_nothing_nor_does_any_after_it() {
    let control = Control::start_with([("TOKEN_PRICE_7D", "99.99"), ("TOKEN_PRICE_30D", "100.00")]).await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "500").await;
    let [small, large] = [bob.buys(168).await, bob.buys(720).await];
    assert_eq!(bonus(&alice).await, amounts("0.00", "0.00"));
    for token in [&small, &large] {
        used(&control, token).await;
    }
    assert_eq!(control.query("SELECT count(*) FROM referral_bonuses").await, "0");
    let referrals = referrals(&alice).await;
    assert_eq!((&referrals["total_referrals"], &referrals["qualifying_referrals"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn a_second_purchase_pays_nothing_whatever_became_of_the_first() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "1000").await;
    let first = bob.buys(168).await;
    bob.delete(&format!("/tokens/{}", first.id)).answer().await.expect(200);
    assert_eq!(bonus(&alice).await, amounts("0.00", "0.00"));
    let second = bob.buys(168).await;
    let extend = bob.post(&format!("/tokens/{}/extend", second.id)).json(&json!({ "duration_hours": 720 }));
    extend.answer().await.expect(200);
    used(&control, &second).await;
    paid(&control).await;
    assert_eq!(alice.balance().await, "0.00");
    assert_eq!(bonus(&alice).await, amounts("0.00", "0.00"));
}

#[tokio::test]
async fn a_bundle_of_153_has_paid_15_30_by_the_time_its_tenth_token_is_used() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "153").await;
    let tokens = buys_bundle(&control, &bob, "Pro Bundle").await;
    assert_eq!(bonus(&alice).await, amounts("0.00", "15.30"));
    for token in &tokens[..3] {
        used(&control, token).await;
    }
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("4.59", "10.71"));
    for token in &tokens[3..] {
        used(&control, token).await;
    }
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("15.30", "0.00"));
    assert_eq!(alice.balance().await, "15.30");
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

#[tokio::test]
async fn a_bonus_that_does_not_divide_is_paid_to_the_cent() {
    // 20 x 7.03 x 80 % = 112.48, of which a tenth is 11.25.
    let control = Control::start_with([("TOKEN_PRICE_7D", "7.03")]).await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "200").await;
    let tokens = buys_bundle(&control, &bob, "Ultimate Package").await;
    let shares = "SELECT amount, count(*) FROM referral_shares GROUP BY amount ORDER BY amount";
    assert_eq!(control.query(shares).await, "0.56|15\n0.57|5");
    for token in &tokens {
        used(&control, token).await;
    }
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("11.25", "0.00"));
}

#[tokio::test]
async fn what_is_refunded_or_revoked_unused_pays_nothing_even_if_a_use_is_reported_later() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").await, &control.admin);
    let bob = brought(&control, &alice, "bob", "153").await;
    let tokens = buys_bundle(&control, &bob, "Pro Bundle").await;
    let [refunded, revoked, kept] = [&tokens[0], &tokens[1], &tokens[2]];
    bob.delete(&format!("/tokens/{}", refunded.id)).answer().await.expect(200);
    admin.delete(&format!("/admin/tokens/{}", revoked.id)).answer().await.expect(200);
    assert_eq!(bonus(&alice).await, amounts("0.00", "12.24"));
    for token in [refunded, revoked, kept] {
        used(&control, token).await;
    }
    paid(&control).await;
    assert_eq!(bonus(&alice).await, amounts("1.53", "10.71"));
    assert_eq!(alice.balance().await, "1.53");
    // A refund is final even if an edge's clock says that the use came first.
    let early = Usage::Activated { token_id: refunded.id, at_ms: 1_000 };
    control.tell(&early).await;
    let recorded =
        format!("SELECT extract(epoch FROM activated_at)::int FROM access_tokens WHERE id = '{}'", refunded.id);
    eventually!(control.query(&recorded).await, |at| at == "1");
    paid(&control).await;
    assert_eq!(alice.balance().await, "1.53");
}

#[tokio::test]
async fn a_token_that_was_revoked_after_its_use_has_earned_its_bonus() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").await, &control.admin);
    let bob = brought(&control, &alice, "bob", "100").await;
    let token = bob.buys(168).await;
    admin.delete(&format!("/admin/tokens/{}", token.id)).answer().await.expect(200);
    // It was used before, and the edge's report comes late.
    control.tell(&Usage::Activated { token_id: token.id, at_ms: 1_000 }).await;
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("10.00", "0.00"));
}

#[tokio::test]
async fn a_use_that_is_told_again_and_again_pays_once_on_two_replicas() {
    let mut control = Control::start().await;
    let _replica = control.replica().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "153").await;
    let tokens = buys_bundle(&control, &bob, "Pro Bundle").await;
    // Earlier each time, so that each is recorded anew.
    for at_ms in (0..5).map(|step| LATER_MS - step) {
        for token in &tokens {
            control.tell(&Usage::Activated { token_id: token.id, at_ms }).await;
        }
    }
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("15.30", "0.00"));
    control.plane.kill().await;
    control.plane.start_again().await.expect("a control plane");
    let earliest = format!(
        "SELECT count(*) FROM access_tokens WHERE round(extract(epoch FROM activated_at) * 1000) = {}",
        LATER_MS - 4
    );
    eventually!(control.query(&earliest).await, |recorded| recorded == "10");
    paid(&control).await;
    assert_eq!(alice.balance().await, "15.30");
    let lines = format!("SELECT count(*) FROM transactions WHERE user_id = '{}' AND type = 'referral_bonus'", alice.id);
    assert_eq!(control.query(&lines).await, "10");
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

#[tokio::test]
async fn a_use_that_only_a_refund_found_out_pays_too() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "100").await;
    let token = bob.buys(168).await;
    control.activate(&token).await;
    assert_eq!(bob.delete(&format!("/tokens/{}", token.id)).answer().await.status, 400);
    eventually!(bonus(&alice).await, |bonus| *bonus == amounts("10.00", "0.00"));
}

#[tokio::test]
async fn of_first_purchases_at_once_one_is_the_first() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    for round in 0..5 {
        let bob = brought(&control, &alice, &format!("bob-{round}"), "1000").await;
        let bundles = join_all((0..2).map(|_| purchase(&control, &bob, "Pro Bundle")));
        let tokens = join_all((0..3).map(|_| bob.purchases(168)));
        let (bundles, tokens) = tokio::join!(bundles, tokens);
        assert!(bundles.iter().all(|answer| answer.status == 200) && tokens.iter().all(|answer| answer.status == 201));
        let of_bob = format!(
            "SELECT count(*), sum(amount) IN (10.00, 15.30) FROM referral_bonuses WHERE user_id = '{}'",
            bob.id
        );
        assert_eq!(control.query(&of_bob).await, "1|t");
    }
    let referrals = referrals(&alice).await;
    assert_eq!((&referrals["total_referrals"], &referrals["qualifying_referrals"]), (&json!(5), &json!(5)));
}

#[tokio::test]
async fn one_sees_whom_one_brought_newest_first_and_by_which_link() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let bob = brought(&control, &alice, "bob", "100").await;
    let carol = brought(&control, &alice, "carol", "100").await;
    bob.buys(168).await;
    let mine = referrals(&alice).await;
    let code = text(&mine, "referral_code");
    assert!(text(&mine, "referral_link").ends_with(&format!("/register?ref={code}")), "{mine}");
    let told = mine["referred_users"].as_array().expect("people");
    let told: Vec<_> = told
        .iter()
        .map(|person| (text(person, "id"), text(person, "username"), person["has_made_qualifying_purchase"] == true))
        .collect();
    assert_eq!(told, [(carol.id, "carol".to_owned(), false), (bob.id.clone(), "bob".to_owned(), true)]);
    let of_bob = referrals(&bob).await;
    assert_eq!((&of_bob["total_referrals"], &of_bob["referred_users"]), (&json!(0), &json!([])));
}
