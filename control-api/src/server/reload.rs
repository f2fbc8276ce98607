//! Options that are read again while the program runs, on SIGHUP: what can change changes at once,
//! what cannot is told.

use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{app::App, config::Config, telemetry::LogFilter};

/// The options that change at once.
pub const CHANGEABLE: [&str; 6] = [
    "ALLOWED_ADDRESSES",
    "DENIED_ADDRESSES",
    "LOGIN_FAILURES_PER_HOUR",
    "LOG_LEVEL",
    "REGISTRATIONS_PER_HOUR",
    "USER_REQUESTS_PER_MINUTE",
];

/// What was read: the options of `serve`, and the filter of the log.
pub struct Options {
    pub config: Config,
    pub log_filter: EnvFilter,
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
    pub async fn on(mut self, mut hangups: Signal, app: Arc<App>, stop: CancellationToken) {
        while stop.run_until_cancelled(hangups.recv()).await.is_some() {
            if let Err(error) = self.reload(&app) {
                tracing::error!(%error, "the options are wrong: all stay as they were");
            }
        }
    }

    fn reload(&mut self, app: &App) -> Result<(), String> {
        let options = (self.read)()?;
        self.log_filter.set(options.log_filter);
        app.apply(&options.config);
        tracing::info!("the options were read again");
        Ok(())
    }
}
