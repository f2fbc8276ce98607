//! What this edge knows of tokens: grants in process, in front of Redis. A hit costs no question; concurrent misses of one
//! credential ask once; what the change feed tells replaces what is known and reaches the requests that are open.
//!
//! The race that matters is a change that comes while the answer to a question is on its way. Every change is noted in
//! [`RecentChanges`] *before* the held grants are told, and every answer is indexed (see [`Held::new`]) *before* that note is read: so either the
//! question sees the change and is asked again, or the change finds the grant.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use shared::{
    credential::Digest,
    grant::{Activation, Lookup},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    held::{Ending, Held, Index},
    redis::Redis,
    telemetry::Metrics,
};

/// How long "there is no such token" is remembered.
const NEGATIVE_FOR: Duration = Duration::from_secs(1);
/// How many of those are remembered; the oldest give way.
const NEGATIVE_ENTRIES: usize = 10_000;
/// How often a question is asked again because its token changed meanwhile.
const MAX_ASKS: usize = 4;
/// How many tokens are asked for again at once.
const REFRESHED_AT_ONCE: usize = 1_000;
/// How many changes are noted; an answer that took longer than these is not kept.
const NOTED_CHANGES: usize = 4_096;

/// Why a credential opens nothing at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Unknown, revoked, suspended, rotated away or expired.
    Invalid,
    /// Redis cannot say.
    Unavailable,
}

/// The last changes that the feed told, so that an answer can be recognised as overtaken.
#[derive(Debug, Default)]
struct RecentChanges {
    told: u64,
    tokens: VecDeque<Uuid>,
}

impl RecentChanges {
    fn note(&mut self, token_id: Uuid) {
        self.told += 1;
        if self.tokens.len() == NOTED_CHANGES {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token_id);
    }

    /// Whether the token changed since `told` changes had been told, as far as is noted; yes if that is not known.
    fn may_have_changed(&self, token_id: Uuid, told: u64) -> bool {
        let since = usize::try_from(self.told - told).unwrap_or(usize::MAX);
        since > self.tokens.len() || self.tokens.iter().rev().take(since).any(|&changed| changed == token_id)
    }
}

/// When the feed was last heard, and when this edge last (re)connected.
#[derive(Debug)]
struct Hearing {
    /// Milliseconds since `Grants` was made, plus one; `0` if never.
    heard_ms: AtomicU64,
    /// Redis' clock at the last connection.
    connected_at_ms: AtomicI64,
    start: Instant,
}

/// How long what is held can be trusted without a word from Redis.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Without a word from the feed for so long, cached grants are asked for again.
    pub staleness: Duration,
    /// While Redis is down, grants that are held go on for so long.
    pub outage_grace: Duration,
}

type Outcome = Result<Arc<Held>, Unfit>;
type Flights = HashMap<Digest, Arc<OnceCell<Outcome>>>;

/// One caller's part in a question that is on its way.
struct Flight<'a> {
    grants: &'a Grants,
    digest: Digest,
    outcome: Arc<OnceCell<Outcome>>,
}

impl Drop for Flight<'_> {
    /// Ends the question once it is answered, so that the next caller asks anew, or once nobody waits for it any more.
    fn drop(&mut self) {
        let mut flights = self.grants.lock_flights();
        let stands = flights.get(&self.digest).is_some_and(|standing| Arc::ptr_eq(standing, &self.outcome));
        // One is ours, one the map's.
        let is_last = Arc::strong_count(&self.outcome) == 2;
        if stands && (is_last || self.outcome.initialized()) {
            flights.remove(&self.digest);
        }
    }
}

/// The grants of this edge.
pub struct Grants {
    redis: Redis,
    trust: Trust,
    held: Cache<Digest, Arc<Held>>,
    /// Credentials that open nothing, and until when that is believed.
    negatives: Cache<Digest, Instant>,
    flights: Mutex<Flights>,
    index: Arc<Index>,
    recent: Mutex<RecentChanges>,
    /// What Redis said before this instant may have been overtaken unheard.
    doubted: Mutex<Instant>,
    hearing: Hearing,
    metrics: Arc<Metrics>,
}

