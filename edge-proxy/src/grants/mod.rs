//! What this edge knows of tokens: grants in process, in front of Redis. A hit costs no question;
//! concurrent misses of one credential ask once; what the change feed tells replaces what is known
//! and reaches the requests that are open.
//!
//! The race that matters is a change that comes while the answer to a question is on its way. Every
//! change is noted in [`RecentChanges`] *before* the held grants are told, and every answer is
//! indexed (see [`LiveGrant::new`]) *before* that note is read: so either the question sees the
//! change and is asked again, or the change finds the grant. Expiry needs neither: a grant carries
//! its deadline.
//!
//! A grant is trusted without a question for as long as the feed is sound: heard of a moment ago,
//! of a Redis that is whole. After [`StalenessPolicy::staleness`] it is asked for again; where
//! Redis cannot say, it goes on for [`StalenessPolicy::outage_grace`] and then ends.

pub mod evaluate;
pub mod feed;
pub mod freshness;
pub mod index;
pub mod lease_use;
pub mod live;
mod lookup;
pub mod release;
pub mod revalidate;
pub mod single_flight;
pub mod state;

use std::{net::IpAddr, sync::Arc, time::Instant};

use prometheus::{IntCounter, IntGauge};
use quick_cache::sync::Cache;
use shared::{
    redis::replies::Activation,
    token::{credential::Digest, device::Device, scope::Scope},
};

use crate::{
    grants::{
        evaluate::{GrantError, Refusal},
        freshness::{FeedHealth, RecentChanges, StalenessPolicy},
        index::Index,
        live::{GrantKey, LiveGrant},
        release::OutcomeQueue,
        single_flight::{LookupResult, Query, SingleFlight},
    },
    redis::Redis,
    rejection::InvalidCredential,
    sync::{Mutex, MutexGuard},
    telemetry::metrics::Metrics,
};

/// How often a question is asked again because its token changed meanwhile.
const MAX_ASKS: usize = 4;
/// How a grant was found; see [`LookedUp`].
const HIT: &str = "hit";
const MISS: &str = "miss";
const NEGATIVE: &str = "negative";
/// How many credentials that open nothing are remembered; the oldest give way.
const NEGATIVE_ENTRIES: usize = 10_000;

/// How a grant was found, for the access line: `hit` if it was known, `miss` if Redis was asked,
/// `negative` if it was known that there is none. Of several credentials the last one that was
/// looked at counts.
#[derive(Debug, Default)]
pub struct LookedUp(Mutex<Option<&'static str>>);

impl LookedUp {
    pub fn outcome(&self) -> Option<&'static str> {
        *self.0.lock()
    }

    fn note(&self, outcome: &'static str) {
        *self.0.lock() = Some(outcome);
    }
}

/// The grants of this edge.
pub struct Grants {
    redis: Redis,
    trust: StalenessPolicy,
    live: Cache<GrantKey, Arc<LiveGrant>>,
    /// Credentials that open nothing, why, and until when that is believed.
    negatives: Cache<Digest, (InvalidCredential, Instant)>,
    flights: SingleFlight,
    index: Arc<Index<LiveGrant>>,
    recent: Mutex<RecentChanges>,
    outcome_queue: OutcomeQueue,
    /// What Redis said before this instant may have been overtaken unheard.
    stale_since: Mutex<Instant>,
    pub feed_health: FeedHealth,
    found: Found,
    leases: IntGauge,
    redis_trusted: IntGauge,
}

/// How often a grant was found which way.
struct Found {
    hits: IntCounter,
    misses: IntCounter,
    negatives: IntCounter,
}

impl Grants {
    /// Nothing held yet; `entries` bounds how many grants are kept.
    pub fn new(
        redis: Redis,
        trust: StalenessPolicy,
        entries: usize,
        outcome_queue: OutcomeQueue,
        metrics: &Metrics,
    ) -> Self {
        Self {
            redis,
            trust,
            live: Cache::new(entries),
            negatives: Cache::new(NEGATIVE_ENTRIES),
            flights: SingleFlight::default(),
            index: Arc::default(),
            recent: Mutex::default(),
            outcome_queue,
            stale_since: Mutex::new(Instant::now()),
            feed_health: FeedHealth::default(),
            found: Found {
                hits: metrics.grants.with_label_values(&[HIT]),
                misses: metrics.grants.with_label_values(&[MISS]),
                negatives: metrics.grants.with_label_values(&[NEGATIVE]),
            },
            leases: metrics.leases.clone(),
            redis_trusted: metrics.redis_trusted.clone(),
        }
    }

    /// Finds what a credential opens, without using it.
    pub async fn find(&self, digest: Digest, looked_up: &LookedUp) -> LookupResult {
        let key = GrantKey { digest, device: None };
        self.find_on(Query { key, scopes: Vec::new(), address: None }, looked_up).await
    }

