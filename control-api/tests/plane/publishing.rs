//! What Redis is told, and when.

use serde_json::json;
use shared::redis::{
    self,
    calls::{Credential, Lifetime, PutCredentials},
    events::Usage,
    replies::{Activation, Lookup},
};
use testbed::people::Token;
use testbed::{clients::http::Ask, eventually};

use crate::harness::Control;

#[tokio::test]
async fn a_purchase_is_in_redis_when_it_answers() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    for hours in [1, 12, 24] {
        let before = control.changes().await;
        let token = alice.buys(hours).await;
        let Lookup::Live(grant) = control.lookup(&token.digest()).await else { panic!("the token works") };
        assert_eq!((grant.token_id, grant.user_id.to_string()), (token.id, alice.id.clone()));
        assert_eq!((grant.scope.as_str(), grant.activated_at_ms), ("full", None));
        assert_eq!(grant.left.as_secs(), u64::from(hours) * 3600);
        assert!(control.changes().await > before);
        let credential = redis::credential_key(&token.digest());
        for key in [redis::token_key(token.id), credential] {
            assert_eq!(control.redis.command(&["TTL", &key]).await.unwrap(), "-1", "a ready token waits for ever");
        }
    }
}

#[tokio::test]
async fn every_change_is_announced_to_the_edges() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let of_alice = |action: &str| format!("/tokens/{}/{action}", token.id);
    let changes = [
        alice.post(&of_alice("rotate")),
        alice.post(&of_alice("extend")).json(&json!({ "duration_hours": 1 })),
        alice.post(&of_alice("open")),
        admin.delete(&format!("/admin/tokens/{}", token.id)),
    ];
    for change in changes {
        let before = control.changes().await;
        change.answer().await.expect(200);
        assert!(control.changes().await > before);
        let newest = control.redis.command(&["XREVRANGE", redis::CHANGES, "+", "-", "COUNT", "1"]).await.unwrap();
        assert!(newest.ends_with(&format!("{}\n{}", redis::CHANGES_FIELD, token.id)), "{newest}");
    }
}

#[tokio::test]
async fn an_activation_is_kept_at_its_earliest_and_ends_the_keys_a_day_after_the_token() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    let at_ms = 1_900_000_000_000;
    let known =
        async || control.query("SELECT round(extract(epoch FROM activated_at) * 1000) FROM access_tokens").await;
    control.tell(&Usage::Activated { token_id: token.id, at_ms: at_ms + 5_000 }).await;
    eventually!(known().await, |known| *known == (at_ms + 5_000).to_string());
    control.tell(&Usage::Activated { token_id: token.id, at_ms }).await;
    control.tell(&Usage::Activated { token_id: token.id, at_ms: at_ms + 9_000 }).await;
    eventually!(known().await, |known| *known == at_ms.to_string());
    let ends = (at_ms + 24 * 3_600_000 + redis::TOMBSTONE_MS).to_string();
    let key_ends = async |key: String| control.redis.command(&["PEXPIRETIME", &key]).await.unwrap();
    eventually!(key_ends(redis::token_key(token.id)).await, |time| *time == ends);
    // A credential may stand longer than the token that it names, and never shorter.
    assert!(key_ends(redis::credential_key(&token.digest())).await >= ends);
    let mine = alice.get("/tokens/my-tokens").answer().await.expect(200);
    assert_eq!(mine[0]["state"], "active");
    assert_eq!(mine[0]["expires_at"], "2030-03-18T17:46:40.000000Z");
}

#[tokio::test]
async fn what_the_edges_told_is_forgotten_only_once_it_is_known() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    control.redis.command(&["XADD", redis::USAGE, "*", "event", "{malformed"]).await.unwrap();
    control.redis.command(&["XADD", redis::USAGE, "*", "event", r#"{"kind":"of_tomorrow"}"#]).await.unwrap();
    control.redis.command(&["XADD", redis::USAGE, "*", "other", "field"]).await.unwrap();
    control.tell(&Usage::Activated { token_id: token.id, at_ms: i64::MAX }).await;
    control.tell(&Usage::Activated { token_id: uuid::Uuid::nil(), at_ms: 5 }).await;
    control.tell(&Usage::Activated { token_id: token.id, at_ms: 1_900_000_000_000 }).await;
    eventually!(control.redis.command(&["XLEN", redis::USAGE]).await.unwrap(), |left| left == "0");
    assert_eq!(control.query("SELECT count(activated_at) FROM access_tokens").await, "1");
}

#[tokio::test]
async fn a_token_whose_hours_are_short_is_over_soon() {
    let control = Control::start_with([("DEBUG", "true"), ("TOKEN_HOUR_SECONDS", "2")]).await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(1).await;
    let Activation::Active { left, .. } = control.activate(&token).await else { panic!("it was ready") };
    assert_eq!(left.as_secs(), 2);
    eventually!(control.lookup(&token.digest()).await, |found| *found == Lookup::Expired);
    let path = format!("/tokens/{}/extend", token.id);
    let extend = alice.post(&path).json(&json!({ "duration_hours": 24 })).answer().await;
    assert!([200, 400].contains(&extend.status), "{}", extend.status);
    let mine = alice.get("/tokens/my-tokens?active_only=false").answer().await.expect(200);
    assert_eq!(mine[0]["duration_hours"].as_i64().map(|hours| hours % 24), Some(1), "the ledger counts hours");
}

#[tokio::test]
async fn a_credential_that_was_ended_stays_so_whatever_is_written_late() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    alice.post(&format!("/tokens/{}/rotate", token.id)).answer().await.expect(200);
    let key = redis::credential_key(&token.digest());
    assert_eq!(control.redis.command(&["GET", &key]).await.unwrap(), redis::credential_value(token.id, 0));
    let digest = &token.digest();
    let late = Credential { digest, token_id: token.id, generation: 1, lasts: Lifetime::WhileReady };
    assert_eq!(control.run(&PutCredentials { credentials: &[late] }).await, ["0"]);
    assert_eq!(control.lookup(&token.digest()).await, Lookup::Revoked);
}

