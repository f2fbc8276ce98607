//! HTTP/2 by hand: frames as no library would send them. What is malformed (RFC 9113 §8.1.1) is
//! refused and leaves no whole request at the upstream, what is legal arrives.

use std::time::Duration;

use testbed::{people::Token, stack::Stack, upstreams::recorder::Recorder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` of HPACK's static table, indexed.
const OK: u8 = 0x88;
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// A frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block without compression (RFC 7541 §6.2.2).
fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // An integer with a prefix of seven bits (§5.1).
            let mut left = text.len();
            if left < 127 {
                block.push(u8::try_from(left).expect("less than 127"));
            } else {
                block.push(127);
                left -= 127;
                while left >= 128 {
                    block.push(u8::try_from(left % 128).expect("a remainder") | 128);
                    left /= 128;
                }
                block.push(u8::try_from(left).expect("less than 128"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Refused,
}

/// Sends these frames on a connection of their own, and says what became of stream 1.
async fn outcome(host: &str, frames: &[u8]) -> Outcome {
    let mut tcp = TcpStream::connect(host).await.expect("a connection");
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, b""), frames].concat();
    // What is refused early may be closed before all of it was sent.
    let _ = tcp.write_all(&opening).await;
    let read = async {
        loop {
            let mut head = [0; 9];
            if tcp.read_exact(&mut head).await.is_err() {
                return Outcome::Refused;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("a frame fits")];
            if tcp.read_exact(&mut payload).await.is_err() {
                return Outcome::Refused;
            }
            match head[3] {
                RST_STREAM | GOAWAY => return Outcome::Refused,
                // Before the first field the size of the table may be set.
                HEADERS => {
                    let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                    return if status == Some(&OK) { Outcome::Passed } else { Outcome::Refused };
                }
                _ => {}
            }
        }
    };
    timeout(ANSWERS_WITHIN, read).await.expect("an answer in time")
}

/// The fields of a request that is changed in one way.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(method: &str, host: &str, token: &Token) -> Self {
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", host),
            (":path", "/case"),
            ("x-access-token", token.text.as_str()),
        ];
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.0.iter_mut().filter(|(known, _)| known == name).for_each(|(_, known)| value.clone_into(known));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    fn first(mut self, name: &str, value: &str) -> Self {
        self.0.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    fn and(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In frames of at most 16 KiB, the default bound.
    fn frames(&self, flags: u8) -> Vec<u8> {
        let block = block(&self.0);
        let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
        let frames = pieces.iter().enumerate().map(|(at, piece)| {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            let is_last = at + 1 == pieces.len();
            frame(kind, if at == 0 { flags } else { 0 } | if is_last { END_HEADERS } else { 0 }, 1, piece)
        });
        frames.collect::<Vec<_>>().concat()
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
async fn what_http_2_forbids_is_refused_and_what_it_allows_arrives() {
    let recorder = Recorder::start().await.expect("a port");
    let mut stack = Stack::plan().edge_env("ZENZEFI_URL", &recorder.url()).start_edges().await;
    stack.announce(501);
    let token = stack.token().await;
    let host = stack.edge().url().trim_start_matches("http://").to_owned();
    let (get, post) = (|| Fields::of("GET", &host, &token), || Fields::of("POST", &host, &token));
    let long = "a".repeat(70_000);
    let many = (0..150).fold(get(), |fields, number| fields.and(&format!("x-{number}"), "y"));
    let heads = [
        get().first(":method", "POST"),
        get().first(":path", "/other"),
        get().first(":scheme", "https"),
        get().first(":authority", "evil.example"),
        get().first("x-early", "y"),
        get().and(":path", "/other"),
        get().and(":authority", &host),
        get().first(":unknown", "y"),
        get().first(":status", "200"),
        get().first(":protocol", "websocket"),
        get().first(":PATH", "/case"),
        get().and("X-Upper", "y"),
        get().and("", "y"),
        get().and("x y", "z"),
        get().and("x:y", "z"),
        get().and("x-a\r\nx-b", "z"),
        get().and("x-a", "b\r\nx-user-id: forged"),
        get().and("x-a", "b\nc"),
        get().and("x-a", "b\0c"),
        get().without(":method"),
        get().without(":scheme"),
        get().without(":path"),
        get().without(":authority"),
        get().set(":path", ""),
        get().set(":path", "case"),
        get().set(":path", "*"),
        get().set(":path", "/case HTTP/1.1"),
        get().set(":path", "/case\r\nX-User-Id: forged"),
        get().set(":path", "/case\0"),
        get().set(":path", "http://evil.example/case"),
        get().set(":path", &format!("/{long}")),
        get().set(":path", &format!("/{}", "a".repeat(20_000))),
        get().set(":method", "GET /evil HTTP/1.1\r\n"),
        get().set(":method", "G T"),
        get().set(":method", "TRACE"),
        get().set(":method", "CONNECT"),
        get().set(":method", "CONNECT").without(":path").without(":scheme"),
        get().set(":authority", "evil.example"),
        get().set(":authority", &format!("user@{host}")),
        get().and("host", "evil.example"),
        get().and("host", &host).and("host", &host),
        get().and("connection", "close"),
        get().and("connection", "x-user-id"),
        get().and("keep-alive", "timeout=5"),
        get().and("proxy-connection", "keep-alive"),
        get().and("transfer-encoding", "chunked"),
        get().and("upgrade", "websocket"),
        get().and("te", "gzip"),
        get().and("te", "trailers, gzip"),
        get().and("content-length", "5"),
        get().and("x-long", &long),
        many,
    ];
    for fields in heads {
        assert_eq!(outcome(&host, &fields.frames(END_STREAM)).await, Outcome::Refused, "{:.300?}", fields.0);
    }
    assert_eq!(recorder.take(), [], "nothing of these reached the upstream");

    let data = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    for length in ["10", "3", "+5", "5, 6", "-5", "0x5", ""] {
        let frames = [post().and("content-length", length).frames(0), data(b"hello")].concat();
        assert_eq!(outcome(&host, &frames).await, Outcome::Refused, "{length}");
    }
    let twice = post().and("content-length", "5").and("content-length", "6");
    assert_eq!(outcome(&host, &[twice.frames(0), data(b"hello")].concat()).await, Outcome::Refused);
    let frames = [
        data(b"hello"),
        [get().frames(0), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(),
        [frame(HEADERS, 0, 1, &block(&get().0)), data(b"hello")].concat(),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&get().0)),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&get().0)),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff"),
    ];
    for frames in frames {
        assert_eq!(outcome(&host, &frames).await, Outcome::Refused, "{}", frames.escape_ascii());
    }
    let received = recorder.take();
    assert!(received.iter().all(|one| !one.is_whole), "a whole request of these: {received:?}");

    let legal = [
        get().frames(END_STREAM),
        get().and("te", "trailers").frames(END_STREAM),
        get().and("host", &host).frames(END_STREAM),
        get().and("cookie", "a=b").and("cookie", "c=d").frames(END_STREAM),
        get().and("x_user_id", "forged").and("x.token.id", "forged").frames(END_STREAM),
    ];
    for frames in legal {
        assert_eq!(outcome(&host, &frames).await, Outcome::Passed, "{}", frames.escape_ascii());
        let [one] = recorder.take().try_into().expect("one request");
        assert!(one.is_whole && one.target() == b"/case", "{one:?}");
        assert!(one.values("x_user_id").is_empty() && one.values("x.token.id").is_empty(), "{one:?}");
    }
    for fields in [post(), post().and("content-length", "5")] {
        assert_eq!(outcome(&host, &[fields.frames(0), data(b"hello")].concat()).await, Outcome::Passed);
        let [one] = recorder.take().try_into().expect("one request");
        assert_eq!((one.is_whole, one.body.as_slice()), (true, &b"hello"[..]));
    }
    stack.finish().await;
}
