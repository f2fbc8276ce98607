//! What the edge knows of the request in hand: from its head at first, then from its admission. Pingora carries it through the
//! phases; its `Drop` writes the access line, so that a request that was cut is told of too.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use shared::process::trace::{self, Span};
use uuid::Uuid;

use crate::{
    admission::{credential::Source, facts::Facts, permit::Permit},
    ids,
    origin::Origin,
    proxy::{request_body::Upload, response_body::Rewriting},
    rejection::{EndReason, Rejection},
    response::LocalResponse,
    telemetry::Metrics,
    upstream::pool::UpstreamAttempt,
};

/// Those that OpenTelemetry has names for; others could be any number of names.
const KNOWN_METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// The most characters of a path that a span tells, so that spans that wait take no more memory than they may.
const PATH_CHARS: usize = 512;

/// A request that is let through to the upstream.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub permit: Arc<Permit>,
    /// Where its credential was found.
    pub source: Source,
    /// Whether a `Content-Encoding` is lost on the way to whoever asked, as by desktop clients.
    pub drops_coding: bool,
    /// Path and query as the upstream gets them.
    pub target: String,
    /// The origin under which its pages are shown; `None` for an API client.
    pub shown: Option<Origin>,
    /// Whether pages tell it how much time is left, where they can.
    pub gets_notice: bool,
}

/// Where a request goes after its head was judged.
#[derive(Clone, Debug)]
pub enum Target {
    Upstream(Admitted),
    Control,
}

/// The request as it was sent to a server behind, until the head of its answer.
struct Leg {
    since: Instant,
    span: Span,
}

/// A request from its first byte to its last.
pub struct RequestCtx {
    pub request: Option<Arc<Facts>>,
    pub target: Option<Target>,
    /// A word for logs and metrics.
    pub route: &'static str,
    pub method: Method,
    /// Without its query.
    pub path: Arc<str>,
    pub status: Option<StatusCode>,
    pub refused: Option<&'static str>,
    /// What becomes of the answer's body, if it does not pass as it came.
    pub rewriting: Option<Rewriting>,
    /// Which of the upstream's addresses it was sent to.
    pub journey: UpstreamAttempt,
    /// Whether the upstream's answer has begun to come: from then on nothing is sent again.
    pub has_answer: bool,
    /// Bounds on the request's body, once it is let through.
    pub upload: Option<Upload>,
    /// What it is in its trace.
    pub span: Span,
    leg: Option<Leg>,
    /// How long servers behind took to answer, or to fail, in all.
    behind_took: Option<Duration>,
    bytes_in: u64,
    /// Bytes of a body that is sent again which were counted the first time.
    counted_before: u64,
    bytes_out: u64,
    started: Instant,
    /// What this request is called in logs, answers and towards the upstream, by its 32 digits.
    pub id: Uuid,
    metrics: Arc<Metrics>,
    /// Whether another tells of it.
    is_handed_over: bool,
}

