//! The access log: one line for each request, however it ends, with its figures and its span.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use shared::process::trace::{self, Span};
use uuid::Uuid;

use crate::{ids, telemetry::metrics::Metrics};

/// Methods that OpenTelemetry has names for. Clients could send any number of others.
const KNOWN_METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// The most characters of a path that a span keeps, which bounds the memory of spans that wait.
const PATH_CHARS: usize = 512;

/// The request as it was sent to a server behind the edge, until the head of that server's
/// response.
struct Sent {
    at: Instant,
    span: Span,
}

/// What is logged, counted and traced of one request.
///
/// Its `Drop` writes the access line, the metrics and the span, so that a request that was cut off
/// is recorded too.
pub struct AccessRecord {
    /// The request's id in logs, in responses and towards the upstream.
    pub id: Uuid,
    pub method: Method,
    /// Without its query.
    pub path: Arc<str>,
    /// The class of the route: a label of metrics.
    pub route: &'static str,
    pub client: Option<IpAddr>,
    /// How the grant of its token was found: `hit`, `miss` or `negative`.
    pub grant: Option<&'static str>,
    pub user_id: Option<Uuid>,
    pub token_id: Option<Uuid>,
    /// The status of the response to the client, once there is one.
    pub status: Option<StatusCode>,
    /// The label of the rejection, if the request was rejected.
    pub refused: Option<&'static str>,
    /// The label of the reason, if the request was cut off.
    pub cut: Option<&'static str>,
    /// The request's place in its trace.
    pub span: Span,
    sent: Option<Sent>,
    /// The status of the other server's response, once that has begun to come.
    upstream_status: Option<StatusCode>,
    /// How long servers behind the edge took until the head of their response, or until they
    /// failed, in all.
    upstream_took: Option<Duration>,
    bytes_in: u64,
    /// Bytes of a body that is sent again and was counted the first time.
    counted_before: u64,
    bytes_out: u64,
    started: Instant,
    metrics: Arc<Metrics>,
    is_silent: bool,
}

impl AccessRecord {
    /// The record of a request that begins now, counted as open.
    pub fn begin(metrics: Arc<Metrics>) -> Self {
        metrics.open_requests.inc();
        Self::new(metrics, false)
    }

    /// The record that stays behind where another took over the request: nothing is written of it.
    pub fn silent(&self) -> Self {
        Self::new(Arc::clone(&self.metrics), true)
    }

    fn new(metrics: Arc<Metrics>, is_silent: bool) -> Self {
        Self {
            id: ids::draw(),
            method: Method::default(),
            path: Arc::default(),
            route: "none",
            client: None,
            grant: None,
            user_id: None,
            token_id: None,
            status: None,
            refused: None,
            cut: None,
            span: Span::default(),
            sent: None,
            upstream_status: None,
            upstream_took: None,
            bytes_in: 0,
            counted_before: 0,
            bytes_out: 0,
            started: Instant::now(),
            metrics,
            is_silent,
        }
    }

