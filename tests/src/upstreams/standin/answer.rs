//! Answers, and the one body type that they all have.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Response<Body>;

/// An answer whose body is held whole; hyper gives it its length.
pub fn of(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    typed(status, media_type, body.boxed_unsync())
}

pub fn ok(media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    of(StatusCode::OK, media_type, body)
}

pub fn json(status: StatusCode, value: &Value) -> Answer {
    of(status, "application/json", value.to_string())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = of(status, "text/plain", "");
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

pub fn not_found() -> Answer {
    of(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "Not found")
}

pub fn bad_request(reason: &'static str) -> Answer {
    of(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", reason)
}

/// An answer whose frames come one by one; an error among them ends the connection, or the HTTP/2
/// stream, abruptly.
pub fn streamed(
    media_type: &'static str,
    frames: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Answer {
    typed(StatusCode::OK, media_type, BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
