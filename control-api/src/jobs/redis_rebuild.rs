//! Keeps Redis whole: notices a server that was flushed, restarted, failed over or restored, and
//! fills it again. Edges call a credential invalid only while the snapshot says that Redis holds
//! all that Postgres knows.

use std::{collections::HashSet, future::Future, time::Duration};

use futures_util::future::{try_join, try_join_all};
use shared::{redis, token::credential::Digest};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::TokenHour,
    db::{self, access_token, credential, outbox, settings},
    jobs::ROUND_WITHIN,
    publish::{
        batch::{Batch, TOMBSTONE},
        learn,
        put::LearnedActivation,
    },
    redis::{PublishError, Publisher},
    telemetry::Metrics,
};

/// Names the advisory lock of the one replica that watches: the letters `snapshot` as bytes.
const LOCK: i64 = 0x736e_6170_7368_6f74;
/// The same for the one that looks for orphans: the letters `ghosts`, as earlier versions take it.
const ORPHANS_LOCK: i64 = 0x6768_6f73_7473;
const CHECK_EVERY: Duration = Duration::from_millis(500);
const ORPHANS_EVERY: Duration = Duration::from_secs(3_600);
/// After a look for orphans that failed, as at the start while Redis is away.
const ORPHANS_REST: Duration = Duration::from_secs(10);
/// How old the oldest waiting change may be for Redis to count as caught up.
const CAUGHT_UP_SECONDS: f64 = 1.0;
/// Tokens that a rebuild publishes at once.
const PAGE: u64 = 2_000;
/// How many write pages at once. In memory are never more than theirs, one that waits for them and
/// the one that is being read.
const WRITERS: usize = 2;
/// How often a rebuild that Redis lost under it begins anew before the next check does.
const ATTEMPTS: usize = 3;

/// What every check needs.
#[derive(Clone)]
pub struct Rebuilder {
    pub db: db::Pool,
    pub publisher: Publisher,
    pub hour: TokenHour,
    pub metrics: Metrics,
}

