//! From the edges to Postgres: reads the usage stream as one consumer of a group that all replicas
//! share, and forgets an entry only behind its commit. Reading one twice changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use fred::{interfaces::TransactionInterface, prelude::*, types::streams::XReadResponse};
use serde_json::json;
use shared::{
    process::trace::{self, Span},
    redis::{
        self,
        events::{self, SessionFigures, TakingOver, Usage},
    },
    token::credential::Digest,
};
use tokio::time::{Instant, error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    db::{
        self, access_token,
        audit_log::{self, NewLine},
        credential, outbox,
        session::{self, Figures},
    },
    domain::audit::{Action, Resource},
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
/// The most characters of a device's name or an agent that are kept.
const TEXT_CHARS: usize = 512;

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
        timeout(ROUND_WITHIN, record_all(&self.db, &entries)).await??;
        self.metrics.taken_in(entries.len());
        let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
        let forget = self.client.multi();
        forget.xack::<(), _, _, _>(redis::USAGE, redis::USAGE_GROUP, ids.clone()).await?;
        forget.xdel::<(), _, _>(redis::USAGE, ids).await?;
        Ok(forget.exec::<()>(true).await?)
    }
}

/// Lock order, as everywhere: tokens, then sessions, then credentials, each in the order of their
/// ids. An event about a token that Postgres does not have is skipped, for it would hold up all
/// that comes with it.
async fn record_all(db: &db::Pool, entries: &[Entry]) -> Result<(), db::Error> {
    let told = Told::read(entries);
    let tx = db::begin(db).await?;
    let known: HashSet<Uuid> = access_token::keep(&tx, &told.token_ids()).await?.into_iter().collect();
    let is_known = |token_id: &Uuid| {
        let is_known = known.contains(token_id);
        if !is_known {
            tracing::error!(%token_id, "an edge told of a token that does not exist; skipped");
        }
        is_known
    };
    for (token_id, at) in told.activations.iter().filter(|(token_id, _)| is_known(token_id)) {
        let record = async {
            match access_token::record_activation(&tx, *token_id, *at).await? {
                Some(_) => outbox::push(&tx, &[*token_id]).await,
                None => Ok(()),
            }
        };
        // As part of the request that started the clock.
        told.spans.get(token_id).unwrap_or(&Span::default()).around(record).await?;
    }
    let figures: Vec<_> = told.figures.into_values().filter(|figures| is_known(&figures.token_id)).collect();
    session::record(&tx, &figures).await?;
    for digest in told.redemptions.values() {
        credential::record_redemption(&tx, digest).await?;
    }
    for taking in told.takings.values().filter(|taking| is_known(&taking.token_id)) {
        record_taking(&tx, taking).await?;
    }
    tx.commit().await
}

/// Writes that a device took a token over, once: by the token's user, for they hold what opens it.
async fn record_taking(tx: &db::Tx, taking: &TakingOver) -> Result<(), db::Error> {
    let (on, agent) = (Resource::Token(taking.token_id), taking.agent.as_deref().map(plain));
    let line = NewLine {
        user_id: Some(taking.user_id),
        action: Action::ReleaseDevice.as_str(),
        resource_type: on.kind(),
        resource_id: on.id(),
        details: json!({ "by": "device" }),
        ip_address: taking.address.map(|address| address.to_canonical().to_string()),
        user_agent: agent.as_deref(),
        request_id: Some(&taking.request_id.simple().to_string()),
    };
    if audit_log::is_written(tx, &line).await? { Ok(()) } else { audit_log::insert(tx, line).await }
}

/// What some entries tell, each thing once.
#[derive(Default)]
struct Told {
    /// The earliest of each token.
    activations: BTreeMap<Uuid, DateTime<Utc>>,
    /// The latest of each session and edge process.
    figures: BTreeMap<(Uuid, Uuid), Figures>,
    redemptions: BTreeMap<[u8; 32], Digest>,
    /// By the request that asked for it.
    takings: BTreeMap<Uuid, TakingOver>,
    /// What taking in an activation is in the trace of the request that left it, by the token.
    spans: HashMap<Uuid, Span>,
}

