//! The edge's questions to Redis. Each has a bounded wait; none is asked twice on its own.

mod error;
mod feed;
mod fleet;
mod tokens;

use std::{sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::{ClientLike, EventInterface, LuaInterface},
    types::{
        Builder, FromValue, InfoKind, Value,
        config::{Config, Options, PerformanceConfig, ReconnectPolicy, Server, TcpConfig},
        scripts::Script,
    },
};
use shared::{
    malformed::Malformed,
    process::trace,
    redis::calls::{self, Arg, Call, LeasePolicy},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use crate::sync::Mutex;

pub use error::Error;
pub use feed::{Changes, FEED_BLOCKS_FOR};
pub use tokens::{AdmissionOutcome, Taking};

/// How long one question may take before Redis counts as down.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A connection that leaves a question unanswered for so long is replaced.
const SILENT_FOR: Duration = Duration::from_secs(5);
const PINGED_EVERY: Duration = Duration::from_secs(1);
/// The one `maxmemory-policy` under which nothing is lost.
const KEEPS_ALL: &str = "noeviction";

/// The connections that were made one after the other.
#[derive(Debug)]
struct Connections {
    made: u64,
    /// Told of each before anything is asked by it.
    told: Receiver<Server>,
}

impl Connections {
    /// How many there were until now.
    fn count(&mut self) -> u64 {
        loop {
            match self.told.try_recv() {
                Ok(_) => self.made += 1,
                Err(TryRecvError::Lagged(missed)) => self.made += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.made,
            }
        }
    }
}

/// A connection to Redis and the contract's scripts.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    connections: Arc<Mutex<Connections>>,
    /// In the order of [`calls::Script::ALL`].
    scripts: Arc<[Script]>,
    leases: LeasePolicy,
}

impl Redis {
    /// A connection for questions, one that comes back by itself. It is not made before
    /// [`Redis::connect`].
    pub fn new(url: &str, leases: LeasePolicy) -> Result<Self, Error> {
        Self::with_wait(url, ANSWER_WITHIN, leases)
    }

    /// A connection for the feed, whose reads block.
    pub fn for_feed(url: &str, leases: LeasePolicy) -> Result<Self, Error> {
        Self::with_wait(url, ANSWER_WITHIN + FEED_BLOCKS_FOR, leases)
    }

    fn with_wait(url: &str, answer_within: Duration, leases: LeasePolicy) -> Result<Self, Error> {
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
                // A question does not wait for the answer to the one before.
                connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .set_policy(ReconnectPolicy::new_constant(0, 200))
            .build()?;
        let connections = Connections { made: 0, told: client.reconnect_rx() };
        Ok(Self {
            client,
            connections: Arc::new(Mutex::new(connections)),
            scripts: calls::Script::ALL.iter().map(|script| Script::from_lua(script.lua())).collect(),
            leases,
        })
    }

    /// Starts to connect, and returns at once. While Redis is down every question fails, at once or
    /// within its bound. Must be called in a runtime.
    pub fn connect(&self) {
        self.client.connect();
    }

    /// The client, if it is connected: a question must not wait in a queue for a server that is
    /// down.
    fn connected(&self) -> Result<&Client, Error> {
        if self.client.is_connected() {
            Ok(&self.client)
        } else {
            Err(fred::error::Error::new(ErrorKind::IO, "Redis is not connected").into())
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Calls a script. Its keys and arguments are put together once more where Redis does not have
    /// the script yet: to keep them would be a copy each time.
    async fn call<C: Call + Sync, Reply: FromValue>(&self, call: &C) -> Result<Reply, Error> {
        let client = self.connected()?;
        let script = &self.scripts[C::SCRIPT as usize];
        let asked = async {
            match client.evalsha(script.sha1().clone(), call.keys(), values(call.args())).await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    script.load(client).await?;
                    client.evalsha(script.sha1().clone(), call.keys(), values(call.args())).await
                }
                answered => answered,
            }
        };
        Ok(trace::ask("redis", C::SCRIPT.name(), asked).await?)
    }

    /// Waits for the first connection, however long it takes.
    pub async fn wait_until_connected(&self) {
        while self.client.wait_for_connect().await.is_err() {
            tokio::time::sleep(ANSWER_WITHIN).await;
        }
    }

    /// Replaces the connection if its server went without a word, or hangs while another has taken
    /// its place. Commands that time out do not tell: they only fail. Never returns.
    pub async fn replace_when_silent(&self) {
        let patiently = Options { timeout: Some(SILENT_FOR), ..Options::default() };
        loop {
            tokio::time::sleep(PINGED_EVERY).await;
            if !self.client.is_connected() {
                continue;
            }
            let answer: Result<(), fred::error::Error> = self.client.with_options(&patiently).ping(None).await;
            if answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout) {
                tracing::warn!("Redis is silent: connecting anew");
                // Where no server is found the client goes on trying by itself.
                let _ = self.client.force_reconnection().await;
            }
        }
    }

    /// Tells each (re)connection of this client.
    pub fn reconnections(&self) -> Receiver<Server> {
        self.client.reconnect_rx()
    }

    /// How often this client has connected: where it is the same before a question and after its
    /// answer, and after another's, one server has answered both.
    pub fn connections(&self) -> u64 {
        self.connections.lock().count()
    }

    /// Says so where Redis may throw tokens away once its memory is full, and what to do about it.
    pub async fn may_evict(&self) -> Result<Option<String>, Error> {
        let text: String = self.connected()?.info(Some(InfoKind::Memory)).await?;
        let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        let policy = policy.ok_or(Malformed)?.trim();
        let may_evict = policy != KEEPS_ALL;
        Ok(may_evict.then(|| {
            format!("Redis may evict keys (maxmemory-policy {policy}); set {KEEPS_ALL}, or pass --allow-eviction")
        }))
    }

    /// Closes the connection.
    pub async fn stop(&self) {
        // Nothing is left to say to a server that does not answer a farewell.
        let _ = self.client.quit().await;
    }
}

/// The arguments of a script as fred sends them.
fn values(args: Vec<Arg>) -> Vec<Value> {
    let value = |arg| match arg {
        Arg::Borrowed(text) => Value::from_static_str(text),
        Arg::Owned(text) => text.into(),
    };
    args.into_iter().map(value).collect()
}
