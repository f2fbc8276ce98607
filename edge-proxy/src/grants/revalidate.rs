//! What is held is asked for again: after a change, to keep its lease, and while Redis is away
//! until the grace of an outage is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::redis::{CLAIM_MS, feed::StreamId};
use uuid::Uuid;

use super::Grants;
use crate::{
    grants::{evaluate::Evaluation, live::LiveGrant},
    rejection::EndReason,
};

/// How many grants are asked for again at once.
const LOOKED_AT_ONCE: usize = 1_000;
/// How often it is looked whether what is held may go on.
const WATCHED_EVERY: Duration = Duration::from_millis(250);
/// How often the claims of open first requests are renewed: before a rebuild lets refunds go on
/// without them.
pub const CLAIMS_RENEWED_EVERY: Duration = Duration::from_millis(CLAIM_MS / 8);

impl Grants {
    /// Takes in what the feed told: what is held of these tokens is looked up again where a request
    /// is open on it or its lease is still to be renewed, and forgotten otherwise. `false` if Redis
    /// could not say of each: then track is lost.
    ///
    /// The feed entry of our own activation is skipped: its reply already updated the grant.
    /// Whatever else has become of the token has an entry of its own.
    pub async fn changed(&self, changes: &[(Uuid, StreamId)]) -> bool {
        {
            let mut recent = self.lock_recent();
            changes.iter().for_each(|&(token_id, _)| recent.note(token_id));
        }
        if !changes.is_empty() {
            // What was unknown a moment ago may just have been bought.
            self.negatives.clear();
        }
        let (mut wanted, mut unsaid) = (Vec::new(), Vec::new());
        for &(token_id, change) in changes {
            for live in self.index.of(token_id) {
                let is_own_activation = live.is_own_activation(change);
                if is_own_activation == Some(true) {
                    live.forget_activation();
                    continue;
                }
                // What is in use stays, for while Redis cannot say it goes on.
                let mark = live.mark_stale();
                if !live.uses.is_wanted() {
                    self.live.remove(&live.key);
                } else if is_own_activation.is_none() {
                    unsaid.push((live, change, mark));
                } else {
                    wanted.push((live, Some(change.at_ms)));
                }
            }
        }
        // The feed may be quicker than the answer.
        let unsaid = unsaid.iter().map(|(live, change, mark)| async {
            let is_own_activation = live.is_own_activation_once_known(*change).await;
            if is_own_activation {
                live.unmark_stale(*mark);
                live.forget_activation();
            }
            is_own_activation || self.revalidate_one(live, Some(change.at_ms)).await
        });
        let (is_sure, are_said) = futures_util::join!(self.revalidate(wanted), join_all(unsaid));
        is_sure && are_said.into_iter().all(|is_sure| is_sure)
    }

    /// Takes in that changes may have been missed: everything that is held is asked for again, at
    /// its next use or, by [`Grants::revalidate_all`], at once. Until Redis can say, it goes on
    /// within the grace of an outage.
    pub fn invalidate_all(&self) {
        *self.stale_since.lock() = Instant::now();
        self.negatives.clear();
        // Another Redis has other ids.
        self.index.all().iter().for_each(|live| live.forget_activation());
    }

    /// Looks up again everything that a request is open on, and renews its lease and claim; `false`
    /// if Redis could not say of each.
    pub async fn revalidate_all(&self) -> bool {
        let in_use = self.index.all().into_iter().filter(|live| live.uses.is_open());
        self.revalidate(in_use.map(|live| (live, None)).collect()).await
    }

    /// Keeps leases and claims for as long as they are used, and ends what Redis has been away from
    /// for too long. Never returns.
    pub async fn watch(&self) {
        let (mut leases_renewed, mut claims_renewed, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(WATCHED_EVERY).await;
            let now = Instant::now();
            let is_sound = self.is_sound();
            if now - leases_renewed >= self.trust.renews_every() {
                leases_renewed = now;
                let used: Vec<_> = self.index.all().into_iter().filter(|live| live.uses.take_due()).collect();
                self.leases.set(i64::try_from(used.len()).unwrap_or(i64::MAX));
                if !self.revalidate(used.iter().map(|live| (Arc::clone(live), None)).collect()).await {
                    used.iter().for_each(|live| live.uses.renewal_failed());
                }
            } else if now - claims_renewed >= CLAIMS_RENEWED_EVERY {
                claims_renewed = now;
                let first =
                    self.index.all().into_iter().filter(|live| live.open_claim().is_some() && live.uses.is_open());
                self.revalidate(first.map(|live| (live, None)).collect()).await;
            } else if !is_sound && now - looked >= self.trust.staleness {
                looked = now;
                self.revalidate_all().await;
            }
            self.redis_trusted.set(i64::from(is_sound));
            if !is_sound {
                self.end_untrusted();
            }
        }
    }

    pub(super) fn end_untrusted(&self) {
        let untrusted = self.index.all().into_iter().filter(|live| live.uses.is_open() && !self.is_within_grace(live));
        untrusted.for_each(|live| {
            self.live.remove(&live.key);
            live.end(EndReason::RedisUnavailable, None);
        });
    }

    /// Asks again for these, and tells those who hold them; `false` as soon as Redis cannot say: it
    /// is not waited for again and again.
    pub(super) async fn revalidate(&self, live: Vec<(Arc<LiveGrant>, Option<u64>)>) -> bool {
        for some in live.chunks(LOOKED_AT_ONCE) {
            let looks = some.iter().map(|(live, announced_at_ms)| self.revalidate_one(live, *announced_at_ms));
            if !join_all(looks).await.into_iter().all(|is_sure| is_sure) {
                return false;
            }
        }
        true
    }

    pub(super) async fn revalidate_one(&self, live: &Arc<LiveGrant>, announced_at_ms: Option<u64>) -> bool {
        if live.uses.is_over() {
            return true;
        }
        let asked = Instant::now();
        let lookup = match live.renewal() {
            Some(renewal) => self.redis.renew(live.token_id, live.generation, renewal).await,
            None => self.redis.look(live.token_id, live.generation, "").await,
        };
        let Ok(lookup) = lookup else { return false };
        let ending = match Evaluation::of(lookup, Some(live)) {
            Evaluation::Live(grant) => {
                live.renew(asked, &grant, announced_at_ms);
                if grant.activated_at_ms.is_some() && !live.uses.is_over() {
                    self.keep(live);
                }
                return true;
            }
            Evaluation::Ended(ending) => ending,
            // Redis is whole: what it has never heard of is no more.
            Evaluation::Unknown => EndReason::Revoked,
            Evaluation::Refused(_) | Evaluation::Unsure => return false,
        };
        self.live.remove(&live.key);
        live.end(ending, announced_at_ms);
        true
    }
}
