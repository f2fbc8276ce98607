//! From Postgres to Redis: a transaction that changes what an edge must know writes a row here, and a relay publishes how the
//! token stands *now*. Rows hold no state, so replays and reordering are harmless; the put script refuses what is older.

use std::{collections::BTreeMap, time::Duration};

use shared::process::trace::Span;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    ROUND_WITHIN,
    db::{self, access_token, outbox},
    publish::put::LearnedActivation,
    redis::{PublishError, Publisher},
    telemetry::Metrics,
};

/// Rows that a relay takes at once. They stay locked until all are published, and a request may wait for one of them.
const BATCH: i64 = 64;
/// How often a relay looks though it heard nothing: a notification may be lost with its connection.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a relay rests after a failure.
const REST: Duration = Duration::from_millis(250);
/// How long a request waits for its own row to be delivered.
const DELIVER_WITHIN: Duration = Duration::from_secs(1);

/// Notes, in the transaction that changes them, that these tokens must be published.
pub async fn push(tx: &db::Tx, token_ids: &[Uuid]) -> Result<(), db::Error> {
    if token_ids.is_empty() {
        return Ok(());
    }
    outbox::insert(tx, token_ids, Span::current().traceparent()).await
}

/// Whether Redis has what a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Done,
    /// Redis did not answer in time; a relay delivers it once it does.
    Pending,
}

/// Publishes a token for which the caller has just committed a row, or waits for the relay that took the row first. Bounded,
/// because what was committed stands whether Redis answers or not.
pub async fn deliver(db: &db::Pool, publisher: &Publisher, token_id: Uuid) -> Delivery {
    deliver_all(db, publisher, &[token_id]).await
}

/// The same for several at once, in the time of one.
pub async fn deliver_all(db: &db::Pool, publisher: &Publisher, token_ids: &[Uuid]) -> Delivery {
    match timeout(DELIVER_WITHIN, deliver_rows(db, publisher, token_ids)).await {
        Ok(Ok(())) => Delivery::Done,
        Ok(Err(error)) => {
            tracing::warn!(?token_ids, %error, "a change waits for the relay");
            Delivery::Pending
        }
        Err(_) => {
            tracing::warn!(?token_ids, "a change waits for the relay: Redis does not answer");
            Delivery::Pending
        }
    }
}

async fn deliver_rows(db: &db::Pool, publisher: &Publisher, token_ids: &[Uuid]) -> Result<(), PublishError> {
    let tx = db::begin(db).await?;
    let rows = outbox::take_of_tokens(&tx, token_ids).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let published = publisher.publish_each(&tx, &changes_of(&rows, true)).await?;
    let learned = published.into_iter().map(|(_, learned)| learned).collect::<Result<Vec<_>, _>>()?;
    outbox::delete(&tx, &rows).await?;
    learn(&tx, learned.into_iter().flatten().collect()).await?;
    Ok(tx.commit().await?)
}

/// Each token once, with what publishing it is in the trace of the first request that changed it.
fn changes_of(rows: &[outbox::Row], is_traced: bool) -> BTreeMap<Uuid, Span> {
    let mut changes = BTreeMap::new();
    for row in rows {
        let place = row.traceparent.as_deref().filter(|_| is_traced);
        changes.entry(row.token_id).or_insert_with(|| Span::of_message("publish", place));
    }
    changes
}

/// Records activations that only Redis knew, and has them published: a hash could be lost any time.
pub async fn learn(tx: &db::Tx, mut learned: Vec<LearnedActivation>) -> Result<(), db::Error> {
    // Tokens are locked in the order of their ids, as everywhere.
    learned.sort_unstable_by_key(|learned| learned.token_id);
    for LearnedActivation { token_id, activated_at } in learned {
        if access_token::record_activation(tx, token_id, activated_at).await?.is_some() {
            push(tx, &[token_id]).await?;
        }
    }
    Ok(())
}

/// Delivers the oldest rows that nobody else holds; how many. A token that cannot be published keeps its rows, and the
/// failure is told once those of the others are gone.
/// Tries after a first one are no part of anybody's trace, which they would fill.
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
                    tracing::warn!(%error, "the relay cannot deliver; it tries on");
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
                tracing::warn!(%error, "the relay cannot listen; it sweeps");
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