    /// Admits a request of this device, from this address, whose path these scopes open. The grant
    /// that comes back counts one use more; see
    /// [`LeaseUse::leave`](crate::grants::lease_use::LeaseUse::leave).
    pub async fn admit(
        &self,
        digest: Digest,
        device: &Device,
        address: Option<IpAddr>,
        scopes: &[Scope],
        looked_up: &LookedUp,
    ) -> LookupResult {
        let key = GrantKey { digest, device: Some(device.clone()) };
        let question = Query { key, scopes: scopes.to_vec(), address };
        for _ in 0..MAX_ASKS {
            let began = Instant::now();
            let live = self.find_on(question.clone(), looked_up).await?;
            // Before its use begins, which keeps the lease.
            if !live.may_be_used_from(address) {
                return Err(GrantError::Refused(Refusal::NetworkNotAllowed));
            }
            if !scopes.contains(&live.scope) {
                return Err(GrantError::Refused(Refusal::Outside(live.scope)));
            }
            if !live.uses.enter() {
                self.forget(&live);
                continue;
            }
            // A change that came before the use began did not see it, and so did not look the token
            // up.
            if self.stale_since(&live).is_some_and(|stale_since| stale_since >= began) {
                Box::pin(self.revalidate_one(&live, None)).await;
            }
            return Ok(live);
        }
        Err(GrantError::Unavailable)
    }

    async fn find_on(&self, question: Query, looked_up: &LookedUp) -> LookupResult {
        let key = question.key.clone();
        let known = self.known(&key);
        let (how, count) = match &known {
            Some(Ok(_)) => (HIT, &self.found.hits),
            Some(Err(_)) => (NEGATIVE, &self.found.negatives),
            None => (MISS, &self.found.misses),
        };
        count.inc();
        looked_up.note(how);
        if let Some(known) = known {
            return known;
        }
        let outcome = self.ask_once(question).await;
        match (&outcome, self.cached(&key)) {
            (Err(GrantError::Unavailable), Some(live)) if self.is_within_grace(&live) => Ok(live),
            _ => outcome,
        }
    }

    /// Starts the clock of a token, now or at an earlier time of Redis' clock: at its first answer,
    /// or once its first request was left. `Err(Invalid(_))` if it ended before that.
    pub async fn activate(&self, live: &LiveGrant, used_at_ms: Option<i64>) -> Result<i64, GrantError> {
        let starting = live.begin_activation();
        let (device, session_id) = (live.key.device.as_ref(), live.lease.map(|lease| lease.session_id));
        match self.redis.activate(live.token_id, live.generation, device, session_id, used_at_ms).await {
            Ok(Activation::Active { activated_at_ms, left, change }) => {
                starting.started(activated_at_ms, left, change);
                Ok(activated_at_ms)
            }
            Ok(Activation::Ended) => Err(GrantError::Invalid(InvalidCredential::Revoked)),
            Ok(Activation::Unknown) => Err(GrantError::Unavailable),
            Err(error) => {
                tracing::warn!(token_id = %live.token_id, %error, "an activation could not be recorded");
                Err(GrantError::Unavailable)
            }
        }
    }

    /// Keeps a grant whose clock runs, while it is in use: any change since Redis was asked has
    /// found it.
    pub fn keep(&self, live: &Arc<LiveGrant>) {
        self.live.insert(live.key.clone(), Arc::clone(live));
    }

    /// Forgets a grant whose lease was released.
    pub fn forget(&self, live: &LiveGrant) {
        self.live.remove(&live.key);
    }

    /// Whether the feed was sound a moment ago, so that what is held can be used without a
    /// question.
    pub fn is_sound(&self) -> bool {
        self.feed_health.silence().is_some_and(|silence| silence <= self.trust.staleness)
    }

    /// Whether a grant may be used although Redis does not answer: within the grace after the last
    /// reply about it, or after the last sign of the feed unless it has been stale for longer.
    fn is_within_grace(&self, live: &LiveGrant) -> bool {
        let grace = self.trust.outage_grace.max(self.trust.staleness);
        let is_heard = self.feed_health.silence().is_some_and(|silence| silence <= grace);
        let is_recently_stale = self.stale_since(live).is_none_or(|stale_since| stale_since.elapsed() <= grace);
        live.asked().elapsed() <= grace || is_heard && is_recently_stale
    }

    /// Whether a held grant can be used without a question: nothing was missed since Redis was
    /// asked for it, and its lease stands.
    fn is_sure(&self, live: &LiveGrant) -> bool {
        let is_leased = live.lease.is_none() || live.asked().elapsed() <= self.trust.leases_for();
        is_leased && self.stale_since(live).is_none()
    }

    /// Since when what is known of it may be wrong: a change was told, or some may have been
    /// missed, since Redis was asked.
    fn stale_since(&self, live: &LiveGrant) -> Option<Instant> {
        let all = *self.stale_since.lock();
        live.stale_since().or((live.asked() < all).then_some(all))
    }

    fn cached(&self, key: &GrantKey) -> Option<Arc<LiveGrant>> {
        self.live.get(key).filter(|live| live.ending(Instant::now()).is_none())
    }

    /// What can be said without asking Redis.
    fn known(&self, key: &GrantKey) -> Option<LookupResult> {
        if !self.is_sound() {
            return None;
        }
        if let Some(live) = self.cached(key).filter(|live| self.is_sure(live)) {
            return Some(Ok(live));
        }
        let negative = self.negatives.get(&key.digest).filter(|&(_, until)| Instant::now() < until);
        negative.map(|(bad, _)| Err(GrantError::Invalid(bad)))
    }

    fn lock_recent(&self) -> MutexGuard<'_, RecentChanges> {
        self.recent.lock()
    }
}
