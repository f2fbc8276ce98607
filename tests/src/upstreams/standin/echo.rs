//! `/echo`: a request as it was received, so that a test can compare it with what was sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, request::Parts};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::{
    answer::{self, Answer},
    asked::Scheme,
    seen::Counted,
};

/// The longest body that is sent back.
const LONGEST_BODY: usize = 8 * 1024 * 1024;

/// `{method, scheme, version, authority, path, query, headers, body, body_base64, body_bytes,
/// trailers}`: path and query raw, headers and trailers as pairs in order, `body` where it is text.
pub async fn answer(scheme: Scheme, head: &Parts, body: Counted) -> Answer {
    let Ok(collected) = Limited::new(body, LONGEST_BODY).collect().await else {
        return answer::of(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain; charset=utf-8",
            "Too long to echo, or cut short",
        );
    };
    let trailers = collected.trailers().map(pairs).unwrap_or_default();
    let body = collected.to_bytes();
    let echo = json!({
        "method": head.method.as_str(),
        "scheme": scheme.as_str(),
        "version": format!("{:?}", head.version),
        "authority": head.uri.authority().map(ToString::to_string),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": pairs(&head.headers),
        "body": std::str::from_utf8(&body).ok(),
        "body_base64": STANDARD.encode(&body),
        "body_bytes": body.len(),
        "trailers": trailers,
    });
    answer::json(StatusCode::OK, &echo)
}

fn pairs(headers: &HeaderMap) -> Vec<Value> {
    let lossy = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| json!([name.as_str(), lossy(value)])).collect()
}
