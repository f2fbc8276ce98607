//! The edge's questions to Redis. Each has a bounded wait; none is asked twice on its own.

use std::time::Duration;

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, KeysInterface, StreamsInterface},
    types::{
        Builder,
        config::{Config, PerformanceConfig, ReconnectPolicy},
        scripts::Script,
        streams::{XCap, XCapKind, XCapTrim},
    },
};
use shared::{
    credential::{Digest, Handover},
    event::{self, Usage},
    grant::{Activation, Finding, Lookup, Malformed},
    redis as contract,
};
use uuid::Uuid;

/// How long one question may take before Redis counts as down.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a read of the feed blocks where nothing changes; an empty answer counts as heard.
pub const FEED_BLOCKS_FOR: Duration = Duration::from_secs(1);
/// How many changes one read of the feed brings.
const FEED_BATCH: u64 = 1_000;

/// An entry of a stream: its id, then names and values in turn.
type Entry = (String, Vec<String>);

/// What one read of the feed brought.
#[derive(Debug, Default)]
pub struct Changes {
    /// The id of the newest entry, from which to read on; `None` if there was none.
    pub last_id: Option<String>,
    pub tokens: Vec<Uuid>,
}

/// A connection to Redis and the contract's scripts.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    find: Script,
    lookup: Script,
    activate: Script,
}

impl Redis {
    /// Starts a connection for questions, one that comes back by itself. It returns at once, connected or not: while Redis is
    /// down every question fails, at once or within its bound.
    pub fn start(url: &str) -> Result<Self, Error> {
        Self::start_with(url, ANSWER_WITHIN)
    }

    /// Starts a connection for the feed, whose reads block.
    pub fn start_feed(url: &str) -> Result<Self, Error> {
        Self::start_with(url, ANSWER_WITHIN + FEED_BLOCKS_FOR)
    }

    fn start_with(url: &str, answer_within: Duration) -> Result<Self, Error> {
        let config = Config { fail_fast: false, ..Config::from_url(url)? };
        let client = Builder::from_config(config)
            .set_performance_config(PerformanceConfig {
                default_command_timeout: answer_within,
                ..PerformanceConfig::default()
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = ANSWER_WITHIN;
                connection.internal_command_timeout = ANSWER_WITHIN;
                connection.max_command_attempts = 1;
            })
            .set_policy(ReconnectPolicy::new_constant(0, 200))
            .build()?;
        client.connect();
        Ok(Self {
            client,
            find: Script::from_lua(contract::FIND),
            lookup: Script::from_lua(contract::LOOKUP),
            activate: Script::from_lua(contract::ACTIVATE),
        })
    }

    /// The client, if it is connected: a question must not wait in a queue for a server that is down.
    fn connected(&self) -> Result<&Client, Error> {
        if self.client.is_connected() {
            Ok(&self.client)
        } else {
            Err(Error::new(ErrorKind::IO, "Redis is not connected"))
        }
    }

    /// Waits for the first connection, however long it takes.
    pub async fn wait_until_connected(&self) {
        while self.client.wait_for_connect().await.is_err() {
            tokio::time::sleep(ANSWER_WITHIN).await;
        }
    }

    /// Tells each (re)connection of this client.
    pub fn reconnections(&self) -> tokio::sync::broadcast::Receiver<fred::types::config::Server> {
        self.client.reconnect_rx()
    }

    /// What a credential names, and whether Redis could know.
    pub async fn find(&self, credential: &Digest) -> Result<Finding, Error> {
        let keys = vec![contract::SNAPSHOT.to_owned(), contract::credential_key(credential)];
        let reply: Vec<String> = self.find.evalsha_with_reload(self.connected()?, keys, ()).await?;
        Finding::parse(&reply).map_err(malformed)
    }

    /// What Redis knows of a token, to a credential of that generation.
    pub async fn look_up(&self, token_id: Uuid, generation: i64) -> Result<Lookup, Error> {
        let key = contract::token_key(token_id);
        let reply: Vec<String> =
            self.lookup.evalsha_with_reload(self.connected()?, key, generation.to_string()).await?;
        Lookup::parse(token_id, &reply).map_err(malformed)
    }

    /// Starts a token's clock, unless it runs already, and tells both planes if it was this call that did.
    pub async fn activate(&self, token_id: Uuid, generation: i64) -> Result<Activation, Error> {
        let arguments = vec![generation.to_string(), contract::TOMBSTONE_MS.to_string()];
        let key = contract::token_key(token_id);
        let reply: Vec<String> = self.activate.evalsha_with_reload(self.connected()?, key, arguments).await?;
        let activation = Activation::parse(&reply).map_err(malformed)?;
        if let Activation::Active { first: true, activated_at_ms, .. } = activation {
            self.tell(&Usage::Activated { token_id, at_ms: activated_at_ms }).await?;
            let cap: XCap = (XCapKind::MaxLen, XCapTrim::AlmostExact, contract::CHANGES_LENGTH, None).try_into()?;
            let change = (contract::CHANGES_FIELD, token_id.to_string());
            let _id: String = self.connected()?.xadd(contract::CHANGES, false, cap, "*", change).await?;
        }
        Ok(activation)
    }

    /// Takes the salt of a hand-over, once, and gives back what the browser is to hold.
    pub async fn redeem(&self, code: &str) -> Result<Option<Handover>, Error> {
        let key = contract::handover_key(&Handover::code_digest(code));
        let salt: Option<String> = self.connected()?.getdel(key).await?;
        Ok(salt.and_then(|salt| Handover::join(code, &salt)))
    }

    /// Tells the control plane what this edge saw.
    pub async fn tell(&self, event: &Usage) -> Result<(), Error> {
        let field = (event::FIELD, event.encode());
        let _id: String = self.connected()?.xadd(contract::USAGE, false, None::<()>, "*", field).await?;
        Ok(())
    }

    /// The id of the newest change, from which to follow the feed.
    pub async fn newest_change(&self) -> Result<String, Error> {
        let newest: Vec<Entry> = self.client.xrevrange(contract::CHANGES, "+", "-", Some(1)).await?;
        Ok(newest.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id))
    }

    /// Waits for changes after `last_id`, for [`FEED_BLOCKS_FOR`] at most; blocks this connection meanwhile. An entry that is
    /// not of the contract's shape is passed over.
    pub async fn changes_after(&self, last_id: &str) -> Result<Changes, Error> {
        let block_ms = u64::try_from(FEED_BLOCKS_FOR.as_millis()).ok();
        // Redis answers nil, not an empty list, where nothing came.
        let read: Option<Vec<(String, Vec<Entry>)>> =
            self.client.xread(Some(FEED_BATCH), block_ms, contract::CHANGES, last_id).await?;
        let mut changes = Changes::default();
        for (id, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
            changes.last_id = Some(id);
            changes.tokens.extend(changed_token(&fields));
        }
        Ok(changes)
    }

    /// Redis' clock, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<i64, Error> {
        self.find(&Digest::of(b"")).await.map(|finding| finding.now_ms)
    }

    /// Closes the connection.
    pub async fn stop(&self) {
        // Nothing is left to say to a server that does not answer a farewell.
        let _ = self.client.quit().await;
    }
}

fn changed_token(fields: &[String]) -> Option<Uuid> {
    match fields {
        [name, token_id] if name == contract::CHANGES_FIELD => token_id.parse().ok(),
        _ => None,
    }
}

fn malformed(malformed: Malformed) -> Error {
    Error::new(ErrorKind::Parse, malformed.to_string())
}
