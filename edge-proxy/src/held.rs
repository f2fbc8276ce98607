//! A grant as requests hold it: what one token opens, for how long, and the channel by which an end reaches everyone who
//! holds it. Whoever learns something of a token finds its grants in the [`Index`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use shared::{credential::Digest, grant::Grant, scope::Scope};
use tokio::sync::watch;
use uuid::Uuid;

/// Why a grant ends while requests hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Expired,
    Revoked,
    Suspended,
}

impl Ending {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

/// How long a grant lasts, as far as is known.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// When Redis was asked for it.
    asked: Instant,
    /// The monotonic instant at which its time is up.
    deadline: Instant,
    duration: Duration,
    activated_at_ms: Option<i64>,
    ending: Option<Ending>,
}

impl Term {
    fn of(asked: Instant, grant: &Grant) -> Self {
        Self {
            asked,
            deadline: asked + grant.left,
            duration: grant.duration,
            activated_at_ms: grant.activated_at_ms,
            ending: None,
        }
    }
}

/// A grant as requests hold it. It is the channel too: what ends it wakes everyone who waits in [`Held::ended`].
#[derive(Debug)]
pub struct Held {
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub scope: Scope,
    pub digest: Digest,
    pub generation: i64,
    term: watch::Sender<Term>,
    index: Arc<Index>,
}

impl Held {
    /// What Redis, `asked` then, said that a credential opens; found in `index` from here on.
    pub fn new(digest: Digest, generation: i64, asked: Instant, grant: &Grant, index: &Arc<Index>) -> Arc<Self> {
        let held = Arc::new(Self {
            token_id: grant.token_id,
            user_id: grant.user_id,
            scope: grant.scope,
            digest,
            generation,
            term: watch::Sender::new(Term::of(asked, grant)),
            index: Arc::clone(index),
        });
        index.add(&held);
        held
    }

    /// When Redis was asked for what is known of it.
    pub fn asked(&self) -> Instant {
        self.term.borrow().asked
    }

    /// What is left of it: the whole duration while it is ready.
    pub fn left(&self, now: Instant) -> Duration {
        let term = self.term.borrow();
        if term.activated_at_ms.is_none() { term.duration } else { term.deadline.saturating_duration_since(now) }
    }

    /// What was bought, in all.
    pub fn duration(&self) -> Duration {
        self.term.borrow().duration
    }

    /// When its clock started, in milliseconds of Redis' clock since 1970.
    pub fn activated_at_ms(&self) -> Option<i64> {
        self.term.borrow().activated_at_ms
    }

    /// When it ends, in milliseconds of Redis' clock since 1970; for showing.
    pub fn expires_at_ms(&self) -> Option<i64> {
        let term = self.term.borrow();
        Some(term.activated_at_ms? + i64::try_from(term.duration.as_millis()).ok()?)
    }

    /// Why it has ended, if it has.
    pub fn ending(&self, now: Instant) -> Option<Ending> {
        let term = self.term.borrow();
        term.ending.or((now >= term.deadline && term.activated_at_ms.is_some()).then_some(Ending::Expired))
    }

    /// Waits until it has ended, and says why. Safe to drop at any point.
    pub async fn ended(&self) -> Ending {
        let mut changes = self.term.subscribe();
        loop {
            let term = *changes.borrow_and_update();
            if let Some(ending) = self.ending(Instant::now()) {
                return ending;
            }
            // A ready token has no deadline yet.
            let deadline = term.activated_at_ms.map(|_| term.deadline);
            let expiry = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expiry => {}
                changed = changes.changed() => changed.expect("the sender lives as long as this grant"),
            }
        }
    }

    /// Ends it, for everyone who holds it; the first reason stays.
    pub fn end(&self, ending: Ending) {
        self.term.send_modify(|term| term.ending = term.ending.or(Some(ending)));
    }

    /// Takes in what Redis, `asked` then, says of it now.
    pub fn renew(&self, asked: Instant, grant: &Grant) {
        self.term.send_modify(|term| *term = Term { ending: term.ending, ..Term::of(asked, grant) });
    }

    /// Takes in that its clock runs: since when, and what was left when Redis was `asked`.
    pub fn started(&self, asked: Instant, activated_at_ms: i64, left: Duration) {
        self.term.send_modify(|term| {
            *term = Term { asked, deadline: asked + left, activated_at_ms: Some(activated_at_ms), ..*term };
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.index.forget(self.token_id);
    }
}

/// Every grant of this edge by its token, for the feed to find; those that only a request still holds, too.
#[derive(Debug, Default)]
pub struct Index(Mutex<HashMap<Uuid, Vec<Weak<Held>>>>);

impl Index {
    fn add(&self, held: &Arc<Held>) {
        self.lock().entry(held.token_id).or_default().push(Arc::downgrade(held));
    }

    /// The grants of a token.
    pub fn of(&self, token_id: Uuid) -> Vec<Arc<Held>> {
        self.lock().get(&token_id).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Every token that has a grant here.
    pub fn tokens(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    /// Called as a grant goes: drops what is gone.
    fn forget(&self, token_id: Uuid) {
        let mut by_token = self.lock();
        if let Some(held) = by_token.get_mut(&token_id) {
            held.retain(|held| held.strong_count() > 0);
            if held.is_empty() {
                by_token.remove(&token_id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<Weak<Held>>>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(index: &Arc<Index>) -> Arc<Held> {
        let hour = Duration::from_secs(3600);
        let grant = Grant {
            token_id: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            scope: Scope::Full,
            duration: hour,
            activated_at_ms: None,
            left: hour,
        };
        Held::new(Digest::of(b"a secret"), 1, Instant::now(), &grant, index)
    }

    #[tokio::test]
    async fn a_grant_ends_when_its_time_is_up_and_a_ready_one_has_all_of_it() {
        let held = ready(&Arc::default());
        assert_eq!(held.left(Instant::now() + Duration::from_secs(7200)), Duration::from_secs(3600));
        held.started(Instant::now(), 0, Duration::from_millis(20));
        assert_eq!(held.ending(Instant::now() + Duration::from_millis(20)), Some(Ending::Expired));
        held.end(Ending::Suspended);
        assert_eq!(held.ended().await, Ending::Suspended);
    }

    #[tokio::test]
    async fn an_end_reaches_whoever_waits_already() {
        let held = ready(&Arc::default());
        let waiting = held.ended();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        held.end(Ending::Revoked);
        held.end(Ending::Expired);
        assert_eq!(waiting.await, Ending::Revoked);
    }

    #[test]
    fn the_index_finds_a_grant_for_as_long_as_anybody_holds_it() {
        let index = Arc::<Index>::default();
        let (one, other) = (ready(&index), ready(&index));
        assert_eq!(index.of(one.token_id).len(), 2);
        drop(other);
        assert_eq!(index.of(one.token_id).len(), 1);
        drop(one);
        assert!(index.tokens().is_empty());
    }
}
