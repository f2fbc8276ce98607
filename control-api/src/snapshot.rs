//! Keeps Redis whole: notices a server that was flushed, restarted, failed over or restored, and fills it again. Edges call a
//! credential invalid only while the snapshot says that Redis holds all that Postgres knows.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    ROUND_WITHIN,
    db::{self, access_token, outbox, settings},
    publisher::{PublishError, Publisher},
    telemetry::Metrics,
};

/// Names the advisory lock of the one replica that watches: the letters `snapshot` as bytes.
const LOCK: i64 = 0x736e_6170_7368_6f74;
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How old the oldest waiting change may be for Redis to count as caught up.
const CAUGHT_UP_SECONDS: f64 = 1.0;
/// Tokens that a rebuild publishes at once.
const PAGE: u64 = 500;

/// Checks each second, until cancelled. Runs in every replica; the lock lets one do it.
pub async fn watch(db: db::Pool, publisher: Publisher, metrics: Metrics, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        // A check that is cut short is made anew by the next process.
        let checked = tokio::select! {
            checked = check(&db, &publisher, &metrics) => checked,
            () = stop.cancelled() => break,
        };
        match checked {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot tell whether Redis is whole; tries on");
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

async fn check(db: &db::Pool, publisher: &Publisher, metrics: &Metrics) -> Result<(), PublishError> {
    // First of all, so that every replica tells it, and while Redis is away too.
    let (rows, oldest_seconds) = within(outbox::backlog(db)).await?;
    metrics.backlog(rows, oldest_seconds);
    let tx = within(db::begin(db)).await?;
    if !within(db::try_lock(&tx, LOCK)).await? {
        return Ok(());
    }
    let epoch = within(settings::epoch(&tx)).await?;
    let run_id = publisher.server().await?.run_id;
    if publisher.snapshot().await?.as_ref() != Some(&(epoch, run_id.clone())) {
        rebuild(&tx, publisher, epoch, &run_id).await?;
    }
    // The clock first: a change that comes after it must not be covered by it.
    let now_ms = publisher.now_ms().await?;
    let (_, oldest_seconds) = within(outbox::backlog(&tx)).await?;
    if oldest_seconds < CAUGHT_UP_SECONDS {
        publisher.write_caught_up(now_ms).await?;
    }
    Ok(())
}

/// Bounds a step rather than the check, for a rebuild takes the longer the more tokens there are.
async fn within<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, PublishError>
where
    PublishError: From<E>,
{
    Ok(timeout(ROUND_WITHIN, step).await??)
}

/// Publishes every token that Redis must know, while relays go on publishing; the snapshot comes last, and only if the
/// server is still the one that was filled.
async fn rebuild(tx: &db::Tx, publisher: &Publisher, epoch: i64, run_id: &str) -> Result<(), PublishError> {
    tracing::info!(run_id, "Redis is not whole: publishing every token");
    let tombstone = chrono::Duration::milliseconds(shared::redis::TOMBSTONE_MS);
    let (mut after, mut published) = (Uuid::nil(), 0);
    loop {
        let page = within(access_token::list_publishable(tx, after, tombstone, PAGE)).await?;
        let Some(&last) = page.last() else { break };
        within(publisher.publish(tx, &page)).await?;
        (after, published) = (last, published + page.len());
    }
    if publisher.server().await?.run_id == run_id {
        publisher.write_snapshot(epoch, run_id).await?;
        tracing::info!(published, "Redis is whole");
    }
    Ok(())
}
