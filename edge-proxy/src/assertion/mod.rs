//! What tells the upstream who asks, so that it need not take the network's word for it:
//! `X-Zenzefi-Assertion`, a JWT that this edge signs (RFC 7519, EdDSA). It is short-lived and names
//! the upstream, so one that leaks opens nothing else, and nothing for long.
//!
//! Private keys are drawn here and never leave the process. Public ones every edge tells every
//! other through Redis, and each serves all of them, so that the upstream may ask any.

mod key;
pub mod rotation;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use serde_json::{Value, json};
use shared::{redis::MOST_ASSERTION_KEYS, token::scope::Scope};
use uuid::Uuid;

use crate::{
    clock::Clock,
    redis::Redis,
    sync::{Mutex, MutexGuard},
};
pub use key::PublicKey;
use rotation::{Rotation, Spans};

/// How often edges tell each other their keys.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What is signed, and for how long it is good.
pub struct Settings {
    /// Who signs: the same on every edge.
    pub issuer: String,
    /// The upstream's origins. They are addresses of one server, so what is signed is good at each.
    pub audience: Vec<String>,
    pub lifetime: Duration,
    pub rotated_every: Duration,
    /// For how long an edge goes on without Redis.
    pub outage_grace: Duration,
}

/// What an assertion says. Times are seconds since 1970.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    /// The user's id.
    sub: Uuid,
    /// One text, or several in an array (RFC 7519 §4.1.3).
    aud: &'a Value,
    token_id: Uuid,
    scope: Scope,
    iat: i64,
    exp: i64,
}

/// Of whom an assertion tells the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub user_id: Uuid,
    pub token_id: Uuid,
    pub scope: Scope,
}

/// An assertion that goes with requests for a while.
#[derive(Clone, Debug)]
struct Assertion {
    header: HeaderValue,
    /// Until when another one need not be made.
    fresh_until: Instant,
    ends: Instant,
}

/// The assertion that was last made for a grant.
#[derive(Debug, Default)]
pub struct CachedAssertion(Mutex<Option<Assertion>>);

impl CachedAssertion {
    /// What was made, if it is still fresh and does not outlast the grant, which ends then; else
    /// what is made now.
    fn get_or_make(&self, now: Instant, grant_ends: Instant, make: impl FnOnce() -> Assertion) -> HeaderValue {
        let mut made = self.0.lock();
        let kept = made.take().filter(|made| now < made.fresh_until && made.ends <= grant_ends);
        made.insert(kept.unwrap_or_else(make)).header.clone()
    }
}

/// Makes assertions.
pub struct Assertions {
    issuer: String,
    audience: Value,
    spans: Spans,
    clock: Arc<Clock>,
    ring: Mutex<Rotation>,
    /// Every key as it is served.
    key_set: Mutex<Bytes>,
}

impl Assertions {
    /// With keys of its own; fails if none can be drawn.
    pub fn new(terms: Settings, clock: Arc<Clock>) -> Result<Self, Unspecified> {
        let Settings { issuer, audience, lifetime, rotated_every, outage_grace } = terms;
        let audience = match audience.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let spans = Spans { lifetime, rotated_every, outage_grace, told_every: TOLD_EVERY };
        let ring = Rotation::new(spans, Instant::now())?;
        let key_set = Mutex::new(document(&ring));
        Ok(Self { issuer, audience, spans, clock, ring: Mutex::new(ring), key_set })
    }

    /// The assertion for a request that was let through. Requests share one for half of its life;
    /// it ends with the token at the latest, but a token that is revoked it outlives.
    pub fn header(&self, subject: Subject, now: Instant, left: Duration, cached: &CachedAssertion) -> HeaderValue {
        cached.get_or_make(now, now + left, || self.make(subject, now, left))
    }

