//! Clients that take their answers slowly, or not at all: who takes nothing is ended, and who goes
//! on is not.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testbed::{
    clients::{
        http::{Ask, client},
        raw_http::Wire,
    },
    eventually,
    people::Token,
    processes::{folder::Folder, process::free_port},
    stack::{EdgeStack, Plan, Stack},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a slow client is watched: long enough to tell slow from silent.
const WATCHED: Duration = Duration::from_secs(7);
const TAKES_EVERY: Duration = Duration::from_millis(50);
/// More than all buffers on the way hold.
const LONG_BYTES: usize = 64 * 1024 * 1024;
/// What a slow client's system keeps for it.
const SMALL_BUFFER: u32 = 64 * 1024;

fn plan() -> Plan {
    Stack::plan().edge_env("SEND_TIMEOUT_SECONDS", &SEND_TIMEOUT.as_secs().to_string())
}

async fn token(stack: &EdgeStack) -> Token {
    stack.token().await
}

async fn connect(stack: &EdgeStack) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("a small buffer");
    let address = stack.edge().url().trim_start_matches("http://").parse().expect("an address");
    socket.connect(address).await.expect("a connection")
}

/// Asks for a long answer by HTTP/1.1, and reads nothing of it.
async fn asks(stack: &EdgeStack, token: &Token) -> TcpStream {
    let mut tcp = connect(stack).await;
    let host = stack.edge().url().trim_start_matches("http://");
    let request = format!(
        "GET /download/{LONG_BYTES} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\nConnection: close\r\n\r\n",
        token.text
    );
    tcp.write_all(request.as_bytes()).await.expect("sent");
    tcp
}

/// Asks for answers by HTTP/2 on one connection.
struct Http2 {
    sender: http2::SendRequest<Empty<Bytes>>,
    origin: String,
    token: Token,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Http2 {
    async fn connect(stack: &EdgeStack, token: &Token) -> Self {
        let tcp = TokioIo::new(connect(stack).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), tcp).await.expect("HTTP/2");
        let mut task = JoinSet::new();
        task.spawn(connection);
        Self { sender, origin: stack.edge().url().to_owned(), token: token.clone(), _connection: task }
    }

    async fn get(&mut self, path: &str) -> http::Response<Incoming> {
        let request = Request::get(format!("{}{path}", self.origin)).version(Version::HTTP_2);
        let request = request.header("x-access-token", &self.token.text).body(Empty::new()).expect("a request");
        self.sender.send_request(request).await.expect("an answer")
    }
}

async fn open_requests(stack: &EdgeStack) -> f64 {
    stack.edge_planes[0].metric("edge_open_requests", "").await
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_ended() {
    let stack = plan().start_edges().await;
    let token = token(&stack).await;
    let began = Instant::now();
    let mut silent = asks(&stack, &token).await;
    let mut http2 = Http2::connect(&stack, &token).await;
    let mut stream = http2.get(&format!("/download/{LONG_BYTES}")).await;
    eventually!(open_requests(&stack).await, |open| *open == 2.0);
    eventually!(open_requests(&stack).await, |open| *open == 0.0);
    assert!(began.elapsed() >= SEND_TIMEOUT, "{:?}", began.elapsed());
    let mut taken = Vec::new();
    // Its system has some of it, and the end of the connection.
    let _broken = silent.read_to_end(&mut taken).await;
    assert!(taken.len() < LONG_BYTES);
    let broken = async {
        while let Some(frame) = stream.frame().await {
            frame?;
        }
        Ok::<_, hyper::Error>(())
    };
    assert!(broken.await.is_err(), "an answer that was broken off must not look whole");
    // Only the stream was ended, for the connection moves.
    let whole = http2.get("/download/100000").await.into_body().collect().await.expect("an answer");
    assert_eq!(whole.to_bytes().len(), 100_000);
    drop(http2);
    stack.finish().await;
}

#[tokio::test]
async fn who_takes_an_answer_slowly_gets_all_of_it() {
    let stack = plan().start_edges().await;
    let token = token(&stack).await;
    let mut tcp = asks(&stack, &token).await;
    let slow = async {
        let (began, mut taken) = (Instant::now(), 0);
        let mut bytes = vec![0; 8 * 1024];
        while began.elapsed() < WATCHED {
            taken += tcp.read_exact(&mut bytes).await.expect("it goes on");
            tokio::time::sleep(TAKES_EVERY).await;
        }
        let mut rest = Vec::new();
        tcp.read_to_end(&mut rest).await.expect("it ends");
        taken + rest.len()
    };
    let mut http2 = Http2::connect(&stack, &token).await;
    let slow_stream = async {
        let mut stream = http2.get(&format!("/download/{LONG_BYTES}")).await;
        let (began, mut taken) = (Instant::now(), 0);
        while let Some(frame) = stream.frame().await {
            taken += frame.expect("it goes on").into_data().map_or(0, |bytes| bytes.len());
            if began.elapsed() < WATCHED {
                tokio::time::sleep(TAKES_EVERY).await;
            }
        }
        taken
    };
    let (taken, streamed) = tokio::join!(slow, slow_stream);
    assert!(taken > LONG_BYTES, "its head and all of it: {taken}");
    assert_eq!(streamed, LONG_BYTES);
    drop(http2);
    stack.finish().await;
}

#[tokio::test]
async fn silence_or_half_a_hello_before_tls_ends_as_soon_as_half_a_head() {
    let certified = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("a certificate");
    let folder = Folder::temporary().expect("a folder");
    let [certificate, key] = ["pem", "key"].map(|name| folder.path().join(name));
    fs::write(&certificate, certified.cert.pem()).expect("written");
    fs::write(&key, certified.signing_key.serialize_pem()).expect("written");
    let listen = format!("127.0.0.1:{}", free_port().expect("a port"));
    let origin = format!("https://{listen}");
    let stack = Stack::plan()
        .edge_env("EDGE_TLS_LISTEN", &listen)
        .edge_env("EDGE_TLS_CERT_FILE", &certificate.to_string_lossy())
        .edge_env("EDGE_TLS_KEY_FILE", &key.to_string_lossy())
        .edge_env("PUBLIC_ORIGIN", &origin)
        .edge_env("HEADER_TIMEOUT_SECONDS", "1")
        .start_edges()
        .await;
    for begin in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut wire = Wire::connect(&format!("http://{listen}")).await.expect("a connection");
        wire.send(begin).await.expect("sent");
        assert!(wire.closes(eventually::DEADLINE).await, "{begin:?}");
    }
    let token = token(&stack).await;
    let good = stack.edge().by(&origin, client().build().expect("a client"));
    assert_eq!(good.with(&token, Method::GET, "/status/200").answer().await.status, 200);
    stack.finish().await;
}
