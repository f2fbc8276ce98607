//! Several tokens at once for less.

use futures_util::future::join_all;
use http::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    people::{Token, User, text},
};

use crate::harness::Control;

/// The bundle of this name on offer.
pub async fn bundle(control: &Control, name: &str) -> Value {
    let listed = control.api.request(Method::GET, "/bundles/").answer().await.expect(200);
    let items = listed["items"].as_array().expect("items");
    items.iter().find(|bundle| bundle["name"] == name).unwrap_or_else(|| panic!("no {name} in {listed}")).clone()
}

/// Asks for a bundle.
pub async fn purchase(control: &Control, person: &User, name: &str) -> Answer {
    let path = format!("/bundles/{}/purchase", text(&bundle(control, name).await, "id"));
    person.post(&path).answer().await
}

/// Buys a bundle; its tokens.
pub async fn buys_bundle(control: &Control, person: &User, name: &str) -> Vec<Token> {
    tokens(&purchase(control, person, name).await.expect(200))
}

fn tokens(bought: &Value) -> Vec<Token> {
    bought["tokens"].as_array().expect("tokens").iter().map(Token::of).collect()
}

fn amount(value: &Value, member: &str) -> Decimal {
    text(value, member).parse().expect("an amount")
}

#[tokio::test]
async fn four_bundles_are_on_offer_to_everybody_the_cheapest_first_at_todays_prices() {
    let control = Control::start().await;
    for path in ["/bundles/", "/bundles", "/bundles?active_only=true", "/bundles/?active_only=false"] {
        let listed = control.api.request(Method::GET, path).answer().await.expect(200);
        let shown: Vec<_> = listed["items"].as_array().expect("items").iter().map(shown).collect();
        let expected = [
            "Starter Pack: 5x24h full -10.00%, 90.00 - 9.00 = 81.00, 16.20 each",
            "Certificates Bundle: 10x24h certificates_only -15.00%, 180.00 - 27.00 = 153.00, 15.30 each",
            "Pro Bundle: 10x24h full -15.00%, 180.00 - 27.00 = 153.00, 15.30 each",
            "Ultimate Package: 20x168h full -20.00%, 2000.00 - 400.00 = 1600.00, 80.00 each",
        ];
        assert_eq!(shown, expected, "{path}");
        let id = text(&listed["items"][0], "id");
        assert_eq!(
            control.api.request(Method::GET, &format!("/bundles/{id}")).answer().await.expect(200),
            listed["items"][0]
        );
    }
    let refused = control.api.request(Method::PUT, "/bundles").answer().await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, POST"));
}

fn shown(bundle: &Value) -> String {
    assert!(bundle["is_active"] == true && text(bundle, "created_at").ends_with('Z'));
    let [name, scope, discount, base, savings, total, each] =
        ["name", "scope", "discount_percent", "base_price", "savings", "total_price", "price_per_token"]
            .map(|member| text(bundle, member));
    let (count, hours) = (&bundle["token_count"], &bundle["duration_hours"]);
    format!("{name}: {count}x{hours}h {scope} -{discount}%, {base} - {savings} = {total}, {each} each")
}

#[tokio::test]
async fn a_bundle_is_one_line_of_the_ledger_one_act_and_tokens_that_work_at_once() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("200").await;
    let bought = purchase(&control, &alice, "Pro Bundle").await.expect(200);
    for (field, value) in [
        ("bundle_name", json!("Pro Bundle")),
        ("tokens_generated", json!(10)),
        ("cost_znc", json!("153.00")),
        ("new_balance", json!("47.00")),
    ] {
        assert_eq!(bought[field], value, "{field}");
    }
    let tokens = tokens(&bought);
    assert_eq!(tokens.len(), 10);
    for (token, told) in tokens.iter().zip(bought["tokens"].as_array().expect("tokens")) {
        assert!(control.is_live(&token.digest()).await);
        assert_eq!((&told["duration_hours"], &told["scope"]), (&json!(24), &json!("full")));
        assert_eq!((&told["cost_znc"], &told["activated_at"]), (&json!("15.30"), &Value::Null));
    }
    let page = alice.get("/currency/transactions?transaction_type=purchase").answer().await.expect(200);
    let line = &page["items"][0];
    assert_eq!((&page["total"], &line["amount"]), (&json!(1), &json!("-153.00")));
    assert_eq!(line["description"], "Bundle purchase: Pro Bundle (10 tokens)");
    let acts =
        "SELECT resource_type, jsonb_array_length(details->'token_ids') FROM audit_logs WHERE action = 'purchase'";
    assert_eq!(control.query(acts).await, "bundle|10");
    let mine = alice.get("/tokens/my-tokens").answer().await.expect(200);
    assert_eq!(mine.as_array().map(Vec::len), Some(10));
}