    fn make(&self, subject: Subject, now: Instant, left: Duration) -> Assertion {
        let lasts = self.spans.lifetime.min(left);
        let now_ms = self.clock.told_ms();
        let lasts_ms = i64::try_from(lasts.as_millis()).expect("it is no longer than an hour");
        let claims = Claims {
            iss: &self.issuer,
            sub: subject.user_id,
            aud: &self.audience,
            token_id: subject.token_id,
            scope: subject.scope,
            iat: now_ms.div_euclid(1_000),
            exp: (now_ms + lasts_ms).div_euclid(1_000),
        };
        let key = self.lock_ring().key();
        let mut header = HeaderValue::try_from(key.sign(&claims)).expect("base64 and dots are visible ASCII");
        header.set_sensitive(true);
        Assertion { header, fresh_until: now + lasts / 2, ends: now + lasts }
    }

    /// Every edge's public keys as a JWK set (RFC 7517).
    pub fn key_set(&self) -> Bytes {
        self.lock_key_set().clone()
    }

    /// How long a verifier may cache that.
    pub fn key_set_lasts(&self) -> Duration {
        self.spans.key_set_lasts()
    }

    /// Whether every edge serves the key that signs here.
    pub fn are_known(&self) -> bool {
        self.lock_ring().is_known(Instant::now())
    }

    /// Tells other edges this one's keys and hears theirs, and lets keys take turns. Never returns.
    pub async fn publish(&self, redis: &Redis) {
        redis.wait_until_connected().await;
        let mut are_told = true;
        loop {
            if self.lock_ring().turn(Instant::now()).is_err() {
                tracing::warn!("no key can be drawn: assertions are signed with the same one");
            }
            let asked = Instant::now();
            let telling = self.lock_ring().telling(asked);
            let told = redis.publish_keys(&texts(&telling)).await;
            if let (Err(error), true) = (&told, are_told) {
                tracing::warn!(%error, "cannot publish assertion keys to other edges; signing continues with the same keys");
            }
            are_told = told.is_ok();
            if let Ok(published) = told {
                self.lock_ring().told(asked, keys(published), Instant::now());
            }
            let document = document(&self.lock_ring());
            *self.lock_key_set() = document;
            tokio::time::sleep(TOLD_EVERY).await;
        }
    }

    fn lock_ring(&self) -> MutexGuard<'_, Rotation> {
        self.ring.lock()
    }

    fn lock_key_set(&self) -> MutexGuard<'_, Bytes> {
        self.key_set.lock()
    }
}

/// Keys as Redis keeps them.
fn texts(keys: &[(PublicKey, Duration)]) -> Vec<(String, Duration)> {
    keys.iter().map(|(key, lasts)| (key.to_string(), *lasts)).collect()
}

/// The keys that stand in Redis. What is no key is left out, as is what is more than
/// [`MOST_ASSERTION_KEYS`].
fn keys(published: Vec<(String, Duration)>) -> Vec<(PublicKey, Duration)> {
    let keys = published.iter().filter_map(|(text, lasts)| Some((text.parse().ok()?, *lasts)));
    keys.take(MOST_ASSERTION_KEYS).collect()
}

fn document(ring: &Rotation) -> Bytes {
    let keys: Vec<Value> = ring.keys().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_made_again_only_where_it_is_not_fresh_or_outlasts_what_it_is_for() {
        let (made, start, mut count) = (CachedAssertion::default(), Instant::now(), 0_u32);
        let mut after = |seconds: u64, grant_seconds: u64| {
            let at = |seconds| start + Duration::from_secs(seconds);
            let now = at(seconds);
            let header = made.get_or_make(now, at(grant_seconds), || {
                count += 1;
                let (fresh_until, ends) = (now + Duration::from_secs(30), now + Duration::from_secs(60));
                Assertion { header: count.into(), fresh_until, ends }
            });
            header.to_str().expect("a number").to_owned()
        };
        let asked = [(0, 3_600), (0, 60), (29, 3_600), (30, 3_600), (59, 3_600), (59, 90), (59, 89), (59, 3_600)];
        assert_eq!(asked.map(|(seconds, grant)| after(seconds, grant)), ["1", "1", "1", "2", "2", "2", "3", "3"]);
    }
}
