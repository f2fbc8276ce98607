//! `/text`: text that names its own origin in every spelling, of any size, type and coding, with
//! all that a server says of a body; and `/bomb`, which is small only until it is decoded.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use hyper::body::Frame;
use sha2::{Digest, Sha256};

use super::{
    answer::{self, Answer},
    asked::{Origin, Query},
    coding::{self, Encoder, IDENTITY},
};

const MIB: u64 = 1024 * 1024;
/// Up to here a body is held whole, so that ranges and digests of it can be told.
const HELD_BYTES: u64 = MIB;
const PARAGRAPHS_A_BLOCK: usize = 64;
const LARGEST_BOMB: u64 = 1024;

/// What `/text?bytes=…` of the stand-in at `origin` says, had it the origin `named`: whole
/// paragraphs, at least this number of bytes of them, and the origin once more as the very last
/// that there is.
pub fn text(named: &str, origin: &str, bytes: u64) -> String {
    let count = usize::try_from(paragraphs(origin, bytes)).expect("a text that fits memory");
    format!("{}{named}", paragraph(named).repeat(count))
}

/// How many paragraphs have that many bytes.
fn paragraphs(origin: &str, bytes: u64) -> u64 {
    bytes.div_ceil(paragraph(origin).len() as u64)
}

/// Names an origin in every spelling that pages have, amid words.
fn paragraph(origin: &str) -> String {
    let (scheme, authority) = origin.split_once("://").expect("an origin");
    let (socket, encoded) = (scheme.replace("http", "ws"), authority.replace(':', "%3A"));
    let words = "Certificates are listed here, and what is written about them names no server at all.\n".repeat(6);
    format!(
        "<p><a href=\"{origin}/page\">absolute</a> <img src=\"//{authority}/assets/badge.png\"></p>\n\
         {{\"socket\": \"{socket}://{authority}/ws/info\", \"escaped\": \"{scheme}:\\/\\/{authority}\\/page\"}}\n\
         {{\"unicode\": \"{scheme}:\\u002f\\u002f{authority}\\u002fpage\"}}\n\
         <a href=\"/login?next={scheme}%3A%2F%2F{encoded}%2Fpage\">{scheme}:&#x2f;&#x2f;{authority}&#x2f;page</a>\n\
         a{{background:url({origin}/assets/badge.png)}} and names {origin}, among other words\n{words}"
    )
}

/// What a query of `/text` asks for.
struct Asked<'a> {
    head: &'a Parts,
    origin: String,
    media_type: String,
    coding: String,
    /// How the body is spoilt, framed as if it were whole: `cut` or `corrupt`.
    broken: Option<String>,
    has_trailers: bool,
    paragraphs: u64,
}

/// Answers `/text?type=…&coding=…&bytes=…&broken=cut|corrupt&trailers=1&header=Name:Value`. It is
/// encoded as the query says, whatever the request accepts; with a `type` of `charset=utf-16` it is
/// UTF-16.
pub fn answer(head: &Parts, query: &Query<'_>, origin: &Origin) -> Answer {
    let origin = origin.url("");
    let asked = Asked {
        head,
        media_type: query.text("type").unwrap_or_else(|| "text/html; charset=utf-8".to_owned()),
        coding: query.text("coding").unwrap_or_else(|| IDENTITY.to_owned()),
        broken: query.text("broken"),
        has_trailers: query.text("trailers").is_some(),
        paragraphs: paragraphs(&origin, query.number("bytes").unwrap_or(1)),
        origin,
    };
    let Some(encoder) = Encoder::named(&asked.coding) else { return answer::bad_request("no such coding") };
    let (Ok(media_type), Some(more)) = (HeaderValue::from_str(&asked.media_type), query.headers()) else {
        return answer::bad_request("no header");
    };
    let etag = format!("\"{}-{}\"", asked.paragraphs, asked.coding);
    let mut answer = if has_matched(&head.headers, &etag) {
        answer::empty(StatusCode::NOT_MODIFIED)
    } else if asked.plain_bytes() <= HELD_BYTES && !asked.has_trailers {
        asked.held(encoder)
    } else {
        asked.streamed(encoder)
    };
    let is_told = answer.status().is_success();
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(&etag).expect("the name of a coding and a number"));
    if is_told {
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        coding::announce(headers, &asked.coding);
    }
    for (name, value) in more {
        headers.append(name, value);
    }
    answer
}

/// Whether the caller has this already; weakly compared, as `If-None-Match` is (RFC 9110 §13.1.2).
fn has_matched(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    known.split(',').any(|known| known.trim().trim_start_matches("W/") == etag)
}

