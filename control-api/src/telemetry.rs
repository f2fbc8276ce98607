//! What the program tells of itself: log lines and metrics.

use std::time::Duration;

use prometheus::{Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder};
use rustls::crypto::ring;
use shared::process::trace::{self, Export, TraceOptions};
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::{CommonOptions, LogFormat};

/// Which log lines are written.
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on these.
    pub fn set(&self, filter: EnvFilter) {
        if let Err(error) = self.0.reload(filter) {
            tracing::error!(%error, "the log's filter stays as it was");
        }
    }
}

/// Reads a filter. One that cannot be read is an error that names its option.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let read = EnvFilter::try_new(level);
    read.map_err(|_| "LOG_LEVEL: must be a level, or directives such as info,control_api=debug".to_owned())
}

/// Starts logging to standard error. A filter that cannot be read is an error that names its
/// option.
pub fn start_logging(options: &CommonOptions) -> Result<LogFilter, String> {
    let (filter, handle) = reload::Layer::new(filter(&options.log_level)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match options.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(LogFilter(handle))
}

/// Starts telling traces, where there is whom to tell; must be called outside of asynchronous code.
pub fn start_tracing(options: &TraceOptions) -> Result<Option<Export>, String> {
    let export = Export::start("control-api", options, || {
        // The first one that is chosen stays, and serves as well.
        let _ = ring::default_provider().install_default();
        reqwest::blocking::Client::builder().timeout(trace::TOLD_WITHIN).build()
    });
    export.map_err(|error| format!("OTLP_ENDPOINT: {error}"))
}

/// The metrics of this process, and the registry that `/metrics` renders.
#[derive(Clone)]
pub struct Metrics {
    registry: prometheus::Registry,
    requests: IntCounterVec,
    request_seconds: Histogram,
    connections: IntGauge,
    delivered: IntCounter,
    delivery_failures: IntCounter,
    outbox_rows: IntGauge,
    outbox_oldest_seconds: Gauge,
    usage_entries: IntCounter,
    usage_lag_seconds: Gauge,
    sessions_open: IntGauge,
}

impl Metrics {
    pub fn new() -> Self {
        let counter = |name, help| IntCounter::new(name, help).expect("the name is valid");
        let metrics = Self {
            registry: prometheus::Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("control_http_requests_total", "Requests answered, by method and status."),
                &["method", "status"],
            )
            .expect("the name is valid"),
            request_seconds: Histogram::with_opts(HistogramOpts::new(
                "control_http_request_seconds",
                "From a request's head to its answer's.",
            ))
            .expect("the name is valid"),
            connections: IntGauge::new("control_http_connections", "Connections open now.").expect("the name is valid"),
            delivered: counter("control_outbox_delivered_total", "Outbox rows that the relay delivered."),
            delivery_failures: counter("control_outbox_failures_total", "Batches that the relay could not deliver."),
            outbox_rows: IntGauge::new("control_outbox_rows", "Outbox rows that wait.").expect("the name is valid"),
            outbox_oldest_seconds: Gauge::new("control_outbox_oldest_seconds", "How long the oldest row has waited.")
                .expect("the name is valid"),
            usage_entries: counter("control_usage_entries_total", "Entries of the usage stream taken in."),
            usage_lag_seconds: Gauge::new(
                "control_usage_lag_seconds",
                "How long the oldest entry of the usage stream has waited.",
            )
            .expect("the name is valid"),
            sessions_open: IntGauge::new("control_sessions_open", "Sessions that have not ended.")
                .expect("the name is valid"),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 10] = [
            Box::new(self.requests.clone()),
            Box::new(self.request_seconds.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.delivered.clone()),
            Box::new(self.delivery_failures.clone()),
            Box::new(self.outbox_rows.clone()),
            Box::new(self.outbox_oldest_seconds.clone()),
            Box::new(self.usage_entries.clone()),
            Box::new(self.usage_lag_seconds.clone()),
            Box::new(self.sessions_open.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("each name is registered once");
        }
    }

    /// A request was answered.
    pub fn answered(&self, method: &'static str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, status.to_string().as_str()]).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// A connection was opened; it counts until the guard goes.
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Counts rows that the relay delivered.
    pub fn delivered(&self, rows: usize) {
        self.delivered.inc_by(rows as u64);
    }

    /// The relay could not deliver a batch.
    pub fn delivery_failed(&self) {
        self.delivery_failures.inc();
    }

    /// Sets how many rows wait, and for how long the oldest does.
    pub fn backlog(&self, rows: i64, oldest_seconds: f64) {
        self.outbox_rows.set(rows);
        self.outbox_oldest_seconds.set(oldest_seconds);
    }

    /// Counts entries of the usage stream that were read.
    pub fn taken_in(&self, entries: usize) {
        self.usage_entries.inc_by(entries as u64);
    }

    /// The oldest entry of the usage stream has waited so long.
    pub fn usage_lag(&self, lag: Duration) {
        self.usage_lag_seconds.set(lag.as_secs_f64());
    }

    /// Sets how many sessions have not ended.
    pub fn sessions_open(&self, sessions: i64) {
        self.sessions_open.set(sessions);
    }

    /// All of them, in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One open connection.
pub struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