impl Told {
    fn read(entries: &[Entry]) -> Self {
        let mut told = Self::default();
        for (id, fields) in entries {
            match fields.get(events::FIELD).map(|text| Usage::decode(text)) {
                Some(Ok(usage)) => told.add(usage, fields.get(trace::HEADER)),
                Some(Err(_)) | None => tracing::error!(id, "an entry of the usage stream is malformed; skipped"),
            }
        }
        told
    }

    fn add(&mut self, usage: Usage, place: Option<&String>) {
        match usage {
            Usage::Activated { token_id, at_ms } => {
                let Some(at) = DateTime::from_timestamp_millis(at_ms) else { return };
                self.spans.entry(token_id).or_insert_with(|| Span::of_message("usage", place.map(String::as_str)));
                self.activations.entry(token_id).and_modify(|known| *known = at.min(*known)).or_insert(at);
            }
            Usage::Session(figures) => {
                let Some(figures) = figures_of(figures) else { return };
                let key = (figures.session_id, figures.instance_id);
                if self.figures.get(&key).is_none_or(|known| known.reported_at_ms < figures.reported_at_ms) {
                    self.figures.insert(key, figures);
                }
            }
            Usage::Redeemed { digest } => {
                self.redemptions.insert(*digest.as_bytes(), digest);
            }
            Usage::TakenOver(taking) => {
                self.takings.insert(taking.request_id, taking);
            }
            Usage::Unknown => {}
        }
    }

    fn token_ids(&self) -> Vec<Uuid> {
        let of_sessions = self.figures.values().map(|figures| figures.token_id);
        let of_takings = self.takings.values().map(|taking| taking.token_id);
        let ids: BTreeSet<Uuid> = self.activations.keys().copied().chain(of_sessions).chain(of_takings).collect();
        ids.into_iter().collect()
    }
}

/// Figures as Postgres can hold them; `None` where a time is none.
fn figures_of(told: SessionFigures) -> Option<Figures> {
    for ms in [told.started_at_ms, told.last_activity_ms, told.reported_at_ms] {
        DateTime::from_timestamp_millis(ms)?;
    }
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Some(Figures {
        session_id: told.session_id,
        instance_id: told.instance_id,
        token_id: told.token_id,
        device_id: plain(&told.device),
        ip_address: told.address.map(|address| address.to_string()),
        user_agent: told.agent.as_deref().map(plain),
        started_at_ms: told.started_at_ms,
        last_activity_ms: told.last_activity_ms,
        reported_at_ms: told.reported_at_ms,
        requests: count(told.requests),
        bytes_in: count(told.bytes_in),
        bytes_out: count(told.bytes_out),
        open_connections: i32::try_from(told.open_connections).unwrap_or(i32::MAX),
    })
}

/// A text of a client's as it is kept: Postgres takes no NUL, and nobody reads more.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(TEXT_CHARS).collect()
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

    fn figures(reported_at_ms: i64, requests: u64) -> SessionFigures {
        SessionFigures {
            session_id: Uuid::nil(),
            instance_id: Uuid::nil(),
            token_id: Uuid::nil(),
            user_id: Uuid::nil(),
            device: "a-device".to_owned(),
            address: None,
            agent: Some("an\0agent".to_owned()),
            started_at_ms: 1,
            last_activity_ms: 2,
            reported_at_ms,
            requests,
            bytes_in: u64::MAX,
            bytes_out: 0,
            open_connections: 1,
        }
    }

    #[test]
    fn of_reports_of_a_session_the_latest_counts_and_of_activations_the_earliest() {
        let mut told = Told::default();
        for (at, requests) in [(3, 30), (5, 50), (4, 40)] {
            told.add(Usage::Session(figures(at, requests)), None);
            told.add(Usage::Activated { token_id: Uuid::nil(), at_ms: at }, None);
        }
        told.add(Usage::Session(figures(i64::MAX, 60)), None);
        let kept = &told.figures[&(Uuid::nil(), Uuid::nil())];
        assert_eq!((kept.requests, kept.bytes_in, kept.user_agent.as_deref()), (50, i64::MAX, Some("anagent")));
        assert_eq!(told.activations[&Uuid::nil()].timestamp_millis(), 3);
        assert_eq!(told.token_ids(), [Uuid::nil()]);
    }

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
