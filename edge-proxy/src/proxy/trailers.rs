//! Requests that announce trailers. Pingora reads a chunked body and forgets what follows it, so
//! such a request is read raw, taken apart here, and put together again for the upstream: body
//! first, then trailers, then the answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::{
    ErrorType,
    http::RequestHeader,
    protocols::http::v1::client::{HttpSession as UpstreamSession, http_req_header_to_wire},
    proxy::Session,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    edge::Edge,
    proxy::{
        context::RequestCtx,
        exchange::{self, Failure},
        headers,
    },
    rejection::Rejection,
};

/// The longest line with a chunk's size, and the longest block of trailers.
const MAX_SIZE_LINE: usize = 256;
const MAX_TRAILERS_BYTES: usize = 16 * 1024;
const MAX_TRAILERS: usize = 64;

/// Whether a request is one for [`run`].
pub fn announces_trailers(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_11
        && head.headers.contains_key(header::TRAILER)
        && head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Passes the request on with its trailers, then the answer. `Err` only while the client can still
/// be answered.
pub async fn run(edge: &Edge, session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    let permit = Arc::clone(&ctx.admitted().ok_or(Rejection::Fault)?.permit);
    let mut stream = exchange::connect(edge, ctx).await?.into_inner();
    let mut head = announce(session.req_header(), edge, ctx)?;
    ctx.sends(&mut head).map_err(|_| Rejection::Fault)?;
    let wire = http_req_header_to_wire(&head).ok_or(Rejection::Fault)?;
    if session.req_header().headers.contains_key(header::EXPECT) {
        session.as_mut().write_continue_response().await.map_err(|_| Rejection::BrokenBody)?;
    }
    read_raw(session.req_header_mut())?;
    permit.sent();
    // The bound on each write: an upstream that takes nothing is as good as silent.
    let written = tokio::time::timeout(edge.upstream.timeout(), stream.write_all(&wire)).await;
    let written = written
        .map_err(|_| Rejection::UpstreamSilent)
        .and_then(|done| done.map_err(|_| Rejection::UpstreamUnreachable));
    written.map_err(|rejection| exchange::broken(ctx, rejection))?;
    let mut body = Chunked::default();
    while !body.is_done() {
        let read = session.read_request_body().await.map_err(|error| match error.etype() {
            ErrorType::ReadTimedout => Rejection::BodyTimeout,
            _ => Rejection::BrokenBody,
        })?;
        let out = body.feed(&read.ok_or(Rejection::BrokenBody)?)?;
        ctx.came_in(body.take_count(), body.is_done())?;
        if write(&mut stream, &out, edge).await.is_err() {
            // An upstream that reads no further may have said why.
            break;
        }
    }
    let mut upstream = UpstreamSession::new(stream);
    exchange::answer(edge, session, &mut upstream, ctx).await?;
    exchange::pass_body(edge, session, &mut upstream, ctx).await
}

/// The head for the upstream: chunked, and announcing the same trailers.
fn announce(head: &RequestHeader, edge: &Edge, ctx: &RequestCtx) -> Result<RequestHeader, Rejection> {
    let (Some(request), Some(admitted), Some(origin)) = (&ctx.facts, ctx.admitted(), ctx.attempt.origin()) else {
        return Err(Rejection::Fault);
    };
    let announced: Vec<HeaderValue> = head.headers.get_all(header::TRAILER).iter().cloned().collect();
    let mut head = head.clone();
    let build = |head: &mut RequestHeader| {
        headers::strip_hop_by_hop(head);
        head.remove_header(&header::EXPECT);
        head.remove_header(&header::CONTENT_LENGTH);
        headers::to_upstream(head, request, admitted, origin, edge)?;
        head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        announced.iter().try_for_each(|line| head.append_header(header::TRAILER, line).map(|_| ()))
    };
    build(&mut head).map_err(|_| Rejection::Fault)?;
    Ok(head)
}

/// Makes Pingora hand out the body as it stands on the wire, chunk sizes and all: as if it had a
/// length that is never reached. Such a connection is not used again.
fn read_raw(head: &mut RequestHeader) -> Result<(), Rejection> {
    head.remove_header(&header::TRANSFER_ENCODING);
    head.insert_header(header::CONTENT_LENGTH, i64::MAX.to_string()).map_err(|_| Rejection::Fault)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], edge: &Edge) -> Result<(), Rejection> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let written = tokio::time::timeout(edge.upstream.timeout(), written).await;
    written.map_err(|_| Rejection::UpstreamSilent)?.map_err(|_| Rejection::UpstreamUnreachable)
}

