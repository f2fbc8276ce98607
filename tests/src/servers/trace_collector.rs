//! A collector of traces, as OTLP describes it (protobuf over HTTP): keeps every span that it is
//! told.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;

use crate::upstreams::small_server::SmallServer;

/// A running collector. It stops when it is dropped.
#[derive(Debug)]
pub struct Collector {
    server: SmallServer,
    told: Arc<Mutex<Vec<Span>>>,
}

/// A span that was told; ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Span {
    /// The program that told it.
    pub service: String,
    pub name: String,
    pub trace_id: String,
    pub id: String,
    /// Empty at the start of a trace.
    pub parent_id: String,
    pub attributes: Vec<(String, String)>,
}

impl Span {
    /// What it says of itself under this name; empty if it says nothing.
    pub fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Collector {
    pub async fn start() -> anyhow::Result<Self> {
        let told = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&told);
        let server = SmallServer::start(move |request| Some(take(request, &kept))).await?;
        Ok(Self { server, told })
    }

    /// What `OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The spans of one trace that were told so far.
    pub fn of_trace(&self, trace_id: &str) -> Vec<Span> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }
}

fn take(request: &Request<Bytes>, told: &Mutex<Vec<Span>>) -> Response<Bytes> {
    let message = ExportTraceServiceRequest::decode(request.body().clone());
    let (Ok(message), "/v1/traces") = (message, request.uri().path()) else {
        let mut refusal = Response::new(Bytes::new());
        *refusal.status_mut() = http::StatusCode::BAD_REQUEST;
        return refusal;
    };
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    for resource in message.resource_spans {
        let facts = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = facts.into_iter().find(|(name, _)| name == "service.name").map(|(_, value)| value);
        let service = service.unwrap_or_default();
        told.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
            service: service.clone(),
            name: span.name,
            trace_id: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            attributes: attributes(span.attributes),
        }));
    }
    Response::new(Bytes::new())
}

fn attributes(told: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |attribute: KeyValue| Some((attribute.key, text(attribute.value?.value?)));
    told.into_iter().filter_map(value).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
