//! Giving back tokens that were never used.

use futures_util::future::join_all;
use serde_json::json;
use shared::redis::{
    self,
    events::{self, Usage},
    replies::{Activation, Lookup},
};
use testbed::{clients::http::Ask, eventually};

use crate::harness::{CLAIM, Control};

const ACTIVATED: &str = "Cannot revoke activated token. Refunds are only available for non-activated tokens.";

#[tokio::test]
async fn a_refund_gives_what_was_paid_once_however_often_it_is_asked_for() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    let path = format!("/tokens/{}", token.id);
    let answers = join_all((0..6).map(|_| alice.delete(&path).answer())).await;
    let given: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(given.len(), 1);
    let refund = given[0].json();
    let expected = [("revoked", json!(true)), ("refund_amount", json!("18.00")), ("new_balance", json!("30.00"))];
    for (field, value) in expected {
        assert_eq!(refund[field], value, "{field}");
    }
    assert!(refund["message"].is_string() && refund.get("pending").is_none());
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.problem().as_str()), (404, "Token not found or already revoked"));
    }
    assert_eq!(alice.balance().await, "30.00");
    assert!(!control.is_live(&token.digest()).await);
}

#[tokio::test]
async fn a_refund_gives_back_what_extensions_cost_too() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(1).await;
    let extend = alice.post(&format!("/tokens/{}/extend", token.id)).json(&json!({ "duration_hours": 24 }));
    extend.answer().await.expect(200);
    let refund = alice.delete(&format!("/tokens/{}", token.id)).answer().await.expect(200);
    assert_eq!((&refund["refund_amount"], &refund["new_balance"]), (&json!("19.00"), &json!("30.00")));
}

#[tokio::test]
async fn a_token_that_only_redis_knows_to_be_used_is_not_refunded() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    let Activation::Active { activated_at_ms, .. } = control.activate(&token).await else { panic!("it was ready") };
    let refused = alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, ACTIVATED));
    assert_eq!(alice.balance().await, "12.00");
    let known = control.query("SELECT round(extract(epoch FROM activated_at) * 1000) FROM access_tokens").await;
    assert_eq!(known, activated_at_ms.to_string());
    eventually!(control.is_live(&token.digest()).await, |live| *live);
}

#[tokio::test]
async fn a_token_that_postgres_knows_to_be_used_is_not_refunded() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.tell(&Usage::Activated { token_id: token.id, at_ms: 1_900_000_000_000 }).await;
    eventually!(control.query("SELECT count(activated_at) FROM access_tokens").await, |known| known == "1");
    let refused = alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, ACTIVATED));
}

#[tokio::test]
async fn without_redis_nothing_is_refunded_and_the_token_works_once_it_is_back() {
    let mut control = Control::start_with([("DEBUG", "true"), ("REFUND_HOLD_SECONDS", "1")]).await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.redis.kill().await;
    let refused = alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    refused.problem();
    assert_eq!(control.query("SELECT count(*) FROM access_tokens WHERE refund_requested_at IS NOT NULL").await, "0");
    assert_eq!(alice.balance().await, "12.00");
    control.redis.start_again().await.expect("redis");
    eventually!(control.is_live(&token.digest()).await, |live| *live);
    let refund =
        eventually!(alice.delete(&format!("/tokens/{}", token.id)).answer().await, |answer| answer.status == 200);
    assert_eq!(refund.json()["new_balance"], "30.00");
}

#[tokio::test]
async fn a_refund_whose_process_died_is_finished_by_the_next() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let [unused, used] = [alice.buys(24).await, alice.buys(24).await];
    control.activate(&used).await;
    control.plane.kill().await;
    // Both stand as after the first step, when the process died.
    control.query("UPDATE access_tokens SET refund_requested_at = now(), version = version + 1").await;
    control.plane.start_again().await.expect("a control plane");
    eventually!(
        control.query("SELECT count(*) FROM access_tokens WHERE refund_requested_at IS NOT NULL").await,
        |standing| standing == "0"
    );
    assert_eq!(control.query("SELECT id FROM access_tokens WHERE revoked_at IS NOT NULL").await, unused.id.to_string());
    assert_eq!(control.query("SELECT id FROM access_tokens WHERE activated_at IS NOT NULL").await, used.id.to_string());
    assert_eq!(alice.balance().await, "82.00");
    eventually!(control.is_live(&used.digest()).await, |live| *live);
    assert!(!control.is_live(&unused.digest()).await);
}

#[tokio::test]
async fn a_token_that_is_being_used_for_the_first_time_is_not_refunded() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    assert!(matches!(control.takes(&token, "a-device").await, Lookup::Live(_)));
    let refund = async || alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    let refused = refund().await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "Token is being used"));
    assert_eq!(control.query("SELECT count(*) FROM access_tokens WHERE refund_requested_at IS NOT NULL").await, "0");
    eventually!(control.field(&token, "state").await, |state| state == "live");
    // The first request failed after all.
    control.redis.command(&["HDEL", &redis::token_key(token.id), &format!("claim:{CLAIM}")]).await.unwrap();
    assert_eq!(refund().await.expect(200)["new_balance"], "30.00");
}

#[tokio::test]
async fn nothing_is_refunded_while_an_activation_that_redis_lost_may_be_on_its_way() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.redis.flush().await.expect("a flush");
    eventually!(control.is_live(&token.digest()).await, |live| *live);
    let refund = async || alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    let refused = refund().await;
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    // As it is once the time is over.
    control.redis.command(&["HINCRBY", redis::SNAPSHOT, redis::SNAPSHOT_BUILT_AT, "-30000"]).await.unwrap();
    assert_eq!(refund().await.expect(200)["new_balance"], "30.00");
}

#[tokio::test]
async fn nothing_is_refunded_while_what_the_edges_told_waits_to_be_read() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.query("ALTER TABLE credentials RENAME COLUMN redeemed_at TO away").await;
    let told = Usage::Redeemed { digest: token.digest() }.encode();
    // Told a minute ago by Redis' clock, and not taken in since.
    let script =
        "local id = (redis.call('TIME')[1] - 60) * 1000 return redis.call('XADD', KEYS[1], id, ARGV[1], ARGV[2])";
    control.redis.command(&["EVAL", script, "1", redis::USAGE, events::FIELD, &told]).await.unwrap();
    let refund = async || alice.delete(&format!("/tokens/{}", token.id)).answer().await;
    assert_eq!(refund().await.status, 503);
    control.query("ALTER TABLE credentials RENAME COLUMN away TO redeemed_at").await;
    let refunded = eventually!(refund().await, |answer| answer.status == 200);
    assert_eq!(refunded.json()["new_balance"], "30.00");
}

#[tokio::test]
async fn a_flush_does_not_lift_the_bar_of_a_refund_that_stands() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.plane.kill().await;
    control
        .query("UPDATE access_tokens SET refund_requested_at = now() + interval '1 hour', version = version + 1")
        .await;
    control.redis.flush().await.expect("a flush");
    control.plane.start_again().await.expect("a control plane");
    eventually!(control.field(&token, "state").await, |state| state == "barred");
}
