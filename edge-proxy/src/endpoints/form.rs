//! What a small request to the edge's own endpoints holds: its method, its sender, its body, its
//! fields; and where a browser goes after it.

use std::time::Duration;

use http::{HeaderMap, Method, header};
use pingora::proxy::Session;

use crate::{
    admission::{facts::Facts, policy},
    rejection::Rejection,
    response::LocalResponse,
};

/// The largest body that an endpoint of ours takes, and how long it may take to arrive.
const BODY_BYTES: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Refuses every other method.
pub fn require(session: &Session, method: &Method, allow: &'static str) -> Result<(), Rejection> {
    if session.req_header().method == *method { Ok(()) } else { Err(Rejection::MethodNotAllowed { allow }) }
}

/// Refuses what a page of another site sends.
pub fn check_cross_site(session: &Session, request: &Facts) -> Result<(), Rejection> {
    let head = session.req_header();
    policy::check_cross_site(&head.method, false, &head.headers, &request.own_origins())
}

/// The whole body, if it is short and arrives in time.
pub async fn read_body(session: &mut Session) -> Result<Vec<u8>, Rejection> {
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = session.read_request_body().await.map_err(|_| Rejection::BrokenBody)? {
            if body.len() + chunk.len() > BODY_BYTES {
                return Err(Rejection::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let read = tokio::time::timeout(BODY_WITHIN, read).await.unwrap_or(Err(Rejection::BodyTimeout));
    if matches!(read, Err(Rejection::BrokenBody | Rejection::BodyTimeout)) {
        // Nobody knows where the next request would begin.
        session.set_keepalive(None);
    }
    read
}

/// The media type of a body, without its parameters.
pub fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// A field of a form or of a query.
pub fn form_field(body: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Where a form or a query leads afterwards.
pub fn next_in(fields: &[u8]) -> String {
    let next = form_field(fields, "next").unwrap_or_default();
    policy::next_path(&next).unwrap_or("/").to_owned()
}

/// Sends a browser to a path of the gateway as it sees it.
pub fn redirect(request: &Facts, path: &str) -> Result<LocalResponse, Rejection> {
    LocalResponse::see_other(&format!("{}{path}", request.shown())).ok_or(Rejection::Fault)
}
