//! Redis or Postgres away, and back.

use std::time::{Duration, Instant};
use testbed::people::Token;

use serde_json::{Value, json};
use shared::redis::{self, replies::Activation};
use testbed::{clients::http::Ask, eventually};

use crate::harness::Control;

/// The fields of the snapshot that an edge reads.
async fn snapshot(control: &Control) -> Vec<String> {
    let fields = [redis::SNAPSHOT_EPOCH, redis::SNAPSHOT_RUN_ID, redis::SNAPSHOT_CAUGHT_UP_AT];
    let reply = control.redis.command(&["HMGET", redis::SNAPSHOT, fields[0], fields[1], fields[2]]).await;
    reply.unwrap_or_default().split('\n').map(str::to_owned).collect()
}

async fn run_id(control: &Control) -> String {
    let text = control.redis.command(&["INFO", "server"]).await.expect("a reply");
    text.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run id").trim().to_owned()
}

#[tokio::test]
async fn without_redis_a_purchase_succeeds_and_works_once_redis_is_back() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    control.redis.kill().await;
    let started = Instant::now();
    let bought = alice.purchases(24).await.expect(201);
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let token = Token::of(&bought);
    control.redis.start_again().await.expect("redis");
    eventually!(control.is_live(&token.digest()).await, |live| *live);
    eventually!(control.query("SELECT count(*) FROM outbox").await, |left| left == "0");
}

#[tokio::test]
async fn a_redis_that_hangs_holds_no_purchase_up() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    control.redis.pause();
    let started = Instant::now();
    let token = Token::of(&alice.purchases(24).await.expect(201));
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    control.redis.resume();
    eventually!(control.is_live(&token.digest()).await, |live| *live);
}

#[tokio::test]
async fn a_revocation_that_redis_has_not_taken_says_that_it_is_pending() {
    let mut control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    control.redis.kill().await;
    let path = format!("/admin/tokens/{}", token.id);
    let revoked = admin.delete(&path).answer().await.expect(200);
    assert_eq!((&revoked["revoked"], &revoked["pending"]), (&json!(true), &json!(true)));
    control.redis.start_again().await.expect("redis");
    eventually!(control.field(&token, "state").await, |state| state == "revoked");
    assert_eq!(admin.delete(&path).answer().await.expect(200).get("pending"), None::<&Value>);
}

#[tokio::test]
async fn a_handover_that_redis_cannot_keep_is_refused() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    control.redis.kill().await;
    let refused = alice.post(&format!("/tokens/{}/open", token.id)).answer().await;
    assert_eq!(refused.status, 503);
    refused.problem();
}

#[tokio::test]
async fn the_snapshot_names_the_server_and_is_fresh() {
    let control = Control::start().await;
    let run_id = run_id(&control).await;
    let first = eventually!(snapshot(&control).await, |fields| fields.len() == 3 && !fields[2].is_empty());
    assert_eq!((first[0].as_str(), &first[1]), ("1", &run_id));
    eventually!(snapshot(&control).await, |fields| fields[2] > first[2]);
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_filled_again() {
    let mut control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let [kept, revoked] = [alice.buys(24).await, alice.buys(24).await];
    admin.delete(&format!("/admin/tokens/{}", revoked.id)).answer().await.expect(200);

    control.redis.flush().await.expect("a flush");
    eventually!(control.is_live(&kept.digest()).await, |live| *live);
    eventually!(control.field(&revoked, "state").await, |state| state == "revoked");

    control.redis.start_empty().await.expect("redis");
    eventually!(control.is_live(&kept.digest()).await, |live| *live);
    let run_id = run_id(&control).await;
    eventually!(snapshot(&control).await, |fields| fields.get(1) == Some(&run_id));
}

#[tokio::test]
async fn a_dump_from_before_a_revocation_does_not_bring_the_token_back() {
    let mut control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let dump = control.redis.dump().await.expect("a dump");
    admin.delete(&format!("/admin/tokens/{}", token.id)).answer().await.expect(200);
    control.redis.start_from(&dump).await.expect("redis");
    let run_id = run_id(&control).await;
    eventually!(snapshot(&control).await, |fields| fields.get(1) == Some(&run_id));
    assert_eq!(control.field(&token, "state").await, "revoked");
}

#[tokio::test]
async fn what_restored_postgres_says_replaces_newer_versions_once_the_epoch_is_bumped() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    control.redis.command(&["HSET", &redis::token_key(token.id), "version", "900", "state", "revoked"]).await.unwrap();
    let ended = redis::credential_value(token.id, redis::ENDED_GENERATION);
    control.redis.command(&["SET", &redis::credential_key(&token.digest()), &ended]).await.unwrap();
    control.query("UPDATE settings SET epoch = epoch + 1").await;
    eventually!(control.is_live(&token.digest()).await, |live| *live);
    eventually!(snapshot(&control).await, |fields| fields[0] == "2");
}

