//! What this edge has heard of the change feed, when last and of which tokens, and how long it goes
//! on without a word.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::sync::{Mutex, MutexGuard};

/// How many changes are noted; an answer that took longer than these is not kept.
const NOTED_CHANGES: usize = 4_096;
/// How often a lease is renewed in its life.
const RENEWALS_PER_LEASE: u32 = 5;

/// How long what is held can be trusted without a word from Redis, and how long a device holds a
/// token.
#[derive(Clone, Copy, Debug)]
pub struct StalenessPolicy {
    /// Without a word from the feed for so long, cached grants are asked for again.
    pub staleness: Duration,
    /// While Redis is down, grants that are held go on for so long.
    pub outage_grace: Duration,
    pub lease: Duration,
}

impl StalenessPolicy {
    /// How often leases are renewed.
    pub fn renews_every(&self) -> Duration {
        self.lease / RENEWALS_PER_LEASE
    }

    /// For how long after a question a lease is sure to be renewed before it lapses.
    pub fn leases_for(&self) -> Duration {
        self.lease - 2 * self.renews_every()
    }
}

/// The last changes that the feed told, so that an answer can be recognised as overtaken.
#[derive(Debug, Default)]
pub struct RecentChanges {
    pub told: u64,
    tokens: VecDeque<Uuid>,
}

impl RecentChanges {
    /// Notes a change of this token.
    pub fn note(&mut self, token_id: Uuid) {
        self.told += 1;
        if self.tokens.len() == NOTED_CHANGES {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token_id);
    }

    /// Whether the token changed since `told` changes had been told, as far as is noted; yes if
    /// that is not known.
    pub fn may_have_changed(&self, token_id: Uuid, told: u64) -> bool {
        let since = usize::try_from(self.told - told).unwrap_or(usize::MAX);
        since > self.tokens.len() || self.tokens.iter().rev().take(since).any(|&changed| changed == token_id)
    }
}

/// When the feed was last sound, and when this edge last (re)connected.
#[derive(Debug)]
pub struct FeedHealth {
    /// Milliseconds since `start`, plus one; `0` if never.
    heard_ms: AtomicU64,
    /// Redis' clock at the last connection.
    connected_at_ms: AtomicI64,
    /// By which build Redis held all that Postgres knows, when it was last asked; `None` if it did
    /// not.
    filled_by: Mutex<Option<Arc<str>>>,
    start: Instant,
}

impl Default for FeedHealth {
    /// Nothing heard yet.
    fn default() -> Self {
        Self {
            heard_ms: AtomicU64::new(0),
            connected_at_ms: AtomicI64::new(i64::MAX),
            filled_by: Mutex::default(),
            start: Instant::now(),
        }
    }
}

impl FeedHealth {
    /// Notes that the feed was heard just now, with or without a change.
    pub fn heard(&self) {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard_ms.store(now_ms + 1, Ordering::Release);
    }

    /// Notes a (re)connection: by Redis' clock, from when on "caught up" counts for this edge.
    pub fn connected(&self, redis_now_ms: i64) {
        self.connected_at_ms.store(redis_now_ms, Ordering::Release);
    }

    /// When this edge last (re)connected, by Redis' clock.
    pub fn connected_at_ms(&self) -> i64 {
        self.connected_at_ms.load(Ordering::Acquire)
    }

    /// Notes by which build Redis holds all that Postgres knows, if it does.
    pub fn filled(&self, build: Option<&str>) {
        let mut filled_by = self.lock_filled_by();
        if filled_by.as_deref() != build {
            *filled_by = build.map(Arc::from);
        }
    }

    /// By which build it did when it was last asked, if it did.
    pub fn filled_by(&self) -> Option<Arc<str>> {
        self.lock_filled_by().clone()
    }

    /// Whether it did when it was last asked.
    pub fn is_filled(&self) -> bool {
        self.lock_filled_by().is_some()
    }

    fn lock_filled_by(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.filled_by.lock()
    }

    /// How long the feed has been silent; `None` if it was never heard.
    pub fn silence(&self) -> Option<Duration> {
        let heard_ms = self.heard_ms.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(heard_ms)))
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
