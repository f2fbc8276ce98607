//! The log: its format, its filter, and which crates it keeps quiet whatever the filter says, since
//! they print what they parse.

use std::fmt::Debug;

use rustls::crypto::ring;
use shared::process::trace::{self, Export, TraceOptions};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::Targets,
    fmt,
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use crate::config::LogFormat;

/// What no filter can make louder: these crates log request heads, with cookies and tokens in them,
/// at `debug` or in the text of an error.
const QUIET: [(&str, LevelFilter); 6] = [
    ("pingora_proxy", LevelFilter::OFF),
    ("pingora_core", LevelFilter::WARN),
    ("pingora_core::connectors", LevelFilter::OFF),
    ("pingora_core::protocols", LevelFilter::OFF),
    ("h2", LevelFilter::INFO),
    ("fred", LevelFilter::INFO),
];

/// Which log lines are written.
pub struct LogFilter(reload::Handle<EnvFilter, tracing_subscriber::Registry>);

impl LogFilter {
    /// From now on these; `filter` is one that [`log_filter`](crate::config) took.
    pub fn set(&self, filter: &str) {
        let filter = EnvFilter::new(filter);
        let loudest = loudest(&filter);
        match self.0.reload(filter) {
            Ok(()) => log::set_max_level(loudest),
            Err(error) => tracing::error!(%error, "the log's filter stays as it was"),
        }
    }
}

/// The loudest that a filter lets through of crates that log by `log`, as Pingora does, many times
/// a request: without it each line is asked for and thrown away.
fn loudest(filter: &EnvFilter) -> log::LevelFilter {
    let loudest = filter.max_level_hint().and_then(|level| level.to_string().parse().ok());
    loudest.unwrap_or(log::LevelFilter::Trace)
}

/// Leaves out that a handshake of TLS has failed, which Pingora calls an error: scanners make them
/// fail all day. They are counted.
struct WithoutHandshakes;

impl<S: Subscriber> Layer<S> for WithoutHandshakes {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        struct Message(bool);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0 |= field.name() == "message" && format!("{value:?}").starts_with("Downstream handshake ");
            }
        }
        let mut is_of_handshake = Message(false);
        if *event.metadata().level() == Level::ERROR {
            event.record(&mut is_of_handshake);
        }
        !is_of_handshake.0
    }
}

/// Starts logging to standard output, once for the process.
pub fn start(format: LogFormat, level: &str) -> LogFilter {
    let quiet = Targets::new().with_default(LevelFilter::TRACE).with_targets(QUIET);
    let filter = EnvFilter::new(level);
    let loudest = loudest(&filter);
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter).with(quiet).with(WithoutHandshakes);
    match format {
        LogFormat::Text => registry.with(fmt::layer().with_ansi(false)).init(),
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true)).init(),
    }
    log::set_max_level(loudest);
    LogFilter(handle)
}

/// Starts telling traces, where there is whom to tell; must be called outside of asynchronous code.
pub fn start_tracing(options: &TraceOptions) -> Result<Option<Export>, String> {
    let export = Export::start("edge-proxy", options, || {
        // The first one that is chosen stays, and serves as well.
        let _ = ring::default_provider().install_default();
        reqwest::blocking::Client::builder().timeout(trace::TOLD_WITHIN).build()
    });
    export.map_err(|error| format!("OTLP_ENDPOINT: {error}"))
}
