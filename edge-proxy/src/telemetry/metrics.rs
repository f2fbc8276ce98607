//! The metrics of this edge.

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The bounds of the histogram of cuts, in seconds; the promise is one second.
const REVOCATION_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The figures of this edge, each with a closed set of labels.
pub struct Metrics {
    registry: Registry,
    /// Requests by route class and status class.
    pub requests: IntCounterVec,
    /// Rejections by [`crate::rejection::Rejection::reason`].
    pub rejections: IntCounterVec,
    /// Look-ups of a grant: `hit`, `miss`, `negative`.
    pub grants: IntCounterVec,
    /// Open requests and WebSockets that were cut, by why.
    pub cutoffs: IntCounterVec,
    pub open_requests: IntGauge,
    pub open_websockets: IntGauge,
    /// Seconds from the request's head to the end of its answer.
    pub duration: Histogram,
    /// Seconds from sending a request on to the head of its answer.
    pub upstream_response: Histogram,
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
    pub certificate_expires_in: Gauge,
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
        let upstream_response = "From sending a request on to the head of its answer";
        let upstream_response = histogram(HistogramOpts::new("edge_upstream_response_seconds", upstream_response));
        let delay = "From the telling of a change to the end of what it cut";
        let delay = HistogramOpts::new("edge_revocation_delay_seconds", delay);
        let revocation_delay = histogram(delay.buckets(REVOCATION_BUCKETS.to_vec()));
        let bytes = counters("edge_body_bytes_total", "Bytes of bodies that passed", &["direction"]);
        Self {
            requests: counters("edge_requests_total", "Requests that ended", &["route", "status"]),
            rejections: counters("edge_rejections_total", "Requests that were rejected", &["reason"]),
            grants: counters("edge_grant_lookups_total", "Look-ups of a grant", &["outcome"]),
            cutoffs: counters("edge_cutoffs_total", "Open requests and WebSockets that were cut", &["reason"]),
            open_requests: gauge("edge_open_requests", "Requests that are being served"),
            open_websockets: gauge("edge_open_websockets", "WebSockets that are open"),
            duration,
            upstream_response,
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
            certificate_expires_in: seconds(
                "edge_certificate_expires_in_seconds",
                "For which every certificate shown is good",
            ),
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
