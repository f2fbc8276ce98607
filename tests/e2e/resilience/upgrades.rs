//! A new process of the edge takes over from the one that serves.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testbed::{
    clients::websocket::Socket,
    eventually,
    people::{Edge, Token},
    processes::{folder::Folder, process::Process},
    stack::Stack,
};
use tokio::{
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const UPGRADES: usize = 10;
const SOCKETS: usize = 200;
const CLIENTS: usize = 4;
const DRAIN: Duration = Duration::from_secs(10);
const DEVICE: &str = "one-device-for-all";

/// A client that uses a connection until it is told that it ends, and asks for nothing twice: how
/// many answers it got, all `200`.
struct Client {
    address: String,
    token: Token,
    stopped: CancellationToken,
}

impl Client {
    fn request(&self, origin: &str) -> Request<Empty<Bytes>> {
        let request = Request::get(format!("{origin}/status/200"))
            .header(header::HOST, &self.address)
            .header("x-access-token", &self.token.text)
            .header("x-device-id", DEVICE);
        request.body(Empty::new()).expect("a request")
    }

    async fn connect(&self) -> TokioIo<TcpStream> {
        TokioIo::new(TcpStream::connect(&self.address).await.expect("somebody listens"))
    }

    async fn http1(self) -> usize {
        let mut answers = 0;
        while !self.stopped.is_cancelled() {
            let (mut sender, connection) = http1::handshake(self.connect().await).await.expect("HTTP/1.1");
            let mut tasks = JoinSet::new();
            tasks.spawn(connection);
            loop {
                let answer = sender.send_request(self.request("")).await.expect("an answer");
                assert_eq!(answer.status(), 200);
                let is_last = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
                answer.into_body().collect().await.expect("a whole answer");
                answers += 1;
                if is_last || self.stopped.is_cancelled() {
                    break;
                }
            }
        }
        answers
    }

    async fn http2(self) -> usize {
        let origin = format!("http://{}", self.address);
        let mut answers = 0;
        while !self.stopped.is_cancelled() {
            let connected = http2::handshake(TokioExecutor::new(), self.connect().await).await;
            let (mut sender, connection) = connected.expect("HTTP/2");
            let mut tasks = JoinSet::new();
            tasks.spawn(connection);
            while !self.stopped.is_cancelled() {
                let answer = match sender.send_request(self.request(&origin)).await {
                    Ok(answer) => answer,
                    // It was never sent: the connection had been told to end.
                    Err(error) if error.is_canceled() || sender.is_closed() => break,
                    Err(error) => panic!("no answer: {error:?}"),
                };
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.expect("a whole answer");
                answers += 1;
            }
        }
        answers
    }
}

/// Tells the socket that a process waits at from the one of the next: a file's number may be used
/// again.
fn waits_at(path: &Path) -> Option<(u64, i64, i64)> {
    fs::metadata(path).ok().map(|file| (file.ino(), file.mtime(), file.mtime_nsec()))
}

/// Starts a new process, and waits until it has taken over; the one before.
async fn upgrade(stack: &mut Stack, path: &Path) -> Process {
    let waited = eventually!(waits_at(path), |file| file.is_some());
    let before = stack.edge_planes[0].start_beside().expect("a process");
    eventually!(waits_at(path), |file| file.is_some() && *file != waited);
    before
}

fn stack(path: &Path) -> testbed::stack::Plan {
    let drain = DRAIN.as_secs().to_string();
    Stack::plan().edge_env("UPGRADE_SOCKET", &path.to_string_lossy()).edge_env("DRAIN_SECONDS", &drain)
}

#[tokio::test]
async fn ten_upgrades_under_load_fail_no_request_and_websockets_live_until_the_drain_ends() {
    let folder = Folder::temporary().expect("a folder");
    let path = folder.path().join("upgrade");
    let mut stack = stack(&path).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let edge: Edge = stack.edge().clone();
    let opened = (0..SOCKETS).map(|_| Socket::idle(&edge, &token, Some(DEVICE)));
    let mut sockets = futures_util::future::try_join_all(opened).await.expect("WebSockets");

    let stopped = CancellationToken::new();
    let mut load = JoinSet::new();
    for number in 0..CLIENTS {
        let address = edge.url().trim_start_matches("http://").to_owned();
        let client = Client { address, token: token.clone(), stopped: stopped.clone() };
        match number % 2 {
            0 => load.spawn(client.http1()),
            _ => load.spawn(client.http2()),
        };
    }
    let mut first = upgrade(&mut stack, &path).await;
    let relieved = Instant::now();
    assert!(sockets[0].is_open().await, "a WebSocket of the first process ended at once");
    let mut relieved_later = Vec::new();
    for _ in 1..UPGRADES {
        relieved_later.push(upgrade(&mut stack, &path).await);
    }
    let ends = sockets.iter_mut().map(|socket| socket.closed());
    let ends = futures_util::future::join_all(ends).await;
    assert!(relieved.elapsed() + Duration::from_secs(1) >= DRAIN, "{:?}", relieved.elapsed());
    assert!(ends.iter().all(|(code, _)| *code == 1001), "{ends:?}");
    assert!(first.wait().await.success(), "{}", first.quote());
    for mut process in relieved_later {
        assert!(process.wait().await.success(), "{}", process.quote());
    }
    stopped.cancel();
    let answers: usize = load.join_all().await.into_iter().sum();
    assert!(answers > UPGRADES * CLIENTS, "{answers} answers are no load");
    stack.finish().await;
}

#[tokio::test]
async fn who_asks_for_the_sockets_and_dies_before_it_serves_changes_nothing() {
    let folder = Folder::temporary().expect("a folder");
    let path = folder.path().join("upgrade");
    let mut stack = stack(&path).start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    eventually!(waits_at(&path), |file| file.is_some());
    drop(UnixStream::connect(&path).await.expect("somebody waits"));
    let log = stack.edge_planes[0].process().log().to_owned();
    eventually!(fs::read_to_string(&log).expect("a log"), |log| log.contains("did not take over"));
    assert_eq!(stack.edge().token_status(&token).await, 200);
    let mut before = upgrade(&mut stack, &path).await;
    assert!(before.wait().await.success(), "{}", before.quote());
    assert_eq!(stack.edge().token_status(&token).await, 200);
    stack.finish().await;
}
