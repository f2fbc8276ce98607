//! The private listener, for operators and their machines: metrics, and whether this edge lives and
//! should get traffic.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use serde_json::json;

use crate::{edge::Edge, process::readiness};

/// Serves `/metrics`, `/livez` and `/readyz`.
pub struct Ops {
    edge: Arc<Edge>,
}

impl Ops {
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// The figures behind the reasons: seconds since the change feed was sound, and from the
    /// telling of the last change to its being taken in; `null` if it never was.
    fn readiness(&self) -> (StatusCode, String) {
        self.edge.measure();
        let (reasons, metrics) = (readiness::reasons(&self.edge), &self.edge.metrics);
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