impl Asked<'_> {
    /// A body with its length, its digests, and a part of it where one is asked for.
    fn held(&self, encoder: Encoder) -> Answer {
        let plain = self.in_charset(text(&self.origin, &self.origin, self.plain_bytes()));
        let Ok(mut body) = encoder.whole(&plain) else { return answer::empty(StatusCode::INTERNAL_SERVER_ERROR) };
        let middle = body.len() / 2;
        match self.broken.as_deref() {
            Some("cut") => body.truncate(middle),
            Some("corrupt") => body[middle..].fill(0xFF),
            _ => {}
        }
        let digest = |bytes: &[u8]| STANDARD.encode(Sha256::digest(bytes));
        let (whole, length) = (digest(&body), body.len());
        let part = self.head.headers.get(header::RANGE).and_then(|range| part(range, length));
        let (status, range) = match part {
            Some((first, last)) => {
                body = body[first..=last].to_vec();
                (StatusCode::PARTIAL_CONTENT, Some(format!("bytes {first}-{last}/{length}")))
            }
            None => (StatusCode::OK, None),
        };
        let told = [
            ("content-length", Some(body.len().to_string())),
            ("content-range", range),
            // Not computed: what matters is whether it crosses.
            ("content-md5", Some("1B2M2Y8AsgTpgAmY7PhCfg==".to_owned())),
            ("digest", Some(format!("sha-256={whole}"))),
            ("content-digest", Some(format!("sha-256=:{}:", digest(&body)))),
            ("repr-digest", Some(format!("sha-256=:{whole}:"))),
        ];
        let mut answer = answer::of(status, "text/plain", if self.is_head() { Vec::new() } else { body });
        for (name, value) in told.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let value = HeaderValue::from_str(&value).expect("visible characters");
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
        answer
    }

    /// A body that comes block by block; its length is told where it is known.
    fn streamed(&self, encoder: Encoder) -> Answer {
        let one = self.in_charset(paragraph(&self.origin));
        let block = Bytes::from(one.repeat(PARAGRAPHS_A_BLOCK));
        let (one, mut left) = (one.len(), self.paragraphs);
        let blocks = std::iter::from_fn(move || {
            let here = usize::try_from(left).map_or(PARAGRAPHS_A_BLOCK, |left| left.min(PARAGRAPHS_A_BLOCK));
            left -= here as u64;
            (here > 0).then(|| block.slice(..here * one))
        });
        let last = Bytes::from(self.in_charset(self.origin.clone()));
        let length = self.paragraphs * one as u64 + last.len() as u64;
        let mut encoder = Some(encoder);
        let encoded = blocks.chain([last]).map(Some).chain([None]).filter_map(move |piece| match piece {
            Some(piece) => Some(encoder.as_mut()?.push(&piece)),
            None => Some(encoder.take()?.end()),
        });
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("after the body"));
        let trailers = self.has_trailers.then(|| Ok(Frame::trailers(trailers)));
        let frames = encoded.map(|piece| piece.map(|piece| Frame::data(piece.into()))).chain(trailers);
        let most = if self.is_head() { 0 } else { usize::MAX };
        let mut answer = answer::streamed("text/plain", stream::iter(frames).take(most));
        if self.coding == IDENTITY && !self.has_trailers {
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        answer
    }

    /// How long its paragraphs are, without charset and coding.
    fn plain_bytes(&self) -> u64 {
        self.paragraphs * paragraph(&self.origin).len() as u64
    }

    fn in_charset(&self, ascii: String) -> Vec<u8> {
        let is_wide = self.media_type.to_ascii_lowercase().contains("utf-16");
        if is_wide { ascii.into_bytes().into_iter().flat_map(|byte| [byte, 0]).collect() } else { ascii.into_bytes() }
    }

    fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }
}

/// The first and the last byte that a `Range` of one part asks for; `None` where it is not
/// understood, which is then ignored.
fn part(range: &HeaderValue, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first.parse().ok(), last.parse().ok()) {
        (Some(first), last) => (first, last.unwrap_or(end).min(end)),
        (None, Some(count)) => (length.checked_sub(count)?, end),
        (None, None) => return None,
    };
    (first <= last).then_some((first, last))
}

/// A page with a length in MiB once it is decoded, and a thousandth of that before: equal gzip
/// members, one after the other.
pub fn bomb(mebibytes: &str) -> Answer {
    let Some(mebibytes) = mebibytes.parse().ok().filter(|&count: &u64| count <= LARGEST_BOMB) else {
        return answer::bad_request("no size");
    };
    let blank = vec![b' '; usize::try_from(MIB).expect("a MiB fits memory")];
    let Some(Ok(member)) = Encoder::named("gzip").map(|encoder| encoder.whole(&blank)) else {
        return answer::empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let members = member.repeat(usize::try_from(mebibytes).expect("no more than the largest"));
    let mut answer = answer::ok("text/html; charset=utf-8", members);
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer
}