/// Takes a chunked body apart (RFC 9112 §7.1) and puts it together again without what must not
/// pass: chunk extensions, and trailers that [`headers::may_trail`] refuses. Holds back no more
/// than a size line or the trailers.
#[derive(Default)]
struct Chunked {
    held: BytesMut,
    state: State,
    counted: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

impl Chunked {
    /// Takes in the next bytes from the wire, gives back the next bytes for it.
    fn feed(&mut self, bytes: &Bytes) -> Result<Vec<u8>, Rejection> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(bytes.len() + 32);
        while self.step(&mut out)? {}
        Ok(out)
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of body that came since the last call.
    fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.counted)
    }

    /// One step; `false` if it needs more bytes.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, Rejection> {
        match self.state {
            State::Size => match httparse::parse_chunk_size(&self.held) {
                Ok(httparse::Status::Complete((length, size))) => {
                    let _ = self.held.split_to(length);
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                    Ok(true)
                }
                Ok(httparse::Status::Partial) if self.held.len() <= MAX_SIZE_LINE => Ok(false),
                _ => Err(Rejection::BrokenBody),
            },
            State::Data(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(self.held.len());
                if taken == 0 {
                    return Ok(false);
                }
                out.extend_from_slice(format!("{taken:x}\r\n").as_bytes());
                out.extend_from_slice(&self.held.split_to(taken));
                out.extend_from_slice(b"\r\n");
                self.counted += taken as u64;
                let left = left - taken as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                Ok(true)
            }
            State::DataEnd => match self.held.get(..2) {
                None => Ok(false),
                Some(b"\r\n") => {
                    let _ = self.held.split_to(2);
                    self.state = State::Size;
                    Ok(true)
                }
                Some(_) => Err(Rejection::BrokenBody),
            },
            State::Trailers => {
                let Some(trailers) = parse_trailers(&self.held)? else {
                    return if self.held.len() <= MAX_TRAILERS_BYTES { Ok(false) } else { Err(Rejection::BrokenBody) };
                };
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|(name, _)| headers::may_trail(name)) {
                    out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
                }
                out.extend_from_slice(b"\r\n");
                self.state = State::Done;
                Ok(false)
            }
            State::Done => Ok(false),
        }
    }
}

/// The trailers and the empty line after them; `None` until all of it is there.
fn parse_trailers(bytes: &[u8]) -> Result<Option<HeaderMap>, Rejection> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let fields = match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Rejection::BrokenBody),
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Rejection::BrokenBody)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Rejection::BrokenBody)?;
        trailers.append(name, value);
    }
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(wire: &[u8], step: usize) -> Result<(Vec<u8>, bool), Rejection> {
        let mut chunked = Chunked::default();
        let mut out = Vec::new();
        for piece in wire.chunks(step) {
            out.extend(chunked.feed(&Bytes::copy_from_slice(piece))?);
        }
        Ok((out, chunked.is_done()))
    }

    #[test]
    fn body_and_trailers_come_out_whole_however_they_are_split() {
        let wire = b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 42\r\nHost: evil\r\nx-user-id: root\r\n\r\n";
        for step in 1..wire.len() {
            let (out, done) = fed(wire, step).expect("well framed");
            let out = String::from_utf8(out).expect("text");
            assert!(done && out.ends_with("0\r\nx-sum: 42\r\n\r\n"), "step {step}: {out:?}");
            let data: String = out.split("\r\n").skip(1).step_by(2).take_while(|line| !line.contains(':')).collect();
            assert_eq!(data, "hello!", "step {step}");
        }
    }

    #[test]
    fn what_is_framed_wrongly_is_refused() {
        for wire in
            [&b"5\r\nhelloXX0\r\n\r\n"[..], b"zz\r\n", b"-1\r\n", b"0\r\nbad name: x\r\n\r\n", b"fffffffffffffffff\r\n"]
        {
            assert!(fed(wire, 1).is_err(), "{}", wire.escape_ascii());
        }
        let endless = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(MAX_TRAILERS_BYTES / 4)].concat();
        assert!(fed(&endless, 1000).is_err());
    }
}
