//! Options that are read again while the edge runs, on SIGHUP: what can change changes at once,
//! what cannot is told.

use std::io;

use clap::{ArgMatches, FromArgMatches};
use shared::process::settings::{Rereading, SettingsError};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{Cli, Command, Config},
    edge::Edge,
    telemetry::log::LogFilter,
};

/// The options that change at once. Files of certificates are read again whatever they are.
pub const CHANGEABLE: [&str; 8] = [
    "ALLOWED_ADDRESSES",
    "DENIED_ADDRESSES",
    "LOG_LEVEL",
    "OPEN_REQUESTS",
    "TOKEN_OPEN_REQUESTS",
    "TOKEN_OPEN_WEBSOCKETS",
    "TOKEN_REQUESTS_PER_MINUTE",
    "UNKNOWN_TOKENS_PER_MINUTE",
];

/// Keeps SIGHUP from ending this process, from now on: what comes before the options can be read
/// again is passed over.
pub fn survive_hangups() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // That it is handled outlasts the runtime and its listener.
    runtime.block_on(async { signal(SignalKind::hangup()).map(drop) })
}

/// What it takes to read the options again.
pub struct Reload {
    rereading: Rereading,
    log_filter: LogFilter,
}

impl Reload {
    pub fn new(rereading: Rereading, log_filter: LogFilter) -> Self {
        Self { rereading, log_filter }
    }

    /// Reads them at every SIGHUP. Never returns.
    pub async fn on_hangup(mut self, edge: &Edge) {
        let mut hangups = signal(SignalKind::hangup()).expect("the process may handle SIGHUP");
        loop {
            hangups.recv().await;
            self.reload(edge);
        }
    }

    fn reload(&mut self, edge: &Edge) {
        edge.tls.reload();
        let config = match self.read() {
            Ok(config) => config,
            Err(error) => return tracing::error!(%error, "the options are wrong: all stay as they were"),
        };
        edge.apply(&config);
        self.log_filter.set(&config.log_level);
        tracing::info!("the options were read again");
    }

    fn read(&mut self) -> Result<Config, SettingsError> {
        let check = |matches: &ArgMatches| {
            let cli = Cli::from_arg_matches(matches).map_err(|error| error.kind().to_string())?;
            let (Command::Serve(config) | Command::CheckConfig(config)) = cli.command;
            config.validate().map(|()| *config)
        };
        self.rereading.read(check)
    }
}
