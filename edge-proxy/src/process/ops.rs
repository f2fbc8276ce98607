//! The private listener, for operators and their machines: metrics, and whether this edge lives and should get traffic.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use serde_json::json;

use crate::edge::Edge;

/// Serves `/metrics`, `/livez` and `/readyz`.
pub struct Ops {
    edge: Arc<Edge>,
}

impl Ops {
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// What keeps this edge from serving; nothing if it is ready. Not that it has no certificate of ACME yet: who is sent nothing for that
    /// reason would not be asked by the authority either, and never have one.
    fn unready(&self) -> Vec<&'static str> {
        let edge = &self.edge;
        let is_draining = edge.draining.is_cancelled().then_some("shutting down");
        let knows_no_key =
            (!edge.is_signature_known()).then_some("other edges do not know the key of this one's assertions yet");
        let is_alone = (edge.zenzefi.in_use() == 0).then_some("the upstream cannot be reached");
        [is_draining, edge.why_deaf(), knows_no_key, is_alone].into_iter().flatten().collect()
    }

    /// The figures behind the reasons: seconds since the change feed was sound, and from the telling of the last change to its being
    /// taken in; `null` if it never was.
    fn readiness(&self) -> (StatusCode, String) {
        self.edge.measure();
        let (reasons, metrics) = (self.unready(), &self.edge.metrics);
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let feed = json!({ "silence_seconds": metrics.feed_silence.get(), "lag_seconds": metrics.feed_lag.get() });
        (status, json!({ "ready": reasons.is_empty(), "reasons": reasons, "feed": feed }).to_string())
    }
}

#[async_trait]
impl ServeHttp for Ops {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (status, content_type, body) = match session.req_header().uri.path() {
            "/metrics" => {
                self.edge.measure();
                (StatusCode::OK, "text/plain; version=0.0.4", self.edge.metrics.render())
            }
            "/livez" => (StatusCode::OK, "application/json", json!({ "status": "ok" }).to_string()),
            "/readyz" => {
                let (status, body) = self.readiness();
                (status, "application/json", body)
            }
            _ => (StatusCode::NOT_FOUND, "application/json", json!({ "detail": "Not found" }).to_string()),
        };
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, body.len())
            .body(body.into_bytes())
            .expect("status and headers of our own are valid")
    }
}
