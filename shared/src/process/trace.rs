//! Traces: what a request did on either plane and in Redis and Postgres, told to a collector by
//! OTLP (protobuf over HTTP) from a thread of its own. Where no collector is named every [`Span`]
//! is empty and costs nothing, and a `traceparent` passes as any header does.
//!
//! Never in a span: queries of addresses, headers, bodies, credentials, values of SQL statements.

use std::{
    borrow::Cow,
    fmt::Display,
    future::Future,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use clap::Args;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
        TracerProvider,
    },
};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use url::Url;
use uuid::Uuid;

/// The header that says where in a trace a request stands (W3C Trace Context).
pub const HEADER: &str = "traceparent";

/// How many spans wait for the collector at most; what comes then is dropped and counted in the
/// log.
const QUEUED: usize = 8_192;
const TOLD_AT_ONCE: usize = 512;
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long a batch may take to be told.
pub const TOLD_WITHIN: Duration = Duration::from_secs(5);

static TELLING: OnceLock<Telling> = OnceLock::new();

struct Telling {
    tracer: SdkTracer,
    share: f64,
}

impl Telling {
    /// The same place, told or not as a draw decides.
    fn drawn(&self, place: &SpanContext) -> SpanContext {
        let (draw, _) = Uuid::new_v4().as_u64_pair();
        let is_told = (draw as f64) < self.share * u64::MAX as f64;
        let flags = if is_told { TraceFlags::SAMPLED } else { TraceFlags::default() };
        SpanContext::new(place.trace_id(), place.span_id(), flags, true, TraceState::default())
    }
}

/// Where traces are told, and how many.
#[derive(Args, Clone, Debug)]
pub struct TraceOptions {
    /// URL of the collector that traces are sent to by OTLP over HTTP, such as
    /// http://localhost:4318; no traces if not set
    #[arg(long, env = "OTLP_ENDPOINT", value_parser = endpoint)]
    pub otlp_endpoint: Option<Url>,

    /// Share of requests that are traced, from 0 to 1; for a request from a trusted proxy the
    /// proxy's own decision counts
    #[arg(long, env = "OTLP_SAMPLE_RATIO", default_value_t = 1.0, value_parser = ratio)]
    pub otlp_sample_ratio: f64,
}

fn endpoint(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address such as http://localhost:4318")?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_http && is_plain { Ok(url) } else { Err("must be an http or https address without credentials or query") }
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("must be a number from 0 to 1")
}

/// Tells spans until it is stopped.
#[must_use = "spans that wait are lost unless it is stopped"]
pub struct Export(SdkTracerProvider);

impl Export {
    /// Starts telling the spans of this process, once, if there is whom to tell; must be called
    /// outside of asynchronous code. `client` is used from a thread of its own, and must give up a
    /// request after [`TOLD_WITHIN`].
    pub fn start<Client: HttpClient + 'static, Failure: Display>(
        service: &'static str,
        options: &TraceOptions,
        client: impl FnOnce() -> Result<Client, Failure>,
    ) -> Result<Option<Self>, String> {
        let Some(endpoint) = &options.otlp_endpoint else { return Ok(None) };
        let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client().map_err(|error| error.to_string())?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces)
            .with_timeout(TOLD_WITHIN)
            .build()
            .map_err(|error| error.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUED)
            .with_max_export_batch_size(TOLD_AT_ONCE)
            .with_scheduled_delay(TOLD_EVERY)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.otlp_sample_ratio))))
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        let telling = Telling { tracer: provider.tracer(service), share: options.otlp_sample_ratio };
        TELLING.set(telling).map_err(|_| "traces are told already".to_owned())?;
        Ok(Some(Self(provider)))
    }

    /// Tells what waits, for a bounded time.
    pub fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(TOLD_WITHIN) {
            tracing::warn!(%error, "spans were not told");
        }
    }
}