#[tokio::test]
async fn a_late_write_does_not_shorten_how_long_a_credential_stands() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    let key = redis::credential_key(&token.digest());
    let (sooner, later) = (4_000_000_000_000, 5_000_000_000_000);
    for (ends, stands) in [(later, later), (sooner, later)] {
        let lasts = Lifetime::PastEnd(ends);
        let put = Credential { digest: &token.digest(), token_id: token.id, generation: 1, lasts };
        control.run(&PutCredentials { credentials: &[put] }).await;
        let stands = (stands + redis::TOMBSTONE_MS).to_string();
        assert_eq!(control.redis.command(&["PEXPIRETIME", &key]).await.unwrap(), stands);
    }
}

#[tokio::test]
async fn what_postgres_did_not_take_is_told_to_it_again_at_once() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    control.query("ALTER TABLE access_tokens RENAME TO away").await;
    control.tell(&Usage::Activated { token_id: token.id, at_ms: 1_900_000_000_000 }).await;
    let failed = || control.folder.path().join("control-api.log");
    eventually!(std::fs::read_to_string(failed()).unwrap_or_default(), |log| log.contains("cannot be read; retrying"));
    control.query("ALTER TABLE away RENAME TO access_tokens").await;
    eventually!(control.query("SELECT count(activated_at) FROM access_tokens").await, |known| known == "1");
    eventually!(control.redis.command(&["XLEN", redis::USAGE]).await.unwrap(), |left| left == "0");
}

#[tokio::test]
async fn what_a_dead_replica_had_begun_to_read_is_read_by_another() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    control.redis.command(&["XGROUP", "DESTROY", redis::USAGE, redis::USAGE_GROUP]).await.unwrap();
    control.redis.command(&["XGROUP", "CREATE", redis::USAGE, redis::USAGE_GROUP, "0", "MKSTREAM"]).await.unwrap();
    let told = Usage::Activated { token_id: token.id, at_ms: 1_900_000_000_000 }.encode();
    // In one step: the entry comes, and the dead consumer has had it for a minute.
    let script = "local id = redis.call('XADD', KEYS[1], '*', 'event', ARGV[2]) \
        redis.call('XREADGROUP', 'GROUP', ARGV[1], 'dead', 'STREAMS', KEYS[1], '>') \
        redis.call('XCLAIM', KEYS[1], ARGV[1], 'dead', '0', id, 'IDLE', '60000', 'JUSTID')";
    control.redis.command(&["EVAL", script, "1", redis::USAGE, redis::USAGE_GROUP, &told]).await.unwrap();
    eventually!(control.query("SELECT count(activated_at) FROM access_tokens").await, |known| known == "1");
}

#[tokio::test]
async fn two_relays_never_leave_an_older_state() {
    let control = Control::start().await;
    let replica = control.replica().await;
    let alice = control.user("alice").with_credits("100000").await;
    let tokens: [Token; 4] = [alice.buys(1).await, alice.buys(1).await, alice.buys(1).await, alice.buys(1).await];
    let extend = |turn: usize, token: &Token| {
        let origin = if turn.is_multiple_of(2) { control.plane.url() } else { replica.url() };
        let request =
            control.api.client().post(format!("{origin}/api/v1/tokens/{}/extend", token.id)).bearer_auth(&alice.jwt);
        request.json(&json!({ "duration_hours": 1 })).answer()
    };
    let work = tokens.iter().flat_map(|token| (0..25).map(move |turn| (turn, token)));
    let answers = futures_util::future::join_all(work.map(|(turn, token)| extend(turn, token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    eventually!(control.query("SELECT count(*) FROM outbox").await, |left| left == "0");
    for token in &tokens {
        assert_eq!(control.field(token, "version").await, "26");
        assert_eq!(control.field(token, "duration_ms").await, (26 * 3_600_000).to_string());
    }
}

#[tokio::test]
async fn a_browser_that_does_not_come_for_its_credential_loses_it() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let token = alice.buys(24).await;
    let path = format!("/tokens/{}/open", token.id);
    for _ in 0..2 {
        alice.post(&path).answer().await.expect(200);
    }
    let digests = control.query("SELECT encode(digest, 'hex') FROM credentials WHERE kind = 'browser'").await;
    let digests: Vec<shared::token::credential::Digest> = digests.lines().map(|line| line.parse().unwrap()).collect();
    control.tell(&Usage::Redeemed { digest: digests[0] }).await;
    eventually!(control.query("SELECT count(redeemed_at) FROM credentials").await, |taken| taken == "1");
    control.query("UPDATE credentials SET created_at = created_at - interval '2 minutes'").await;
    eventually!(control.is_live(&digests[1]).await, |live| !live);
    assert!(control.is_live(&digests[0]).await);
    assert!(control.is_live(&token.digest()).await);
}
