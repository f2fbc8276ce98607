//! From Postgres to Redis: a transaction that changes what an edge must know writes a row here, and
//! a relay publishes how the token stands *now*. Rows hold no state, so replays and reordering are
//! harmless; the put script refuses what is older.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    db::{self, outbox},
    jobs::ROUND_WITHIN,
    publish::{changes_of, learn},
    redis::{PublishError, Publisher},
    telemetry::Metrics,
};

/// Rows that a relay takes at once. They stay locked until all are published, and a request may
/// wait for one of them.
const BATCH: i64 = 64;
/// How often a relay looks though it heard nothing: a notification may be lost with its connection.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a relay rests after a failure.
const REST: Duration = Duration::from_millis(250);

/// Delivers the oldest rows that nobody else holds; how many. A token that cannot be published
/// keeps its rows, and the failure is told once those of the others are gone. Tries after a first
/// one are no part of anybody's trace, which they would fill.
async fn deliver_batch(db: &db::Pool, publisher: &Publisher, is_first_try: bool) -> Result<usize, PublishError> {
    let tx = db::begin(db).await?;
    let mut rows = outbox::take(&tx, BATCH).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let changes = changes_of(&rows, is_first_try);
    let (mut learned, mut failure) = (Vec::new(), None);
    for (token_id, published) in publisher.publish_each(&tx, &changes).await? {
        match published {
            Ok(better) => learned.extend(better),
            Err(error) => {
                rows.retain(|row| row.token_id != token_id);
                failure = Some(error);
            }
        }
    }
    outbox::delete(&tx, &rows).await?;
    learn(&tx, learned).await?;
    tx.commit().await?;
    failure.map_or(Ok(rows.len()), Err)
}

/// Delivers rows as they come, until cancelled. Runs in every replica.
pub async fn relay(db: db::Pool, database_url: &str, publisher: Publisher, metrics: Metrics, stop: CancellationToken) {
    let mut listener = None;
    let mut failing = false;
    while !stop.is_cancelled() {
        let round = timeout(ROUND_WITHIN, deliver_batch(&db, &publisher, !failing)).await;
        match round.map_err(PublishError::from).flatten() {
            Ok(delivered) => {
                failing = false;
                metrics.delivered(delivered);
                if delivered > 0 {
                    continue;
                }
                tokio::select! {
                    () = heard(&mut listener, database_url) => {}
                    () = tokio::time::sleep(SWEEP_EVERY) => {}
                    () = stop.cancelled() => {}
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the outbox relay cannot publish; retrying");
                }
                failing = true;
                metrics.delivery_failed();
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
}

/// Returns once rows may have come. A listener that fails is dropped and remade at the next call.
async fn heard(listener: &mut Option<outbox::Listener>, database_url: &str) {
    if listener.is_none() {
        match outbox::Listener::connect(database_url).await {
            // What came before it listened is found by looking once more.
            Ok(connected) => {
                *listener = Some(connected);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the outbox relay cannot listen for changes; polling");
                return tokio::time::sleep(SWEEP_EVERY).await;
            }
        }
    }
    if let Some(connected) = listener
        && connected.heard().await.is_err()
    {
        *listener = None;
    }
}