impl Grants {
    /// Nothing held yet; `entries` bounds how many grants are kept.
    pub fn new(redis: Redis, trust: Trust, entries: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            redis,
            trust,
            held: Cache::new(entries),
            negatives: Cache::new(NEGATIVE_ENTRIES),
            flights: Mutex::default(),
            index: Arc::default(),
            recent: Mutex::default(),
            doubted: Mutex::new(Instant::now()),
            hearing: Hearing {
                heard_ms: AtomicU64::new(0),
                connected_at_ms: AtomicI64::new(i64::MAX),
                start: Instant::now(),
            },
            metrics,
        }
    }

    /// Finds what a credential opens, here or in Redis.
    pub async fn find(&self, digest: Digest) -> Outcome {
        if self.silence().is_some_and(|silence| silence <= self.trust.staleness) {
            if let Some(held) = self.cached(&digest).filter(|held| !self.is_doubtful(held)) {
                self.metrics.grants.with_label_values(&["hit"]).inc();
                return Ok(held);
            }
            if self.negatives.get(&digest).is_some_and(|until| Instant::now() < until) {
                self.metrics.grants.with_label_values(&["negative"]).inc();
                return Err(Unfit::Invalid);
            }
        }
        self.metrics.grants.with_label_values(&["miss"]).inc();
        let outcome = self.ask_once(digest).await;
        match (&outcome, self.cached(&digest)) {
            (Err(Unfit::Unavailable), Some(held)) if self.is_within_grace(&held) => Ok(held),
            _ => outcome,
        }
    }

    /// Starts the clock of a token at its first answer. `Err(Invalid)` if it ended before that.
    pub async fn activate(&self, held: &Arc<Held>) -> Result<(), Unfit> {
        let asked = Instant::now();
        let activation = self.redis.activate(held.token_id, held.generation).await;
        match activation {
            Ok(Activation::Active { activated_at_ms, left, .. }) => {
                held.started(asked, activated_at_ms, left);
                Ok(())
            }
            Ok(Activation::Ended) => {
                self.held.remove(&held.digest);
                Err(Unfit::Invalid)
            }
            Err(error) => {
                tracing::warn!(token_id = %held.token_id, %error, "an activation could not be recorded");
                Err(Unfit::Unavailable)
            }
        }
    }

    /// Takes in what the feed told: what is held of these tokens is looked up again where a request is open on it, and
    /// forgotten where none is. Fails if Redis did not answer for each: then track is lost.
    pub async fn changed(&self, tokens: &[Uuid]) -> Result<(), fred::error::Error> {
        {
            let mut recent = self.lock_recent();
            tokens.iter().for_each(|&token_id| recent.note(token_id));
        }
        if !tokens.is_empty() {
            // What was unknown a moment ago may just have been bought.
            self.negatives.clear();
        }
        let held = tokens.iter().flat_map(|&token_id| self.index.of(token_id));
        let in_use = held.filter(|held| {
            self.held.remove(&held.digest);
            self.is_in_use(held)
        });
        self.look_again(in_use).await
    }

    /// Takes in that changes may have been missed: everything that is held is asked for again, at its next use or, where a
    /// request is open on it, at once. Until Redis can say, it goes on within the grace of an outage. Fails if Redis did not
    /// answer for each.
    pub async fn lost_track(&self) -> Result<(), fred::error::Error> {
        *self.doubted.lock().expect("nothing panics while it holds this lock") = Instant::now();
        self.negatives.clear();
        for tokens in self.index.tokens().chunks(REFRESHED_AT_ONCE) {
            let held = tokens.iter().flat_map(|&token_id| self.index.of(token_id));
            self.look_again(held.filter(|held| self.is_in_use(held))).await?;
        }
        Ok(())
    }

    /// Notes that the feed was heard just now, with or without a change.
    pub fn heard(&self) {
        let now_ms = u64::try_from(self.hearing.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.hearing.heard_ms.store(now_ms + 1, Ordering::Release);
    }

    /// Notes a (re)connection: by Redis' clock, from when on "caught up" counts for this edge.
    pub fn connected(&self, redis_now_ms: i64) {
        self.hearing.connected_at_ms.store(redis_now_ms, Ordering::Release);
    }

    /// How long the feed has been silent; `None` if it was never heard.
    pub fn silence(&self) -> Option<Duration> {
        let heard_ms = self.hearing.heard_ms.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.hearing.start.elapsed().saturating_sub(Duration::from_millis(heard_ms)))
    }

    /// Whether what is held may go on although Redis cannot say: for so long after the last word, or after the doubt began.
    fn is_within_grace(&self, held: &Held) -> bool {
        let grace = self.trust.outage_grace;
        let doubted_for = self.doubted.lock().expect("nothing panics while it holds this lock").elapsed();
        self.silence().is_some_and(|silence| silence <= grace) && (!self.is_doubtful(held) || doubted_for <= grace)
    }

    /// Whether a request is open on it: whether anybody holds it but the caller and the cache.
    fn is_in_use(&self, held: &Arc<Held>) -> bool {
        let is_cached = self.held.peek(&held.digest).is_some_and(|cached| Arc::ptr_eq(&cached, held));
        Arc::strong_count(held) > 1 + usize::from(is_cached)
    }

    /// Whether changes may have been missed since Redis was asked for it.
    fn is_doubtful(&self, held: &Held) -> bool {
        held.asked() < *self.doubted.lock().expect("nothing panics while it holds this lock")
    }

    fn cached(&self, digest: &Digest) -> Option<Arc<Held>> {
        self.held.get(digest).filter(|held| held.ending(Instant::now()).is_none())
    }

    /// Asks Redis, once for all who ask at the same time.
    async fn ask_once(&self, digest: Digest) -> Outcome {
        let flight =
            Flight { grants: self, digest, outcome: Arc::clone(self.lock_flights().entry(digest).or_default()) };
        flight.outcome.get_or_init(|| self.ask(digest)).await.clone()
    }

    fn lock_recent(&self) -> MutexGuard<'_, RecentChanges> {
        self.recent.lock().expect("nothing panics while it holds this lock")
    }

    fn lock_flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().expect("nothing panics while it holds this lock")
    }

    async fn ask(&self, digest: Digest) -> Outcome {
        for _ in 0..MAX_ASKS {
            let told = self.lock_recent().told;
            let outcome = match self.ask_redis(digest).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::warn!(%error, "Redis did not answer");
                    Err(Unfit::Unavailable)
                }
            };
            let Ok(held) = &outcome else {
                if outcome.as_ref().is_err_and(|&unfit| unfit == Unfit::Invalid) {
                    self.held.remove(&digest);
                    // A change that came meanwhile may have made it good.
                    if self.lock_recent().told == told {
                        self.negatives.insert(digest, Instant::now() + NEGATIVE_FOR);
                    }
                }
                return outcome;
            };
            let is_overtaken = self.lock_recent().may_have_changed(held.token_id, told);
            if !is_overtaken {
                // A ready token is asked for each time: only Redis knows whether another edge started its clock, or a refund
                // bars it.
                if held.activated_at_ms().is_some() {
                    self.held.insert(digest, Arc::clone(held));
                }
                return outcome;
            }
        }
        Err(Unfit::Unavailable)
    }

    async fn ask_redis(&self, digest: Digest) -> Result<Outcome, fred::error::Error> {
        let asked = Instant::now();
        let finding = self.redis.find(&digest).await?;
        if !finding.is_whole {
            return Ok(Err(Unfit::Unavailable));
        }
        let absent = || {
            let connected_at_ms = self.hearing.connected_at_ms.load(Ordering::Acquire);
            if finding.proves_absence(connected_at_ms) { Unfit::Invalid } else { Unfit::Unavailable }
        };
        let Some((token_id, generation)) = finding.names else { return Ok(Err(absent())) };
        Ok(match self.redis.look_up(token_id, generation).await? {
            Lookup::Live(grant) => Ok(Held::new(digest, generation, asked, &grant, &self.index)),
            Lookup::Revoked | Lookup::Suspended | Lookup::Expired => Err(Unfit::Invalid),
            Lookup::Unknown => Err(absent()),
        })
    }

    async fn look_again(&self, held: impl Iterator<Item = Arc<Held>>) -> Result<(), fred::error::Error> {
        let looks = held.map(|held| async move {
            let asked = Instant::now();
            match self.redis.look_up(held.token_id, held.generation).await? {
                Lookup::Live(grant) => held.renew(asked, &grant),
                Lookup::Revoked => held.end(Ending::Revoked),
                Lookup::Suspended => held.end(Ending::Suspended),
                Lookup::Expired => held.end(Ending::Expired),
                // Unknown is not invalid.
                Lookup::Unknown => {}
            }
            Ok(())
        });
        // Every one is looked at, whichever fails.
        futures_util::future::join_all(looks).await.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_overtaken_only_by_a_change_of_its_own_token() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut recent = RecentChanges::default();
        recent.note(mine);
        let told = recent.told;
        assert!(!recent.may_have_changed(mine, told));
        recent.note(other);
        assert!(!recent.may_have_changed(mine, told));
        recent.note(mine);
        assert!(recent.may_have_changed(mine, told));
    }

    #[test]
    fn an_answer_that_took_longer_than_the_notes_reach_counts_as_overtaken() {
        let mut recent = RecentChanges::default();
        (0..=NOTED_CHANGES).for_each(|_| recent.note(Uuid::nil()));
        assert!(recent.may_have_changed(Uuid::from_u128(1), 0));
        assert_eq!(recent.tokens.len(), NOTED_CHANGES);
    }
}
