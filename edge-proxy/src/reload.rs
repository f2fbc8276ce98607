//! Options that are read again while the edge runs, on SIGHUP: what can change changes at once, what cannot is told.

use clap::FromArgMatches;
use shared::settings::Rereading;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Edge,
    config::{Cli, Command, Config},
    telemetry::LogFilter,
};

/// The options that change at once. Files of certificates are read again whatever they are.
const CHANGEABLE: [&str; 8] = [
    "ALLOWED_ADDRESSES",
    "DENIED_ADDRESSES",
    "LOG_LEVEL",
    "OPEN_REQUESTS",
    "TOKEN_OPEN_REQUESTS",
    "TOKEN_OPEN_WEBSOCKETS",
    "TOKEN_REQUESTS_PER_MINUTE",
    "UNKNOWN_TOKENS_PER_MINUTE",
];

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
        edge.reload_certificates();
        let (config, changed) = match self.read() {
            Ok(read) => read,
            Err(error) => return tracing::error!(%error, "the options are wrong: all stay as they were"),
        };
        edge.apply(&config);
        self.log_filter.set(&config.log_level);
        for option in &changed {
            if CHANGEABLE.contains(&option.as_str()) {
                tracing::info!(option, "changed");
            } else {
                tracing::warn!(option, "cannot change while the edge runs: it will with the next start");
            }
        }
        tracing::info!("the options were read again");
    }

    fn read(&mut self) -> Result<(Config, Vec<String>), String> {
        let (matches, changed) = self.rereading.read().map_err(|error| error.to_string())?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.kind().to_string())?;
        let (Command::Serve(config) | Command::CheckConfig(config)) = cli.command;
        config.validate()?;
        Ok((*config, changed))
    }
}