/// A piece of work within a trace. It ends with [`Span::end`], or else when it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// A request that came in, at the place in a trace that its lines of [`HEADER`] tell; at the
    /// start of one where they tell none, or several. Whether it is told is for `is_trusted`
    /// callers to say; of all others a share is drawn, whatever they call their traces.
    pub fn of_request<'a>(lines: impl IntoIterator<Item = &'a [u8]>, is_trusted: impl FnOnce() -> bool) -> Self {
        let Some(telling) = TELLING.get() else { return Self(None) };
        let mut lines = lines.into_iter();
        let line = lines.next().filter(|_| lines.next().is_none());
        let place = line.and_then(|line| parse(str::from_utf8(line).ok()?));
        let place = place.map(|place| if is_trusted() { place } else { telling.drawn(&place) });
        let parent = place.map(|place| Context::new().with_remote_span_context(place));
        Self::start("request", SpanKind::Server, &parent.unwrap_or_default(), SystemTime::now())
    }

    /// Work on what somebody left to be done, at the place in a trace that it was left with; empty
    /// where there is none.
    pub fn of_message(name: &'static str, traceparent: Option<&str>) -> Self {
        match traceparent.and_then(parse) {
            Some(place) => {
                let parent = Context::new().with_remote_span_context(place);
                Self::start(name, SpanKind::Consumer, &parent, SystemTime::now())
            }
            None => Self(None),
        }
    }

    /// A question to another server, as part of this work.
    pub fn question(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.question_since(name, SystemTime::now())
    }

    /// The same, asked at an earlier time.
    pub fn question_since(&self, name: impl Into<Cow<'static, str>>, since: SystemTime) -> Self {
        match &self.0 {
            Some(context) => Self::start(name, SpanKind::Client, context, since),
            None => Self(None),
        }
    }

    fn start(name: impl Into<Cow<'static, str>>, kind: SpanKind, parent: &Context, since: SystemTime) -> Self {
        let Some(Telling { tracer, .. }) = TELLING.get() else { return Self(None) };
        let span = tracer.span_builder(name).with_kind(kind).with_start_time(since);
        let span = span.start_with_context(tracer, parent);
        Self(Some(parent.with_span(span)))
    }

    /// The one around the code that runs now; see [`Span::around`].
    pub fn current() -> Self {
        if TELLING.get().is_none() {
            return Self(None);
        }
        Self(Context::map_current(|context| context.has_active_span().then(|| context.clone())))
    }

    /// Runs `work` with this span around it.
    pub async fn around<Work: Future>(&self, work: Work) -> Work::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Names the work, once it is known what it is.
    pub fn rename(&self, name: String) {
        if let Some(context) = &self.0 {
            context.span().update_name(name);
        }
    }

    /// Adds a fact, named as OpenTelemetry names it.
    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Whether facts that are noted are told.
    pub fn is_told(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// The work did not come to what it should.
    pub fn failed(&self, why: &'static str) {
        self.note("error.type", why);
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(why));
        }
    }

    /// What was asked was answered so.
    pub fn answered<T, E>(&self, outcome: &Result<T, E>) {
        if outcome.is_err() {
            self.failed("failed");
        }
        self.end();
    }

    /// The work is done.
    pub fn end(&self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    /// The `traceparent` for a program that does a part of the work.
    pub fn traceparent(&self) -> Option<String> {
        let place = self.0.as_ref()?.span().span_context().clone();
        Some(format!("00-{}-{}-{:02x}", place.trace_id(), place.span_id(), place.trace_flags().to_u8()))
    }

    /// 32 hexadecimal digits, for logs.
    pub fn trace_id(&self) -> Option<TraceId> {
        Some(self.0.as_ref()?.span().span_context().trace_id())
    }
}

/// Asks Redis or Postgres a question as part of the work around it; `name` says which.
pub async fn ask<T, E>(
    system: &'static str,
    name: &'static str,
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = Span::current().question(name);
    span.note("db.system.name", system);
    let outcome = question.await;
    span.answered(&outcome);
    outcome
}

/// Reads a `traceparent` of version 00, or what a later version has in common with it (W3C Trace
/// Context §3.2).
fn parse(text: &str) -> Option<SpanContext> {
    let is_lower_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = [version, trace, span, flags].map(str::len);
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    if sizes != [2, 32, 16, 2] || !is_known || ![version, trace, span, flags].into_iter().all(is_lower_hex) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let place = SpanContext::new(trace, span, flags, true, TraceState::default());
    place.is_valid().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_place_in_a_trace_is_read_where_it_is_well_formed() {
        let place = parse(GOOD).expect("the example of the standard");
        assert_eq!(place.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(place.span_id().to_string(), "b7ad6b7169203331");
        assert!(place.is_sampled() && place.is_remote());
        assert!(parse(&format!("cc{}-what-the-future-brings", &GOOD[2..])).is_some());
    }

    #[test]
    fn what_is_malformed_starts_a_trace_of_its_own() {
        let bad = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-001",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}",
        ];
        for text in bad {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_kept() {
        let span = Span::of_request([GOOD.as_bytes()], || true);
        assert!(span.traceparent().is_none() && span.trace_id().is_none() && !span.is_told());
    }
}
