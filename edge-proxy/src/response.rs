//! Every answer that does not come from the upstream: refusals, faults, and what the edge's own
//! endpoints say. Nothing else writes one.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::{http::ResponseHeader, proxy::Session};
use serde_json::json;

use crate::{
    origin::Origin,
    pages::{Page, assets::Asset},
    rejection::Rejection,
};

/// What a page of ours may load and do: its own stylesheet, its icon and its own form.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// For how long what never changes is kept: a year, which is as good as for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// How much of a request's body is read away so that the connection can be kept.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_FOR: Duration = Duration::from_secs(2);
/// Seconds after which a client may try again when the edge cannot say.
const RETRY_AFTER: &str = "1";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer of our own.
pub struct LocalResponse {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// Whether the connection goes with it (HTTP/1.1).
    closes: bool,
    /// Why it refuses, if it does.
    refused: Option<&'static str>,
}

impl LocalResponse {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { status, headers, body: body.into(), closes: false, refused: None }
    }

    /// A JSON document.
    pub fn json(body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("an answer of our own serialises");
        Self::new(StatusCode::OK, "application/json", body)
    }

    /// A line of text.
    pub fn text(body: String) -> Self {
        Self::new(StatusCode::OK, "text/plain; charset=utf-8", body)
    }

    /// A refusal or a fault as `application/problem+json` (RFC 9457).
    pub fn problem(rejection: &Rejection) -> Self {
        let status = rejection.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": rejection.detail(),
        });
        let answer = Self::new(status, "application/problem+json", body.to_string());
        answer.marked_for(rejection)
    }

    /// A page, with the status of what it tells of; it takes its stylesheet and icon from its own
    /// origin, or from this one.
    pub fn page(rejection: Option<&Rejection>, page: Page, styled_by: Option<&Origin>) -> Self {
        let status = rejection.map_or(StatusCode::OK, Rejection::status);
        let policy = match styled_by {
            None => HeaderValue::from_static(PAGE_POLICY),
            Some(origin) => HeaderValue::try_from(PAGE_POLICY.replacen("'self'", &origin.to_string(), 2))
                .expect("an origin is visible ASCII"),
        };
        let mut answer = Self::new(status, "text/html; charset=utf-8", page.html)
            .with(header::CONTENT_SECURITY_POLICY, policy)
            // The form's own request must keep its Origin, which `no-referrer` would turn into
            // `null`.
            .with(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if let Some(after) = page.again_after {
            // The same as `<meta http-equiv="refresh">`, which has no place among what a page says.
            answer = answer.with(header::REFRESH, HeaderValue::from(after.as_secs()));
        }
        match rejection {
            Some(rejection) => answer.marked_for(rejection),
            None => answer,
        }
    }

    /// Public keys as a JWK set (RFC 7517), which may be kept for so long.
    pub fn key_set(keys: Bytes, lasts: Duration) -> Self {
        let cached = format!("public, max-age={}", lasts.as_secs());
        let cached = HeaderValue::try_from(cached).expect("a number is visible ASCII");
        Self::new(StatusCode::OK, "application/jwk-set+json", keys).cached(cached)
    }

    /// What pages load; by an address that names its content it never changes.
    pub fn asset(asset: &Asset, is_named: bool) -> Self {
        let cached = HeaderValue::from_static(if is_named { FOR_EVER } else { "no-cache" });
        Self::new(StatusCode::OK, asset.content_type, asset.body.clone()).cached(cached)
    }

    fn cached(mut self, how: HeaderValue) -> Self {
        self.headers.retain(|(name, _)| *name != header::CACHE_CONTROL);
        self.with(header::CACHE_CONTROL, how)
    }

    /// A redirect to be followed with a GET. `None` if the target cannot stand in a header.
    pub fn see_other(target: &str) -> Option<Self> {
        Self::redirect(StatusCode::SEE_OTHER, target)
    }

    /// A redirect that keeps the method.
    pub fn temporary_redirect(target: &str) -> Option<Self> {
        Self::redirect(StatusCode::TEMPORARY_REDIRECT, target)
    }

    /// A redirect that keeps the method and may be remembered.
    pub fn permanent_redirect(target: &str) -> Option<Self> {
        Self::redirect(StatusCode::PERMANENT_REDIRECT, target)
    }

    fn redirect(status: StatusCode, target: &str) -> Option<Self> {
        let target = HeaderValue::from_bytes(target.as_bytes()).ok()?;
        let answer = Self::new(status, "text/plain; charset=utf-8", Bytes::new());
        // The page that comes next must not learn a URL that held a secret.
        Some(
            answer
                .with(header::LOCATION, target)
                .with(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        )
    }

    /// Adds a header line.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn marked_for(mut self, rejection: &Rejection) -> Self {
        self.refused = Some(rejection.reason());
        match rejection {
            // A pooled client must not turn into a stream of errors.
            _ if rejection.status() == StatusCode::UNAUTHORIZED => self.closes = true,
            Rejection::Unavailable | Rejection::TooManyOpen | Rejection::Full => {
                self = self.with(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            Rejection::Throttled { retry_after } | Rejection::TooManyUnknown { retry_after } => {
                self = self.with(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs() + 1));
            }
            Rejection::TooManyRequests(exceeded) => {
                for (name, value) in exceeded.headers() {
                    self = self.with(HeaderName::from_static(name), HeaderValue::from(value));
                }
            }
            // RFC 9110 §15.5.22.
            Rejection::PlainHttp => self = self.with(header::UPGRADE, HeaderValue::from_static("TLS/1.2, HTTP/1.1")),
            Rejection::MethodNotAllowed { allow } => self = self.with(header::ALLOW, HeaderValue::from_static(allow)),
            _ => {}
        }
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why it refuses, if it does: a word for logs and metrics.
    pub fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// The answer as it goes over the wire to a client of HTTP/1 that gets no other on its
    /// connection.
    pub fn last_on_wire(self, request_id: &str) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut wire = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Length: {}\r\nConnection: close\r\n{REQUEST_ID}: {request_id}\r\n",
            self.status.as_u16(),
            self.body.len()
        )
        .into_bytes();
        for (name, value) in &self.headers {
            wire.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&self.body);
        wire
    }

    /// Sends it. The rest of the request's body is read away first, within bounds, so that the
    /// connection can be kept, or closed without taking the answer back.
    pub async fn send(self, session: &mut Session, request_id: &str) -> pingora::Result<()> {
        let is_head = session.req_header().method == http::Method::HEAD;
        drain(session).await;
        if self.closes && session.req_header().version <= Version::HTTP_11 {
            session.set_keepalive(None);
        }
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 2))?;
        for (name, value) in self.headers {
            head.append_header(name, value)?;
        }
        head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        head.insert_header(REQUEST_ID, request_id)?;
        let has_body = !is_head && !self.body.is_empty();
        session.write_response_header(Box::new(head), !has_body).await?;
        if has_body {
            session.write_response_body(Some(self.body), true).await?;
        }
        Ok(())
    }
}

/// Reads away a small rest of a request's body; what is longer, or slow, costs the connection.
async fn drain(session: &mut Session) {
    if session.req_header().headers.contains_key(header::EXPECT) {
        // Its body is still with the client, which this answer tells to keep it.
        session.set_keepalive(None);
        return;
    }
    let read_away = async {
        let mut read = 0;
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) if read + chunk.len() <= DRAIN_BYTES => read += chunk.len(),
                Ok(None) => return true,
                // What is framed wrongly has no end from which to read on.
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    };
    if !matches!(tokio::time::timeout(DRAIN_FOR, read_away).await, Ok(true)) {
        session.set_keepalive(None);
    }
}

/// A time as answers write it.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
