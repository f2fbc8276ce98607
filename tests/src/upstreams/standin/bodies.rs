//! Bodies that are hard on a proxy: long, slow, compressed, cut short, with trailers, never ending.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    answer::{self, Answer},
    asked::{Origin, Query},
    coding::{self, Encoder, IDENTITY},
    seen::Counted,
};

const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum-sha256");
const BLOCK_BYTES: u64 = 64 * 1024;
/// The longest that `/slow` and a tick wait.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

const CUT_AFTER: Duration = Duration::from_millis(200);

/// Content of a given length, the same at each call: blocks of noise, each stamped with its number,
/// so that one lost, doubled or out of order changes the checksum.
#[derive(Clone)]
pub struct Content {
    noise: Bytes,
    next: u64,
    left: u64,
}

impl Content {
    pub fn new(bytes: u64) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let noise = std::iter::repeat_with(|| {
            // xorshift64 (Marsaglia, 2003)
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let words = usize::try_from(BLOCK_BYTES / 8).expect("a block fits memory");
        Self { noise: noise.take(words).flatten().collect(), next: 0, left: bytes }
    }
}

impl Iterator for Content {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut block = self.noise.to_vec();
        block[..8].copy_from_slice(&self.next.to_le_bytes());
        block.truncate(usize::try_from(self.left.min(BLOCK_BYTES)).expect("a block fits memory"));
        self.next += 1;
        self.left -= block.len() as u64;
        Some(block.into())
    }
}

/// The SHA-256, in hexadecimal, of [`Content`] of that length.
pub fn checksum(bytes: u64) -> String {
    let mut hasher = Sha256::new();
    Content::new(bytes).for_each(|block| hasher.update(&block));
    hex(hasher)
}

/// Checksums by length, since that of a long download takes seconds.
#[derive(Debug, Default)]
pub struct Checksums(Mutex<BTreeMap<u64, String>>);

impl Checksums {
    const MOST: usize = 100;

    async fn of(&self, bytes: u64) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&bytes).cloned();
        if known.is_some() {
            return known;
        }
        let computed = tokio::task::spawn_blocking(move || checksum(bytes)).await.ok()?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < Self::MOST {
            known.insert(bytes, computed.clone());
        }
        Some(computed)
    }
}

pub async fn download(checksums: &Checksums, bytes: &str, head_only: bool) -> Answer {
    let Ok(bytes) = bytes.parse::<u64>() else { return answer::bad_request("no length") };
    let Some(checksum) = checksums.of(bytes).await else {
        return answer::empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let content = Content::new(if head_only { 0 } else { bytes });
    let mut answer =
        answer::streamed("application/octet-stream", stream::iter(content.map(|block| Ok(Frame::data(block)))));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(CHECKSUM, HeaderValue::from_str(&checksum).expect("hexadecimal digits"));
    answer
}

pub async fn upload(mut body: Counted) -> Answer {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return answer::bad_request("cut short") };
        if let Some(block) = frame.data_ref() {
            hasher.update(block);
            bytes += block.len() as u64;
        }
    }
    answer::json(StatusCode::OK, &json!({ "bytes": bytes, "sha256": hex(hasher) }))
}

pub async fn slow(milliseconds: &str) -> Answer {
    let Ok(milliseconds) = milliseconds.parse() else { return answer::bad_request("no duration") };
    tokio::time::sleep(Duration::from_millis(milliseconds).min(LONGEST_WAIT)).await;
    answer::json(StatusCode::OK, &json!({ "slept_ms": milliseconds }))
}

/// Announces twice what it sends, then ends the connection, or resets the HTTP/2 stream: a while
/// later, so that the reset does not overtake what was sent.
pub fn abort(query: &Query<'_>) -> Answer {
    let after = query.number("after").unwrap_or(1024).min(BLOCK_BYTES * 1024);
    let sent = Content::new(after).map(|block| Ok(Frame::data(block)));
    let cut = stream::once(async {
        tokio::time::sleep(CUT_AFTER).await;
        Err(io::Error::other("cut short on purpose"))
    });
    let mut answer = answer::streamed("application/octet-stream", stream::iter(sent).chain(cut));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(after * 2));
    answer
}

/// Sends that much and then nothing, neither more nor an end.
pub fn stall(query: &Query<'_>) -> Answer {
    let after = query.number("after").unwrap_or(1024).min(BLOCK_BYTES * 1024);
    let sent = Content::new(after).map(|block| Ok(Frame::data(block)));
    answer::streamed("application/octet-stream", stream::iter(sent).chain(stream::pending()))
}

pub fn trailers() -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("after the body"));
    trailers.insert(CHECKSUM, HeaderValue::from_str(&hex(Sha256::new_with_prefix("one two three"))).expect("digits"));
    let chunks = ["one ", "two ", "three"].map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))));
    let frames = chunks.into_iter().chain([Ok(Frame::trailers(trailers))]);
    let mut answer = answer::streamed("text/plain; charset=utf-8", stream::iter(frames));
    answer.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-trailer, x-checksum-sha256"));
    answer
}

/// Server-sent events that name their server, the first at once; encoded where the query has a
/// `coding`.
pub fn ticks(query: &Query<'_>, origin: &Origin) -> Answer {
    let every = tick_interval(query);
    let count = query.number("count").unwrap_or(u64::MAX);
    let coding = query.text("coding").unwrap_or_else(|| IDENTITY.to_owned());
    let Some(encoder) = Encoder::named(&coding) else { return answer::bad_request("no such coding") };
    let from = origin.url("/sse");
    let events = stream::unfold((1, Some(encoder)), move |(tick, encoder)| {
        let event = format!("id: {tick}\ndata: {}\n\n", json!({ "tick": tick, "from": from }));
        async move {
            let mut encoder = encoder?;
            if tick > count {
                return Some((encoder.end(), (tick, None)));
            }
            if tick > 1 {
                tokio::time::sleep(every).await;
            }
            Some((encoder.push(event.as_bytes()), (tick + 1, Some(encoder))))
        }
    });
    let frames = events.map(|piece| piece.map(|piece| Frame::data(piece.into())));
    let mut answer = answer::streamed("text/event-stream", frames);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    coding::announce(answer.headers_mut(), &coding);
    answer
}

/// How long from one tick to the next; a second unless the query says otherwise.
pub fn tick_interval(query: &Query<'_>) -> Duration {
    Duration::from_millis(query.number("every_ms").unwrap_or(1000).max(1)).min(LONGEST_WAIT)
}

/// A page in that coding where the request accepts it (or says nothing, or the query has `force`),
/// else as it is.
pub fn compressed(coding: &str, headers: &HeaderMap, query: &Query<'_>, origin: &Origin) -> Answer {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let is_wanted = query.text("force").is_some() || accepted.is_none_or(|accepted| accepts(&accepted, coding));
    let page = format!(
        "<!doctype html><title>{coding}</title>{}<a href=\"{}\">absolute</a>",
        "<p>Compressed text, root-relative: <a href=\"/page\">page</a></p>\n".repeat(200),
        origin.url("/page")
    );
    if !is_wanted {
        return answer::ok("text/html; charset=utf-8", page);
    }
    let Some(Ok(encoded)) = Encoder::named(coding).map(|encoder| encoder.whole(page.as_bytes())) else {
        return answer::not_found();
    };
    let mut answer = answer::ok("text/html; charset=utf-8", encoded);
    coding::announce(answer.headers_mut(), coding);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer
}

fn accepts(accept_encoding: &str, coding: &str) -> bool {
    accept_encoding.split(',').any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        [coding, "*"].contains(&name.trim()) && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
