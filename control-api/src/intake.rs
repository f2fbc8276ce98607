//! From the edges to Postgres: reads the usage stream as one consumer of a group that all replicas share, and forgets an
//! entry only behind its commit. Reading one twice changes nothing.

use std::{collections::HashMap, time::Duration};

use chrono::DateTime;
use fred::{interfaces::TransactionInterface, prelude::*, types::streams::XReadResponse};
use shared::{
    event::{self, Usage},
    redis,
};
use tokio::time::{Instant, error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    ROUND_WITHIN,
    db::{self, access_token, credential},
    outbox, publisher,
    telemetry::Metrics,
};

/// Entries read at once.
const BATCH: u64 = 256;
/// How long a read waits for an entry.
const WAIT_MS: u64 = 1_000;
/// Longer than a read waits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(4);
/// A consumer that has not seen to an entry for so long is taken for dead, and the entry over.
const DEAD_AFTER_MS: u64 = 30_000;
/// How often the entries of the dead are looked for.
const CLAIM_EVERY: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(500);

type Entry = (String, HashMap<String, String>);

#[derive(Debug, thiserror::Error)]
enum IntakeError {
    #[error("Redis: {0}")]
    Redis(#[from] Error),
    #[error("Postgres: {0}")]
    Database(#[from] db::Error),
    #[error("Postgres: {0}")]
    TookTooLong(#[from] Elapsed),
}

/// Reads the stream until cancelled.
pub async fn read(db: db::Pool, redis_url: &str, metrics: Metrics, stop: CancellationToken) {
    let client = match publisher::connect(redis_url, COMMAND_TIMEOUT) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "the usage stream cannot be read"),
    };
    let intake = Intake { db, client, consumer: Uuid::new_v4().to_string(), metrics, stop };
    let mut failing = false;
    while !intake.stop.is_cancelled() {
        if let Err(error) = intake.follow().await {
            if !failing {
                tracing::warn!(%error, "the usage stream cannot be read; tries on");
            }
            failing = true;
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = intake.stop.cancelled() => {}
            }
        } else {
            failing = false;
        }
    }
}

struct Intake {
    db: db::Pool,
    client: Client,
    /// This process' name in the group.
    consumer: String,
    metrics: Metrics,
    /// A batch in hand is finished first, for what is committed and not forgotten would be read again.
    stop: CancellationToken,
}

/// Which entries a read gives.
#[derive(Clone, Copy)]
enum Entries {
    /// Those that this consumer was given and has not forgotten: a commit of theirs failed.
    Kept,
    New,
}

impl Intake {
    /// Makes the group if it is missing, takes the entries of the dead over, goes on with its own, then reads new ones until
    /// it is time to look for the dead again.
    async fn follow(&self) -> Result<(), IntakeError> {
        let made = self.client.xgroup_create::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, "0", true).await;
        if let Err(error) = made
            && !error.details().starts_with("BUSYGROUP")
        {
            return Err(error.into());
        }
        self.take_over().await?;
        while self.read(Entries::Kept).await? > 0 {}
        let until = Instant::now() + CLAIM_EVERY;
        while Instant::now() < until && !self.stop.is_cancelled() {
            self.read(Entries::New).await?;
        }
        Ok(())
    }

    /// Reads some entries and sees to them; how many there were. Told to stop, it reads none.
    async fn read(&self, entries: Entries) -> Result<usize, IntakeError> {
        let from = match entries {
            Entries::Kept => "0",
            Entries::New => ">",
        };
        let (group, consumer) = (redis::USAGE_GROUP, self.consumer.as_str());
        let read = self.client.xreadgroup(group, consumer, Some(BATCH), Some(WAIT_MS), false, redis::USAGE, from);
        let read: Value = tokio::select! {
            read = read => read?,
            () = self.stop.cancelled() => return Ok(0),
        };
        if read.is_null() {
            return Ok(0);
        }
        let read: XReadResponse<String, String, String, String> = read.into_xread_response()?;
        let entries: Vec<Entry> = read.into_values().flatten().collect();
        let count = entries.len();
        self.commit(entries).await?;
        Ok(count)
    }

    async fn take_over(&self) -> Result<(), IntakeError> {
        while !self.stop.is_cancelled() {
            let (_, entries): (String, Vec<Entry>) = self
                .client
                .xautoclaim_values(
                    redis::USAGE,
                    redis::USAGE_GROUP,
                    self.consumer.as_str(),
                    DEAD_AFTER_MS,
                    "0",
                    Some(BATCH),
                    false,
                )
                .await?;
            if entries.is_empty() {
                break;
            }
            self.commit(entries).await?;
        }
        Ok(())
    }

    /// Writes what the entries tell in one transaction; then, and only then, forgets them. Both halves of forgetting are one
    /// step: an entry acknowledged and not deleted would count as unread for ever, and nobody would see to it.
    async fn commit(&self, entries: Vec<Entry>) -> Result<(), IntakeError> {
        if entries.is_empty() {
            return Ok(());
        }
        timeout(ROUND_WITHIN, record_all(&self.db, &entries)).await??;
        self.metrics.taken_in(entries.len());
        let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
        let forget = self.client.multi();
        forget.xack::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, ids.clone()).await?;
        forget.xdel::<(), _, _>(redis::USAGE, ids).await?;
        Ok(forget.exec::<()>(true).await?)
    }
}

async fn record_all(db: &db::Pool, entries: &[Entry]) -> Result<(), db::Error> {
    let mut told = Vec::with_capacity(entries.len());
    for (id, fields) in entries {
        match fields.get(event::FIELD).map(|text| Usage::decode(text)) {
            Some(Ok(usage)) => told.push(usage),
            Some(Err(_)) | None => tracing::error!(id, "an entry of the usage stream is malformed; skipped"),
        }
    }
    // Tokens are locked in the order of their ids, as everywhere, and then credentials.
    told.sort_by_key(|usage| match usage {
        Usage::Activated { token_id, .. } => (0, *token_id, None),
        Usage::Redeemed { digest } => (1, Uuid::nil(), Some(*digest.as_bytes())),
        Usage::Unknown => (2, Uuid::nil(), None),
    });
    let tx = db::begin(db).await?;
    for usage in &told {
        record(&tx, usage).await?;
    }
    tx.commit().await
}

async fn record(tx: &db::Tx, usage: &Usage) -> Result<(), db::Error> {
    match usage {
        Usage::Activated { token_id, at_ms } => {
            let Some(at) = DateTime::from_timestamp_millis(*at_ms) else { return Ok(()) };
            if access_token::record_activation(tx, *token_id, at).await?.is_some() {
                outbox::push(tx, &[*token_id]).await?;
            }
            Ok(())
        }
        Usage::Redeemed { digest } => credential::record_redemption(tx, digest).await,
        Usage::Unknown => Ok(()),
    }
}
