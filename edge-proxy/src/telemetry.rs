//! What operators see: log lines and figures. Neither ever holds a credential: libraries that print what they parse are kept
//! quiet whatever the filter says.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

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

/// Checks a log filter; gives it back as it came.
pub fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Starts logging to standard output, once for the process.
pub fn start(format: LogFormat, level: &str) {
    let quiet = Targets::new().with_default(LevelFilter::TRACE).with_targets(QUIET);
    let registry = tracing_subscriber::registry().with(EnvFilter::new(level)).with(quiet);
    match format {
        LogFormat::Text => registry.with(fmt::layer().with_ansi(false)).init(),
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true)).init(),
    }
}

/// The figures of this edge, each with a closed set of labels.
pub struct Metrics {
    registry: Registry,
    /// Requests by route class and status class.
    pub requests: IntCounterVec,
    /// Refusals by [`crate::admit::Denied::reason`].
    pub refusals: IntCounterVec,
    /// Look-ups of a grant: `hit`, `miss`, `negative`.
    pub grants: IntCounterVec,
    /// Open requests and WebSockets that were cut, by why.
    pub cuts: IntCounterVec,
    pub open_requests: IntGauge,
    pub open_websockets: IntGauge,
    /// Seconds from the request's head to the end of its answer.
    pub duration: Histogram,
    /// Bytes of bodies, by direction: `in` towards the upstream, `out` towards the client.
    pub bytes: IntCounterVec,
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
        let duration = Histogram::with_opts(HistogramOpts::new(
            "edge_request_duration_seconds",
            "From the request's head to the end of its answer",
        ))
        .expect("a valid name");
        registry.register(Box::new(duration.clone())).expect("registered once");
        Self {
            requests: counters("edge_requests_total", "Requests that ended", &["route", "status"]),
            refusals: counters("edge_refusals_total", "Requests that were refused", &["reason"]),
            grants: counters("edge_grant_lookups_total", "Look-ups of a grant", &["outcome"]),
            cuts: counters("edge_cuts_total", "Open requests and WebSockets that were cut", &["reason"]),
            open_requests: gauge("edge_open_requests", "Requests that are being served"),
            open_websockets: gauge("edge_open_websockets", "WebSockets that are open"),
            duration,
            bytes: counters("edge_body_bytes_total", "Bytes of bodies that passed", &["direction"]),
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
