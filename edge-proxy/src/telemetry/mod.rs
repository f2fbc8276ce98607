//! What operators see: log lines and figures. Neither ever holds a credential: libraries that print what they parse are kept
//! quiet whatever the filter says.

use std::fmt::Debug;

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
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

/// What no filter can make louder: these crates log request heads, with cookies and tokens in them, at `debug` or in the text
/// of an error.
const QUIET: [(&str, LevelFilter); 6] = [
    ("pingora_proxy", LevelFilter::OFF),
    ("pingora_core", LevelFilter::WARN),
    ("pingora_core::connectors", LevelFilter::OFF),
    ("pingora_core::protocols", LevelFilter::OFF),
    ("h2", LevelFilter::INFO),
    ("fred", LevelFilter::INFO),
];

/// The bounds of the histogram of cuts, in seconds; the promise is one second.
const REVOCATION_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

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

/// The loudest that a filter lets through of crates that log by `log`, as Pingora does, many times a request: without it each line is asked
/// for and thrown away.
fn loudest(filter: &EnvFilter) -> log::LevelFilter {
    let loudest = filter.max_level_hint().and_then(|level| level.to_string().parse().ok());
    loudest.unwrap_or(log::LevelFilter::Trace)
}

/// Leaves out that a handshake of TLS has failed, which Pingora calls an error: scanners make them fail all day. They are counted.
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

/// The figures of this edge, each with a closed set of labels.
pub struct Metrics {
    registry: Registry,
    /// Requests by route class and status class.
    pub requests: IntCounterVec,
    /// Refusals by [`crate::rejection::Rejection::reason`].
    pub refusals: IntCounterVec,
    /// Look-ups of a grant: `hit`, `miss`, `negative`.
    pub grants: IntCounterVec,
    /// Open requests and WebSockets that were cut, by why.
    pub cuts: IntCounterVec,
    pub open_requests: IntGauge,
    pub open_websockets: IntGauge,
    /// Seconds from the request's head to the end of its answer.
    pub duration: Histogram,
    /// Seconds from sending a request on to the head of its answer.
    pub behind: Histogram,
    /// Seconds from the telling of a change to the end of what it cut.
    pub revocation_delay: Histogram,
    /// Seconds since the change feed was sound.
    pub feed_silence: Gauge,
    /// Seconds from the telling of the last change to its being taken in.
    pub feed_lag: Gauge,
    /// Devices whose leases this edge renewed last.
    pub leases: IntGauge,
    /// Seconds by which this machine's clock is ahead of Redis'.
    pub clock_offset: Gauge,
    /// Sessions whose figures are not told yet.
    pub usage_pending: IntGauge,
    /// Whether what is held is used without asking Redis: 1 or 0.
    pub redis_trusted: IntGauge,
    /// Addresses of the upstream that are in use.
    pub upstreams_in_use: IntGauge,
    /// How often an address of the upstream was taken out of use.
    pub upstream_ejections: IntCounter,
    /// How often a request was sent to the upstream once more.
    pub upstream_retries: IntCounter,
    /// Handshakes of TLS by how far they came: `begun` with a hello, `established`.
    pub tls_handshakes: IntCounterVec,
    /// Orders of certificates by ACME, by what came of them: `issued`, `failed`.
    pub acme_orders: IntCounterVec,
    /// Seconds for which every certificate that is shown is good; infinite where none is.
    pub certificate_rest: Gauge,
    /// Bytes of bodies, by direction: `in` towards the upstream, `out` towards the client.
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
    /// Bytes of bodies that were rewritten, as they came (`in`) and as they went (`out`).
    pub rewrite_bytes: IntCounterVec,
    /// Names of the upstream's origins that were replaced in bodies.
    pub rewrite_replacements: IntCounter,
    /// Seconds that rewriting bodies took.
    pub rewrite_seconds: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name");
            registry.register(Box::new(counters.clone())).expect("registered once");
            counters
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("a valid name");
            registry.register(Box::new(gauge.clone())).expect("registered once");
            gauge
        };
        let seconds = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help).expect("a valid name");
            registry.register(Box::new(gauge.clone())).expect("registered once");
            gauge
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("a valid name");
            registry.register(Box::new(counter.clone())).expect("registered once");
            counter
        };
        let rewrite_seconds = Counter::new("edge_rewrite_seconds_total", "That rewriting bodies took");
        let rewrite_seconds = rewrite_seconds.expect("a valid name");
        registry.register(Box::new(rewrite_seconds.clone())).expect("registered once");
        let histogram = |options: HistogramOpts| {
            let histogram = Histogram::with_opts(options).expect("a valid name and ascending bounds");
            registry.register(Box::new(histogram.clone())).expect("registered once");
            histogram
        };
        let duration = "From the request's head to the end of its answer";
        let duration = histogram(HistogramOpts::new("edge_request_duration_seconds", duration));
        let behind = "From sending a request on to the head of its answer";
        let behind = histogram(HistogramOpts::new("edge_behind_seconds", behind));
        let delay = "From the telling of a change to the end of what it cut";
        let delay = HistogramOpts::new("edge_revocation_delay_seconds", delay);
        let revocation_delay = histogram(delay.buckets(REVOCATION_BUCKETS.to_vec()));
        let bytes = counters("edge_body_bytes_total", "Bytes of bodies that passed", &["direction"]);
        Self {
            requests: counters("edge_requests_total", "Requests that ended", &["route", "status"]),
            refusals: counters("edge_refusals_total", "Requests that were refused", &["reason"]),
            grants: counters("edge_grant_lookups_total", "Look-ups of a grant", &["outcome"]),
            cuts: counters("edge_cuts_total", "Open requests and WebSockets that were cut", &["reason"]),
            open_requests: gauge("edge_open_requests", "Requests that are being served"),
            open_websockets: gauge("edge_open_websockets", "WebSockets that are open"),
            duration,
            behind,
            revocation_delay,
            feed_silence: seconds("edge_feed_silence_seconds", "Since the change feed was sound"),
            feed_lag: seconds("edge_feed_lag_seconds", "From the telling of the last change to its being taken in"),
            leases: gauge("edge_leases", "Devices whose leases were renewed last"),
            clock_offset: seconds("edge_clock_offset_seconds", "By which this clock is ahead of Redis'"),
            usage_pending: gauge("edge_usage_pending", "Sessions whose figures are not told yet"),
            redis_trusted: gauge("edge_redis_trusted", "Whether what is held is used without asking Redis"),
            upstreams_in_use: gauge("edge_upstreams_in_use", "Addresses of the upstream that are in use"),
            upstream_ejections: counter(
                "edge_upstream_ejections_total",
                "Times that an address of the upstream was taken out of use",
            ),
            upstream_retries: counter("edge_upstream_retries_total", "Requests sent to the upstream once more"),
            tls_handshakes: counters("edge_tls_handshakes_total", "Handshakes of TLS by how far they came", &["stage"]),
            acme_orders: counters("edge_acme_orders_total", "Orders of certificates by ACME", &["outcome"]),
            certificate_rest: seconds("edge_certificate_rest_seconds", "For which every certificate shown is good"),
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            rewrite_bytes: counters("edge_rewrite_bytes_total", "Bytes of bodies that were rewritten", &["direction"]),
            rewrite_replacements: counter(
                "edge_rewrite_replacements_total",
                "Names of origins that were replaced in bodies",
            ),
            rewrite_seconds,
            registry,
        }
    }

    /// All figures, in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("figures of our own have valid names")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
