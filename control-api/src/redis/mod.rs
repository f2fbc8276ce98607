//! What control-api says to Redis, one function for each thing said. State, not events: everything
//! here may be repeated and reordered.

mod login_failures;
mod rate_limits;
mod snapshot;
mod tokens;

use std::{sync::Arc, time::Duration};

use fred::{
    prelude::*,
    types::{
        FromValue,
        config::{Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig},
        scripts::Script,
    },
};
use futures_util::future::try_join_all;
use shared::{
    malformed::Malformed,
    process::trace,
    redis::calls::{self, Arg, Call},
};
use tokio::{sync::Semaphore, time::error::Elapsed};

use crate::{config::TokenHour, db};

pub use snapshot::Server;

/// Commands that wait for their answers at once while much is written.
const IN_FLIGHT: usize = 200;
/// How long a command may take before it counts as lost.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that leaves a question unanswered for so long is replaced.
const SILENT_FOR: Duration = Duration::from_secs(5);
const PINGED_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect, in milliseconds: from, to, and by how much they grow.
const RECONNECT_DELAY_MS: (u32, u32, u32) = (50, 1_000, 2);

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("Redis: {0}")]
    Redis(#[from] Error),
    #[error("Redis: {0}")]
    Reply(#[from] Malformed),
    #[error("Postgres: {0}")]
    Database(#[from] db::Error),
    #[error("Postgres or Redis: {0}")]
    TookTooLong(#[from] Elapsed),
    #[error("Redis: others write the same without end")]
    Contended,
}

/// Opens a connection that remakes itself. Returns at once, so that the program starts while Redis
/// is away; commands wait for the connection no longer than `command_timeout`.
pub fn connect(url: &str, command_timeout: Duration) -> Result<Client, Error> {
    let mut config = Config::from_url(url)?;
    config.fail_fast = false;
    let performance = PerformanceConfig { default_command_timeout: command_timeout, ..Default::default() };
    let connection = ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        tcp: TcpConfig { nodelay: Some(true), ..Default::default() },
        ..Default::default()
    };
    let (from, to, growth) = RECONNECT_DELAY_MS;
    let policy = ReconnectPolicy::new_exponential(0, from, to, growth);
    let client = Client::new(config, Some(performance), Some(connection), Some(policy));
    client.connect();
    Ok(client)
}

/// Replaces a connection whose server went without a word, or hangs while another has taken its
/// place. Commands that time out do not tell: they only fail. Never returns.
pub async fn replace_when_silent(client: &Client) {
    let patiently = Options { timeout: Some(SILENT_FOR), ..Options::default() };
    loop {
        tokio::time::sleep(PINGED_EVERY).await;
        if !client.is_connected() {
            continue;
        }
        let answer: Result<(), Error> = client.with_options(&patiently).ping(None).await;
        if answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout) {
            tracing::warn!("Redis is silent: connecting anew");
            // Where no server is found the client goes on trying by itself.
            let _ = client.force_reconnection().await;
        }
    }
}

/// Has many commands answered, in their order. Not all at once: one that is sent behind thousands
/// of others would be given up before its turn came.
pub async fn in_flight<T>(
    commands: impl IntoIterator<Item = impl Future<Output = Result<T, PublishError>>>,
) -> Result<Vec<T>, PublishError> {
    let places = Semaphore::new(IN_FLIGHT);
    try_join_all(commands.into_iter().map(async |command| {
        let _place = places.acquire().await.expect("the semaphore is never closed");
        command.await
    }))
    .await
}

/// The one writer of tokens, credentials, changes, hand-overs, failed logins and the snapshot.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    pub hour: TokenHour,
    /// In the order of [`calls::Script::ALL`].
    scripts: Arc<[Script]>,
}

impl Publisher {
    pub fn connect(url: &str, hour: TokenHour) -> Result<Self, Error> {
        let scripts = calls::Script::ALL.iter().map(|script| Script::from_lua(script.lua())).collect();
        Ok(Self { client: connect(url, COMMAND_TIMEOUT)?, hour, scripts })
    }

    /// Whether there is a server to be asked: where there is none, a question only waits for its
    /// time to be over.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// See [`replace_when_silent`].
    pub async fn replace_when_silent(&self) {
        replace_when_silent(&self.client).await;
    }

    /// Calls a script, and loads it where Redis does not have it yet.
    pub async fn call<C: Call, Reply: FromValue>(&self, call: &C) -> Result<Reply, Error> {
        let script = &self.scripts[C::SCRIPT as usize];
        let args: Vec<String> = call.args().into_iter().map(Arg::into_owned).collect();
        trace::ask("redis", C::SCRIPT.name(), script.evalsha_with_reload(&self.client, call.keys(), args)).await
    }
}