impl RequestCtx {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        metrics.open_requests.inc();
        Self {
            request: None,
            target: None,
            route: "none",
            method: Method::default(),
            path: Arc::default(),
            status: None,
            refused: None,
            rewriting: None,
            journey: UpstreamAttempt::default(),
            has_answer: false,
            upload: None,
            span: Span::default(),
            leg: None,
            behind_took: None,
            bytes_in: 0,
            counted_before: 0,
            bytes_out: 0,
            started: Instant::now(),
            id: ids::draw(),
            metrics,
            is_handed_over: false,
        }
    }

    /// Moves the request to where it goes on after Pingora is done with it; what is left here is not told of.
    pub fn hand_over(&mut self) -> Self {
        let mut left = Self::new(Arc::clone(&self.metrics));
        left.metrics.open_requests.dec();
        left.is_handed_over = true;
        mem::replace(self, left)
    }

    /// Its id as it is written everywhere.
    pub fn id_text(&self) -> String {
        self.id.simple().to_string()
    }

    /// What was let through, if it was.
    pub fn admitted(&self) -> Option<&Admitted> {
        match &self.target {
            Some(Target::Upstream(admitted)) => Some(admitted),
            _ => None,
        }
    }

    /// Ends what this request is in its trace, with the facts that the access line has too.
    fn tell_span(&self) {
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
        if let Some(outcome) = self.request.as_ref().and_then(|request| request.looked_up.outcome()) {
            span.note("gateway.grant", outcome);
        }
        if let Some(admitted) = self.admitted() {
            span.note("user.id", admitted.permit.held.user_id.to_string());
            span.note("gateway.token_id", admitted.permit.held.token_id.to_string());
        }
        if let Some(why) = self.refused.or_else(|| self.cut().map(EndReason::as_str)) {
            span.note("gateway.refused", why);
        }
        if self.status.is_none_or(|status| status.is_server_error()) {
            span.failed(self.refused.unwrap_or("no answer"));
        }
        span.end();
    }

    /// Notes an answer of the edge's own, for the access line and the metrics.
    pub fn answered(&mut self, answer: &LocalResponse) {
        self.status = Some(answer.status());
        self.refused = answer.refused();
        if let Some(reason) = answer.refused() {
            self.metrics.refusals.with_label_values(&[reason]).inc();
        }
    }

    fn cut(&self) -> Option<EndReason> {
        self.admitted().and_then(|admitted| admitted.permit.ending())
    }

    /// Begins what this request is in its trace, once its head was read.
    pub fn begin_span(&mut self, head: &RequestHeader, is_trusted: impl FnOnce() -> bool) {
        let lines = head.headers.get_all(trace::HEADER).iter().map(HeaderValue::as_bytes);
        self.span = Span::of_request(lines, is_trusted);
    }

    /// From here on it is another server's turn, which is told by `head` where in the trace it stands.
    pub fn sends(&mut self, head: &mut RequestHeader) -> pingora::Result<()> {
        let span = self.span.question(self.route);
        if let Some(place) = span.traceparent().and_then(|place| HeaderValue::try_from(place).ok()) {
            head.insert_header(trace::HEADER, place)?;
        }
        if span.is_told()
            && let Some(origin) = self.journey.origin()
        {
            span.note("server.address", origin.to_string());
        }
        self.leg = Some(Leg { since: Instant::now(), span });
        Ok(())
    }

    /// The other server's answer began.
    pub fn heard(&mut self, status: StatusCode) {
        if let Some((leg, took)) = self.end_leg() {
            self.metrics.behind.observe(took.as_secs_f64());
            leg.span.note("http.response.status_code", i64::from(status.as_u16()));
        }
    }

    /// It gave none, or none that could be used.
    pub fn unheard(&mut self) {
        if let Some((leg, _)) = self.end_leg() {
            leg.span.failed("no answer");
        }
    }

    fn end_leg(&mut self) -> Option<(Leg, Duration)> {
        let leg = self.leg.take()?;
        let took = leg.since.elapsed();
        *self.behind_took.get_or_insert_default() += took;
        Some((leg, took))
    }

    /// From here on the request is sent once more, from its first byte.
    pub fn begin_again(&mut self) {
        self.unheard();
        self.counted_before = self.bytes_in;
        if let Some(upload) = &mut self.upload {
            upload.begin_again(Instant::now());
        }
    }

    /// Takes in a piece of a body towards the upstream, if it is not too much and not too slow.
    pub fn came_in(&mut self, bytes: u64, is_end: bool) -> Result<(), Rejection> {
        self.count_in(bytes);
        self.upload.as_mut().map_or(Ok(()), |upload| upload.came(bytes, is_end, Instant::now()))
    }

    /// Counts bytes of a body towards the upstream.
    pub fn count_in(&mut self, bytes: u64) {
        let again = bytes.min(self.counted_before);
        self.counted_before -= again;
        let bytes = bytes - again;
        self.bytes_in += bytes;
        if let Some(admitted) = self.admitted() {
            admitted.permit.count_in(bytes);
        }
    }

    /// Rewrites what came of the answer's body, where that is to be, and counts what goes out.
    pub fn pass_out(&mut self, came: Option<Bytes>, is_end: bool) -> pingora::Result<Option<Bytes>> {
        let out = match &mut self.rewriting {
            Some(rewriting) => Some(rewriting.push(came, is_end)?),
            None => came,
        };
        self.count_out(out.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(out)
    }

    /// Counts bytes of a body towards the client.
    pub fn count_out(&mut self, bytes: u64) {
        self.bytes_out += bytes;
        if let Some(admitted) = self.admitted() {
            admitted.permit.count_out(bytes);
        }
    }
}

impl Drop for RequestCtx {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        let took: Duration = self.started.elapsed();
        self.metrics.open_requests.dec();
        self.metrics.duration.observe(took.as_secs_f64());
        self.metrics.bytes_in.inc_by(self.bytes_in);
        self.metrics.bytes_out.inc_by(self.bytes_out);
        if let Some(rewriting) = &self.rewriting {
            rewriting.tell(&self.metrics, &self.id_text());
        }
        let class = match self.status.map(|status| status.as_u16() / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            _ => "none",
        };
        self.metrics.requests.with_label_values(&[self.route, class]).inc();
        let admitted = self.admitted();
        tracing::info!(
            target: "edge_proxy::access",
            request_id = %self.id.simple(),
            client = self.request.as_ref().and_then(|request| request.client).map(tracing::field::display),
            method = self.method.as_str(),
            path = &*self.path,
            route = self.route,
            status = self.status.map(|status| status.as_u16()),
            refused = self.refused,
            cut = self.cut().map(EndReason::as_str),
            grant = self.request.as_ref().and_then(|request| request.looked_up.outcome()),
            user_id = admitted.map(|admitted| tracing::field::display(admitted.permit.held.user_id)),
            token_id = admitted.map(|admitted| tracing::field::display(admitted.permit.held.token_id)),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            behind_ms = self.behind_took.map(milliseconds),
            took_ms = milliseconds(took),
            trace_id = self.span.trace_id().map(tracing::field::display),
        );
        self.tell_span();
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
