//! From the edges to Postgres: reads the usage stream as one consumer of a group that all replicas share, and forgets an
//! entry only behind its commit. Reading one twice changes nothing.

use std::{collections::HashMap, time::Duration};

use chrono::DateTime;
use fred::{prelude::*, types::streams::XReadResponse};
use shared::{
    event::{self, Usage},
    redis,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
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
}

/// Reads the stream until cancelled.
pub async fn read(db: db::Pool, redis_url: &str, metrics: Metrics, stop: CancellationToken) {
    let client = match publisher::connect(redis_url, COMMAND_TIMEOUT) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "the usage stream cannot be read"),
    };
    let intake = Intake { db, client, consumer: Uuid::new_v4().to_string(), metrics };
    let mut failing = false;
    while !stop.is_cancelled() {
        let round = tokio::select! {
            round = intake.follow() => round,
            () = stop.cancelled() => break,
        };
        if let Err(error) = round {
            if !failing {
                tracing::warn!(%error, "the usage stream cannot be read; tries on");
            }
            failing = true;
            tokio::time::sleep(REST).await;
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
}

impl Intake {
    /// Makes the group if it is missing, takes the entries of the dead over, then reads new ones until it is time to look for
    /// the dead again. An entry whose commit failed is found among the dead, by whoever looks.
    async fn follow(&self) -> Result<(), IntakeError> {
        let made = self.client.xgroup_create::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, "0", true).await;
        if let Err(error) = made
            && !error.details().starts_with("BUSYGROUP")
        {
            return Err(error.into());
        }
        self.take_over().await?;
        let until = tokio::time::Instant::now() + CLAIM_EVERY;
        while tokio::time::Instant::now() < until {
            let read: Value = self
                .client
                .xreadgroup(
                    redis::USAGE_GROUP,
                    self.consumer.as_str(),
                    Some(BATCH),
                    Some(WAIT_MS),
                    false,
                    redis::USAGE,
                    ">",
                )
                .await?;
            if read.is_null() {
                continue;
            }
            let read: XReadResponse<String, String, String, String> = read.into_xread_response()?;
            for entries in read.into_values() {
                self.commit(entries).await?;
            }
        }
        Ok(())
    }

    async fn take_over(&self) -> Result<(), IntakeError> {
        loop {
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
                return Ok(());
            }
            self.commit(entries).await?;
        }
    }

    /// Writes what the entries tell in one transaction; then, and only then, forgets them.
    async fn commit(&self, entries: Vec<Entry>) -> Result<(), IntakeError> {
        let tx = db::begin(&self.db).await?;
        for (id, fields) in &entries {
            match fields.get(event::FIELD).map(|text| Usage::decode(text)) {
                Some(Ok(usage)) => record(&tx, &usage).await?,
                Some(Err(_)) | None => tracing::error!(id, "an entry of the usage stream is malformed; skipped"),
            }
        }
        tx.commit().await?;
        self.metrics.taken_in(entries.len());
        let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
        self.client.xack::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, ids.clone()).await?;
        self.client.xdel::<(), _, _>(redis::USAGE, ids).await?;
        Ok(())
    }
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