#[tokio::test]
async fn the_tokens_of_a_bundle_are_given_back_for_shares_that_sum_to_what_was_paid() {
    // 20 x 0.99 x 80 % = 15.84: not the same for each.
    let control = Control::start_with([("TOKEN_PRICE_7D", "0.99")]).await;
    let alice = control.user("alice").with_credits("20").await;
    let bought = purchase(&control, &alice, "Ultimate Package").await.expect(200);
    assert_eq!((&bought["cost_znc"], &bought["new_balance"]), (&json!("15.84"), &json!("4.16")));
    let told = bought["tokens"].as_array().expect("tokens");
    let costs: Vec<Decimal> = told.iter().map(|token| amount(token, "cost_znc")).collect();
    assert_eq!(costs.iter().sum::<Decimal>(), amount(&bought, "cost_znc"));
    assert_eq!(costs.iter().filter(|cost| cost.to_string() == "0.80").count(), 4);
    assert_eq!(costs.iter().filter(|cost| cost.to_string() == "0.79").count(), 16);
    for (token, cost) in tokens(&bought).iter().zip(costs) {
        let refund = alice.delete(&format!("/tokens/{}", token.id)).answer().await.expect(200);
        assert_eq!(amount(&refund, "refund_amount"), cost);
    }
    assert_eq!(alice.balance().await, "20.00");
    control.plane.runs(&["ledger", "verify"]).await.expect("it adds up");
}

#[tokio::test]
async fn a_balance_that_is_a_cent_too_low_buys_nothing_of_a_bundle() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("152.99").await;
    let refused = purchase(&control, &alice, "Pro Bundle").await;
    let told = "Insufficient balance. Required: 153.00 ZNC, Available: 152.99 ZNC";
    assert_eq!((refused.status, refused.problem().as_str()), (402, told));
    for table in ["access_tokens", "credentials", "outbox"] {
        assert_eq!(control.query(&format!("SELECT count(*) FROM {table}")).await, "0", "{table}");
    }
    assert_eq!(alice.balance().await, "152.99");
}

#[tokio::test]
async fn a_bundle_bought_again_with_its_key_is_the_same_bundle() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("1000").await;
    let path = format!("/bundles/{}/purchase", text(&bundle(&control, "Pro Bundle").await, "id"));
    let other = format!("/bundles/{}/purchase", text(&bundle(&control, "Starter Pack").await, "id"));
    let buys = async |path: &str| alice.post(path).header("Idempotency-Key", "k").answer().await;
    let answers = join_all((0..5).map(|_| buys(&path))).await;
    let first = answers[0].expect(200);
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (200, first.clone()));
    }
    assert_eq!(buys(&other).await.status, 422);
    assert_eq!(alice.balance().await, "847.00");
    alice.delete(&format!("/tokens/{}", tokens(&first)[3].id)).answer().await.expect(200);
    let repeated = buys(&path).await;
    let told = "This purchase exists; rotate the token to get a new text";
    assert_eq!((repeated.status, repeated.problem().as_str()), (409, told));
}