impl Rebuilder {
    /// Checks twice a second, until cancelled. Runs in every replica; the lock lets one do it.
    pub async fn watch(self, stop: CancellationToken) {
        let mut failing = false;
        while !stop.is_cancelled() {
            // A check that is cut short is made anew by the next process.
            let checked = tokio::select! {
                checked = self.check() => checked,
                () = stop.cancelled() => break,
            };
            match checked {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "cannot check the Redis snapshot; retrying");
                    }
                    failing = true;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn check(&self) -> Result<(), PublishError> {
        // First of all, so that every replica tells it, and while Redis is away too.
        let (rows, oldest_seconds) = within(outbox::backlog(&self.db)).await?;
        self.metrics.backlog(rows, oldest_seconds);
        let tx = within(db::begin(&self.db)).await?;
        if !within(db::try_lock(&tx, LOCK)).await? {
            return Ok(());
        }
        let epoch = within(settings::epoch(&tx)).await?;
        let run_id = self.publisher.server().await?.run_id;
        let stands = self.publisher.snapshot().await?;
        if stands.as_ref() != Some(&(epoch, run_id.clone())) {
            let is_of_this_epoch = stands.is_some_and(|(of_epoch, _)| of_epoch == epoch);
            if !self.rebuild(&tx, epoch, &run_id, is_of_this_epoch).await? {
                return Ok(());
            }
        }
        // The clock first: a change that comes after it must not be covered by it.
        let now_ms = self.publisher.now_ms().await?;
        let (_, oldest_seconds) = within(outbox::backlog(&tx)).await?;
        if oldest_seconds < CAUGHT_UP_SECONDS {
            self.publisher.write_caught_up(now_ms).await?;
        }
        Ok(())
    }

    /// Publishes every token that Redis must know, while relays go on publishing; whether Redis is
    /// whole now. A flush in the middle takes the build's note with it, and all begins anew.
    async fn rebuild(
        &self,
        tx: &db::Tx,
        epoch: i64,
        run_id: &str,
        is_of_this_epoch: bool,
    ) -> Result<bool, PublishError> {
        for _ in 0..ATTEMPTS {
            let build = Uuid::new_v4();
            tracing::info!(run_id, %build, "Redis is not whole: publishing every token");
            self.publisher.begin_rebuild(build).await?;
            // Before anything is published, for after a flush there is next to nothing to look
            // through.
            let orphans = self.remove_orphans(tx).await?;
            if !is_of_this_epoch {
                self.revive_credentials(tx).await?;
            }
            let published = self.publish_all(tx, epoch).await?;
            if self.publisher.finish_rebuild(build, epoch, run_id, published).await? {
                tracing::info!(published, orphans, "Redis is whole");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Publishes them by pages, the next of which are read while others are being written, so that
    /// neither Postgres nor Redis waits for the other; how many there were.
    async fn publish_all(&self, tx: &db::Tx, epoch: i64) -> Result<usize, PublishError> {
        let (pages, unwritten) = mpsc::channel(1);
        let unwritten = Mutex::new(unwritten);
        let writers = try_join_all((0..WRITERS).map(|_| self.write_pages(&unwritten)));
        let ((), written) = try_join(self.read_pages(tx, epoch, pages), writers).await?;
        Ok(written.iter().sum())
    }

    async fn read_pages(&self, tx: &db::Tx, epoch: i64, pages: mpsc::Sender<Batch>) -> Result<(), PublishError> {
        let mut after = Uuid::nil();
        loop {
            let batch = within(Batch::after(tx, epoch, self.hour, after, PAGE)).await?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = last;
            pages.send(batch).await.expect("the writer goes on until there are no more");
        }
    }

    /// Writes pages until there are no more; how many tokens they had.
    async fn write_pages(&self, unwritten: &Mutex<mpsc::Receiver<Batch>>) -> Result<usize, PublishError> {
        let next = async || unwritten.lock().await.recv().await;
        let mut written = 0;
        while let Some(batch) = next().await {
            let learned = within(self.publisher.fill(&batch)).await?;
            written += batch.tokens.len();
            if !learned.is_empty() {
                within(self.record(learned)).await?;
            }
        }
        Ok(written)
    }

    /// In a transaction of its own: this one lasts as long as the rebuild.
    async fn record(&self, learned: Vec<LearnedActivation>) -> Result<(), db::Error> {
        let tx = db::begin(&self.db).await?;
        learn(&tx, learned).await?;
        tx.commit().await
    }

    /// Looks for orphans at the start and then every hour, until cancelled: what a restored dump or
    /// a restored Postgres left. The lock lets one replica do it at a time.
    pub async fn watch_orphans(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let looked = tokio::select! {
                looked = self.look_for_orphans() => looked,
                () = stop.cancelled() => break,
            };
            let rest = match looked {
                Ok(removed) => {
                    if removed > 0 {
                        tracing::warn!(removed, "Redis held what Postgres does not know");
                    }
                    ORPHANS_EVERY
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot look for what has no reason to be in Redis; retrying");
                    ORPHANS_REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn look_for_orphans(&self) -> Result<usize, PublishError> {
        let tx = within(db::begin(&self.db)).await?;
        if within(db::try_lock(&tx, ORPHANS_LOCK)).await? { self.remove_orphans(&tx).await } else { Ok(0) }
    }

    /// Removes tokens and credentials that Redis must not know, each after a look in Postgres: what
    /// was published meanwhile is there. How many.
    async fn remove_orphans(&self, tx: &db::Tx) -> Result<usize, PublishError> {
        Ok(self.remove_orphaned_tokens(tx).await? + self.remove_orphaned_credentials(tx).await?)
    }

    async fn remove_orphaned_tokens(&self, tx: &db::Tx) -> Result<usize, PublishError> {
        let (mut removed, mut pages) = (0, self.publisher.scan(redis::TOKEN_KEYS));
        while let Some(mut ids) = pages.next::<Uuid>().await? {
            let known = within(access_token::filter_publishable(tx, self.hour, TOMBSTONE, &ids)).await?;
            let known: HashSet<Uuid> = known.into_iter().collect();
            ids.retain(|id| !known.contains(id));
            self.publisher.forget_tokens(&ids).await?;
            removed += ids.len();
        }
        Ok(removed)
    }

    async fn remove_orphaned_credentials(&self, tx: &db::Tx) -> Result<usize, PublishError> {
        let (mut removed, mut pages) = (0, self.publisher.scan(redis::CREDENTIAL_KEYS));
        while let Some(mut digests) = pages.next::<Digest>().await? {
            let known = within(credential::filter_publishable(tx, self.hour, TOMBSTONE, &digests)).await?;
            let known: HashSet<Digest> = known.into_iter().collect();
            digests.retain(|digest| !known.contains(digest));
            self.publisher.forget_credentials(&digests).await?;
            removed += digests.len();
        }
        Ok(removed)
    }

    /// Forgets that credentials have ended which, after a restore of Postgres, have not. What ends
    /// meanwhile is told again by what follows.
    async fn revive_credentials(&self, tx: &db::Tx) -> Result<(), PublishError> {
        let mut pages = self.publisher.scan(redis::CREDENTIAL_KEYS);
        while let Some(digests) = pages.next::<Digest>().await? {
            self.publisher.revive(&within(credential::filter_good(tx, &digests)).await?).await?;
        }
        Ok(())
    }
}

/// Bounds a step rather than the check, for a rebuild takes the longer the more tokens there are.
async fn within<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, PublishError>
where
    PublishError: From<E>,
{
    Ok(timeout(ROUND_WITHIN, step).await??)
}
