//! From the edges to Postgres: reads the usage stream as one consumer of a group that all replicas
//! share, and forgets an entry only behind its commit. Reading one twice changes nothing.

use std::{collections::HashMap, time::Duration};

use fred::{interfaces::TransactionInterface, prelude::*, types::streams::XReadResponse};
use shared::{
    process::trace,
    redis::{
        self,
        events::{self, Usage},
    },
};
use tokio::time::{Instant, error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    db,
    domain::usage::{self, Told},
    jobs::ROUND_WITHIN,
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
/// A consumer that was not heard of for so long has a process no more; there is a new one for each
/// start.
const GONE_AFTER: Duration = Duration::from_secs(600);

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
    let client = match crate::redis::connect(redis_url, COMMAND_TIMEOUT) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "the usage stream cannot be read"),
    };
    let intake = Intake { db, client, consumer: Uuid::new_v4().to_string(), metrics, stop };
    tokio::select! {
        () = intake.follow_always() => {}
        () = crate::redis::replace_when_silent(&intake.client) => {}
    }
}

struct Intake {
    db: db::Pool,
    client: Client,
    /// This process' name in the group.
    consumer: String,
    metrics: Metrics,
    /// A batch in hand is finished first, for what is committed and not forgotten would be read
    /// again.
    stop: CancellationToken,
}

/// Which entries a read gives.
#[derive(Clone, Copy)]
enum Entries {
    /// Those that this consumer was given and has not forgotten: their commit failed.
    Kept,
    New,
}

impl Intake {
    /// Follows the stream until told to stop, whatever fails.
    async fn follow_always(&self) {
        let mut failing = false;
        while !self.stop.is_cancelled() {
            if let Err(error) = self.follow().await {
                if !failing {
                    tracing::warn!(%error, "the usage stream cannot be read; retrying");
                }
                failing = true;
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = self.stop.cancelled() => {}
                }
            } else {
                failing = false;
            }
        }
    }

    /// Makes the group if it is missing, takes the entries of the dead over, goes on with its own,
    /// then reads new ones until it is time to look for the dead again.
    async fn follow(&self) -> Result<(), IntakeError> {
        let made = self.client.xgroup_create::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, "0", true).await;
        if let Err(error) = made
            && !error.details().starts_with("BUSYGROUP")
        {
            return Err(error.into());
        }
        self.take_over().await?;
        self.drop_gone().await?;
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

    /// Drops the names of processes that are gone, of which there would be one more with every
    /// start.
    async fn drop_gone(&self) -> Result<(), IntakeError> {
        let consumers: Vec<HashMap<String, Value>> =
            self.client.xinfo_consumers(redis::USAGE, redis::USAGE_GROUP).await?;
        for gone in consumers.into_iter().filter_map(Consumer::parse).filter(Consumer::is_gone) {
            self.client.xgroup_delconsumer::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, gone.name).await?;
        }
        Ok(())
    }

    /// Writes what the entries tell in one transaction; then, and only then, forgets them. Both
    /// halves of forgetting are one step: an entry acknowledged and not deleted would count as
    /// unread for ever, and nobody would see to it.
    async fn commit(&self, entries: Vec<Entry>) -> Result<(), IntakeError> {
        if entries.is_empty() {
            return Ok(());
        }
        timeout(ROUND_WITHIN, usage::record(&self.db, told_by(&entries))).await??;
        self.metrics.taken_in(entries.len());
        let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
        let forget = self.client.multi();
        forget.xack::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, ids.clone()).await?;
        forget.xdel::<(), _, _>(redis::USAGE, ids).await?;
        Ok(forget.exec::<()>(true).await?)
    }
}

/// What some entries tell.
fn told_by(entries: &[Entry]) -> Told {
    let mut told = Told::default();
    for (id, fields) in entries {
        match fields.get(events::FIELD).map(|text| Usage::decode(text)) {
            Some(Ok(usage)) => told.add(usage, fields.get(trace::HEADER).map(String::as_str)),
            Some(Err(_)) | None => tracing::error!(id, "an entry of the usage stream is malformed; skipped"),
        }
    }
    told
}

/// A consumer of the group, as Redis tells of it.
#[derive(Debug)]
struct Consumer {
    name: String,
    pending: u64,
    idle: Duration,
}

impl Consumer {
    fn parse(mut fields: HashMap<String, Value>) -> Option<Self> {
        Some(Self {
            name: fields.remove("name")?.as_string()?,
            pending: fields.remove("pending")?.as_u64()?,
            idle: Duration::from_millis(fields.remove("idle")?.as_u64()?),
        })
    }

    /// Whether its process is gone, and nothing is left of what it was given: every live one reads
    /// each second.
    fn is_gone(&self) -> bool {
        self.pending == 0 && self.idle > GONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_gone_once_it_is_silent_for_long_and_owes_nothing() {
        let consumer = |pending: i64, idle: Duration| {
            let idle_ms = i64::try_from(idle.as_millis()).expect("a short time");
            let fields = [("name", Value::from("a")), ("pending", pending.into()), ("idle", idle_ms.into())];
            let fields = fields.map(|(name, value)| (name.to_owned(), value));
            Consumer::parse(HashMap::from(fields)).expect("a consumer, as Redis tells of it")
        };
        assert!(consumer(0, GONE_AFTER * 2).is_gone());
        assert!(!consumer(1, GONE_AFTER * 2).is_gone());
        assert!(!consumer(0, GONE_AFTER / 2).is_gone());
    }
}