    /// The request's id as it is written everywhere: 32 hexadecimal digits.
    pub fn id_text(&self) -> String {
        self.id.simple().to_string()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Records a response of the edge's own, and the label of the rejection that it tells.
    pub fn answered(&mut self, status: StatusCode, refused: Option<&'static str>) {
        (self.status, self.refused) = (Some(status), refused);
        if let Some(reason) = refused {
            self.metrics.rejections.with_label_values(&[reason]).inc();
        }
    }

    /// Begins the request's span from its head. The trace that it names is followed where
    /// `is_trusted` says so.
    pub fn begin_span(&mut self, head: &RequestHeader, is_trusted: impl FnOnce() -> bool) {
        let lines = head.headers.get_all(trace::HEADER).iter().map(HeaderValue::as_bytes);
        self.span = Span::of_request(lines, is_trusted);
    }

    /// Records that the request is sent to the server at `address`, and writes its place in the
    /// trace into `head`.
    pub fn sends<Address: ToString>(
        &mut self,
        head: &mut RequestHeader,
        address: Option<Address>,
    ) -> pingora::Result<()> {
        let span = self.span.question(self.route);
        if let Some(place) = span.traceparent().and_then(|place| HeaderValue::try_from(place).ok()) {
            head.insert_header(trace::HEADER, place)?;
        }
        if span.is_told()
            && let Some(address) = address
        {
            span.note("server.address", address.to_string());
        }
        self.sent = Some(Sent { at: Instant::now(), span });
        Ok(())
    }

    /// Records the head of the other server's response.
    pub fn heard(&mut self, status: StatusCode) {
        self.upstream_status = Some(status);
        if let Some((sent, took)) = self.end_sent() {
            self.metrics.upstream_response.observe(took.as_secs_f64());
            sent.span.note("http.response.status_code", i64::from(status.as_u16()));
        }
    }

    /// Records that the other server gave no response, or none that could be used.
    pub fn unheard(&mut self) {
        if let Some((sent, _)) = self.end_sent() {
            sent.span.failed("no answer");
        }
    }

    /// Whether the other server's response has begun to come: from then on nothing is sent again.
    pub fn has_response(&self) -> bool {
        self.upstream_status.is_some()
    }

    fn end_sent(&mut self) -> Option<(Sent, Duration)> {
        let sent = self.sent.take()?;
        let took = sent.at.elapsed();
        *self.upstream_took.get_or_insert_default() += took;
        Some((sent, took))
    }

    /// Records that the request is sent once more, from its first byte.
    pub fn begin_again(&mut self) {
        self.unheard();
        self.counted_before = self.bytes_in;
    }

    /// Counts bytes of a body towards the upstream; how many of them were not counted before.
    pub fn count_in(&mut self, bytes: u64) -> u64 {
        let again = bytes.min(self.counted_before);
        self.counted_before -= again;
        self.bytes_in += bytes - again;
        bytes - again
    }

    /// Counts bytes of a body towards the client.
    pub fn count_out(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }

    fn count(&self, took: Duration) {
        let metrics = &self.metrics;
        metrics.open_requests.dec();
        metrics.duration.observe(took.as_secs_f64());
        metrics.bytes_in.inc_by(self.bytes_in);
        metrics.bytes_out.inc_by(self.bytes_out);
        let class = match self.status.map(|status| status.as_u16() / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            _ => "none",
        };
        metrics.requests.with_label_values(&[self.route, class]).inc();
    }

    fn write_line(&self, took: Duration) {
        tracing::info!(
            target: "edge_proxy::access",
            request_id = %self.id.simple(),
            client = self.client.map(tracing::field::display),
            method = self.method.as_str(),
            path = &*self.path,
            route = self.route,
            status = self.status.map(|status| status.as_u16()),
            refused = self.refused,
            cut = self.cut,
            grant = self.grant,
            user_id = self.user_id.map(tracing::field::display),
            token_id = self.token_id.map(tracing::field::display),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            upstream_ms = self.upstream_took.map(milliseconds),
            took_ms = milliseconds(took),
            trace_id = self.span.trace_id().map(tracing::field::display),
        );
    }

    /// Ends the request's span, with the facts of the access line.
    fn end_span(&self) {
        let span = &self.span;
        if !span.is_told() {
            return;
        }
        let method = if KNOWN_METHODS.contains(&self.method.as_str()) { self.method.as_str() } else { "_OTHER" };
        span.rename(format!("{method} {}", self.route));
        span.note("http.request.method", method.to_owned());
        span.note("url.path", self.path.chars().take(PATH_CHARS).collect::<String>());
        span.note("gateway.request_id", self.id_text());
        span.note("gateway.route", self.route);
        if let Some(status) = self.status {
            span.note("http.response.status_code", i64::from(status.as_u16()));
        }
        if let Some(grant) = self.grant {
            span.note("gateway.grant", grant);
        }
        if let Some(user_id) = self.user_id {
            span.note("user.id", user_id.to_string());
        }
        if let Some(token_id) = self.token_id {
            span.note("gateway.token_id", token_id.to_string());
        }
        if let Some(reason) = self.refused.or(self.cut) {
            span.note("gateway.refused", reason);
        }
        if self.status.is_none_or(|status| status.is_server_error()) {
            span.failed(self.refused.unwrap_or("no answer"));
        }
        span.end();
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        if self.is_silent {
            return;
        }
        let took = self.started.elapsed();
        self.count(took);
        self.write_line(took);
        self.end_span();
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