#[tokio::test]
async fn what_postgres_does_not_have_is_removed_from_redis_at_a_rebuild_and_at_the_start() {
    let mut control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let [kept, ghost, long_over] = [alice.buys(24).await, alice.buys(24).await, alice.buys(1).await];
    // As after a restore of Postgres from a backup; and a key that lost its end.
    let unsold = format!("SET session_replication_role = replica; DELETE FROM access_tokens WHERE id = '{}'", ghost.id);
    control.query(&unsold).await;
    control
        .query(&format!(
            "UPDATE access_tokens SET activated_at = now() - interval '9 days' WHERE id = '{}'",
            long_over.id
        ))
        .await;
    let before = control.changes().await;
    control.query("UPDATE settings SET epoch = epoch + 1").await;
    for gone in [&ghost, &long_over] {
        for key in [redis::token_key(gone.id), redis::credential_key(&gone.digest())] {
            eventually!(control.redis.command(&["EXISTS", &key]).await.unwrap(), |stands| stands == "0");
        }
    }
    assert!(control.changes().await >= before + 2, "the edges are told of each");
    eventually!(control.is_live(&kept.digest()).await, |live| *live);

    control.redis.command(&["HSET", &redis::token_key(ghost.id), "state", "live"]).await.unwrap();
    control.plane.stop().await.expect("a stop");
    control.plane.start_again().await.expect("a control plane");
    let key = redis::token_key(ghost.id);
    eventually!(control.redis.command(&["EXISTS", &key]).await.unwrap(), |stands| stands == "0");
    eventually!(control.is_live(&kept.digest()).await, |live| *live);
}

#[tokio::test]
async fn an_activation_that_only_redis_knows_is_recorded_when_the_token_is_published() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    let Activation::Active { activated_at_ms, .. } = control.activate(&token).await else { panic!("it was ready") };
    let extend = alice.post(&format!("/tokens/{}/extend", token.id)).json(&json!({ "duration_hours": 1 }));
    extend.answer().await.expect(200);
    let known = "SELECT round(extract(epoch FROM activated_at) * 1000) FROM access_tokens";
    eventually!(control.query(known).await, |known| *known == activated_at_ms.to_string());
}

#[tokio::test]
async fn a_rebuild_over_remains_fills_gaps_keeps_newer_and_learns_what_redis_alone_knows() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let [used, lost, newer, ready] =
        [alice.buys(24).await, alice.buys(24).await, alice.buys(24).await, alice.buys(24).await];
    let Activation::Active { activated_at_ms, .. } = control.activate(&used).await else { panic!("it was ready") };
    control.redis.command(&["HSET", &redis::token_key(newer.id), "version", "900", "state", "revoked"]).await.unwrap();
    let key = redis::credential_key(&lost.digest());
    control.redis.command(&["DEL", &redis::token_key(lost.id), &key, redis::SNAPSHOT]).await.unwrap();
    let known = "SELECT id || ' ' || round(extract(epoch FROM activated_at) * 1000) FROM access_tokens
        WHERE activated_at IS NOT NULL";
    let learned = format!("{} {activated_at_ms}", used.id);
    eventually!(control.query(known).await, |known| *known == learned);
    let run_id = run_id(&control).await;
    eventually!(snapshot(&control).await, |fields| fields.get(1) == Some(&run_id));
    assert!(control.is_live(&lost.digest()).await && control.is_live(&ready.digest()).await);
    assert_eq!(control.field(&newer, "state").await, "revoked");
    assert_eq!(control.field(&used, "activated_at").await, activated_at_ms.to_string());
}