#[tokio::test]
async fn superusers_put_bundles_on_offer_change_them_and_take_them_off() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let new = json!({ "name": "Weekend", "token_count": 3, "duration_hours": 24, "discount_percent": "12.5" });
    let created = admin.post("/bundles/").json(&new).answer().await.expect(201);
    assert_eq!(shown(&created), "Weekend: 3x24h full -12.50%, 54.00 - 6.75 = 47.25, 15.75 each");
    assert_eq!(created["description"], Value::Null);
    let taken = admin.post("/bundles").json(&new).answer().await;
    assert_eq!((taken.status, taken.problem().as_str()), (409, "Bundle name already taken"));
    let path = format!("/bundles/{}", text(&created, "id"));
    let renamed = admin.patch(&path, &json!({ "name": "Pro Bundle" })).answer().await;
    assert_eq!(renamed.status, 409);

    let change = json!({ "description": "Three days", "discount_percent": 50, "scope": "certificates_only" });
    let changed = admin.patch(&path, &change).answer().await.expect(200);
    assert_eq!(shown(&changed), "Weekend: 3x24h certificates_only -50.00%, 54.00 - 27.00 = 27.00, 9.00 each");
    assert_eq!(changed["description"], "Three days");
    let cleared = admin.patch(&path, &json!({ "description": null })).answer().await.expect(200);
    assert_eq!(cleared["description"], Value::Null);
    let bought = alice.post(&format!("{path}/purchase")).answer().await.expect(200);
    assert_eq!((&bought["cost_znc"], &bought["tokens"][0]["scope"]), (&json!("27.00"), &json!("certificates_only")));

    for _ in 0..2 {
        let deleted = admin.delete(&path).answer().await;
        assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    }
    let gone = control.api.request(Method::GET, &path).answer().await;
    assert_eq!((gone.status, gone.problem().as_str()), (404, "Bundle not found or inactive"));
    let gone = alice.post(&format!("{path}/purchase")).answer().await;
    assert_eq!((gone.status, gone.problem().as_str()), (404, "Bundle not found or inactive"));
    let listed = async |query: &str| {
        let listed = control.api.request(Method::GET, &format!("/bundles/{query}")).answer().await.expect(200);
        listed["items"].as_array().map(Vec::len)
    };
    assert_eq!((listed("").await, listed("?active_only=false").await), (Some(4), Some(5)));
    admin.patch(&path, &json!({ "is_active": true })).answer().await.expect(200);
    assert_eq!(listed("").await, Some(5));
    let acts = "SELECT string_agg(action, ' ' ORDER BY id) FROM audit_logs WHERE action LIKE '%_bundle'";
    assert_eq!(control.query(acts).await, "create_bundle change_bundle change_bundle delete_bundle change_bundle");
}

#[tokio::test]
async fn only_superusers_change_what_is_on_offer_and_only_to_what_can_be_sold() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    let path = format!("/bundles/{}", text(&bundle(&control, "Pro Bundle").await, "id"));
    let good = json!({ "name": "B", "token_count": 1, "duration_hours": 1, "scope": "full", "discount_percent": "0" });
    for call in [alice.post("/bundles/").json(&good), alice.patch(&path, &json!({})), alice.delete(&path)] {
        let refused = call.answer().await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "Superuser permissions required"));
    }
    for (field, bad) in [
        ("name", json!("")),
        ("name", json!("x".repeat(101))),
        ("description", json!(5)),
        ("token_count", json!(0)),
        ("token_count", json!(101)),
        ("duration_hours", json!(2)),
        ("duration_hours", json!("24")),
        ("scope", json!("everything")),
        ("discount_percent", json!("100.01")),
        ("discount_percent", json!("-1")),
        ("discount_percent", json!("1.001")),
    ] {
        let mut body = good.clone();
        body[field] = bad.clone();
        let created = admin.post("/bundles/").json(&body).answer().await;
        let changed = admin.patch(&path, &json!({ field: bad })).answer().await;
        for refused in [created, changed] {
            assert_eq!(refused.expect(422)["errors"][0]["field"], field, "{bad}");
        }
    }
    let absent = format!("/bundles/{}", admin.id);
    assert_eq!(admin.patch(&absent, &json!({})).answer().await.status, 404);
    assert_eq!(admin.delete(&absent).answer().await.status, 404);
    assert_eq!(control.api.request(Method::GET, "/bundles/x").answer().await.status, 422);
}
