//! The private listener, for operators and their machines: metrics, and whether this edge lives and should get traffic.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use serde_json::json;

use crate::Edge;

/// Serves `/metrics`, `/livez` and `/readyz`.
pub struct Ops {
    edge: Arc<Edge>,
}

impl Ops {
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// What keeps this edge from serving; nothing if it is ready.
    fn unready(&self) -> Vec<&'static str> {
        let edge = &self.edge;
        let reasons = [
            (edge.draining.is_cancelled(), "shutting down"),
            (!edge.is_redis_up(), "the change feed is silent: Redis is down or away"),
            (!edge.is_signature_known(), "other edges do not know the key of this one's assertions yet"),
            (edge.zenzefi.in_use() == 0, "the upstream cannot be reached"),
        ];
        reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
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
                let reasons = self.unready();
                let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
                (status, "application/json", body.to_string())
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