#[tokio::test]
async fn a_flush_in_the_middle_of_a_rebuild_makes_it_begin_again() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100000").await;
    let token = alice.buys(24).await;
    control
        .query(&format!(
            "INSERT INTO access_tokens (id, user_id, token_prefix, scope, duration_hours, cost)
            SELECT gen_random_uuid(), '{}', 'prefix', 'full', 24, 0 FROM generate_series(1, 6000)",
            alice.id
        ))
        .await;
    control.redis.flush().await.expect("a flush");
    for _ in 0..3 {
        let keys = async || control.redis.command(&["DBSIZE"]).await.unwrap().parse::<u64>().unwrap();
        eventually!(keys().await, |keys| *keys > 1_000);
        control.redis.flush().await.expect("a flush");
    }
    let run_id = run_id(&control).await;
    eventually!(snapshot(&control).await, |fields| fields.get(1) == Some(&run_id));
    let tokens = "return #redis.call('KEYS', ARGV[1])";
    let all = control.redis.command(&["EVAL", tokens, "0", redis::TOKEN_KEYS]).await.unwrap();
    assert_eq!(all, "6001", "Redis is not whole while a token is missing");
    assert!(control.is_live(&token.digest()).await);
    assert!(control.changes().await < 6_000, "a rebuild announces itself, not every token");
}

#[tokio::test]
async fn caught_up_stands_still_while_a_change_cannot_be_published() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    // A key of another type makes every put of this token fail.
    control.redis.command(&["SET", &redis::token_key(token.id), "not a hash"]).await.unwrap();
    alice.post(&format!("/tokens/{}/rotate", token.id)).answer().await.expect(200);
    eventually!(
        control.query("SELECT count(*) FROM outbox WHERE created_at < now() - interval '3 seconds'").await,
        |old| old == "1"
    );
    let other = alice.buys(1).await;
    assert!(control.is_live(&other.digest()).await, "one that cannot be published holds no other up");
    let caught_up: i64 = snapshot(&control).await[2].parse().unwrap();
    let now: i64 = control.redis.command(&["TIME"]).await.unwrap().lines().next().unwrap().parse().unwrap();
    assert!(now * 1_000 - caught_up > 500, "{now} {caught_up}");
    control.redis.command(&["DEL", &redis::token_key(token.id)]).await.unwrap();
    eventually!(control.query("SELECT count(*) FROM outbox").await, |left| left == "0");
    eventually!(snapshot(&control).await[2].parse::<i64>().unwrap(), |time| *time > caught_up);
}

#[tokio::test]
async fn an_old_replica_serves_on_while_a_newer_schema_is_rolled_out() {
    let control = Control::start().await;
    control.query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m999999_of_tomorrow', 0)").await;
    let readyz = control.api.client().get(format!("{}/readyz", control.plane.ops_url())).answer().await;
    assert_eq!(readyz.expect(200)["reasons"], json!([]));
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let mut control = Control::start().await;
    let readyz = format!("{}/readyz", control.plane.ops_url());
    let ready = control.api.client().get(&readyz).answer().await.expect(200);
    assert_eq!(ready, json!({ "ready": true, "reasons": [] }));
    control.redis.kill().await;
    let not_ready = control.api.client().get(&readyz).answer().await.expect(503);
    assert_eq!(not_ready["reasons"], json!(["redis does not answer"]));
    control.redis.start_again().await.expect("redis");
    eventually!(control.api.client().get(&readyz).answer().await.status, |status| *status == 200);
    control.redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let evicting = control.api.client().get(&readyz).answer().await.expect(503);
    assert_eq!(evicting["reasons"], json!(["redis may evict keys: maxmemory-policy is allkeys-lru"]));
    let livez = control.api.client().get(format!("{}/livez", control.plane.ops_url())).answer().await;
    assert_eq!(livez.status, 200);
    control.api.client().get(control.url("/health")).answer().await.expect(200);
    let metrics = control.api.client().get(format!("{}/metrics", control.plane.ops_url())).answer().await.text();
    assert!(metrics.contains("control_outbox_rows") && metrics.contains("control_http_requests_total"), "{metrics}");
}
