//! Options that are read again while the program runs, on SIGHUP: what can change changes at once, what cannot is told.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{App, config::Config, telemetry::LogFilter};

/// The options that change at once.
const CHANGEABLE: [&str; 6] = [
    "ALLOWED_ADDRESSES",
    "DENIED_ADDRESSES",
    "LOGIN_FAILURES_PER_HOUR",
    "LOG_LEVEL",
    "REGISTRATIONS_PER_HOUR",
    "USER_REQUESTS_PER_MINUTE",
];

/// What was read: the options of `serve`, the filter of the log, and the names of what differs from the last time.
pub struct Options {
    pub config: Config,
    pub log_level: String,
    pub changed: Vec<String>,
}

/// What it takes to read the options again.
pub struct Reload {
    read: Box<dyn FnMut() -> Result<Options, String> + Send>,
    log_filter: LogFilter,
}

impl Reload {
    /// `read` says why where an option is wrong, without its value.
    pub fn new(read: impl FnMut() -> Result<Options, String> + Send + 'static, log_filter: LogFilter) -> Self {
        Self { read: Box::new(read), log_filter }
    }

    /// Reads them at every SIGHUP, until `stop`.
    pub async fn on_hangup(mut self, app: Arc<App>, stop: CancellationToken) {
        let mut hangups = signal(SignalKind::hangup()).expect("the process may handle SIGHUP");
        while stop.run_until_cancelled(hangups.recv()).await.is_some() {
            if let Err(error) = self.reload(&app) {
                tracing::error!(%error, "the options are wrong: all stay as they were");
            }
        }
    }

    fn reload(&mut self, app: &App) -> Result<(), String> {
        let options = (self.read)()?;
        self.log_filter.set(&options.log_level)?;
        app.apply(&options.config);
        for option in &options.changed {
            if CHANGEABLE.contains(&option.as_str()) {
                tracing::info!(option, "changed");
            } else {
                tracing::warn!(option, "cannot change while the program runs: it will with the next start");
            }
        }
        tracing::info!("the options were read again");
        Ok(())
    }
}
