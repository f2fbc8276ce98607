//! Time sold is time enforced: whatever is open ends when its token does, also when no byte moves,
//! and a client can tell that from a whole answer.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::Method;
use reqwest::{Body, Response};
use serde_json::json;
use testbed::{
    clients::{
        http::{Ask, client},
        websocket::{Ending, Socket, upgrade},
    },
    eventually,
    people::{Edge, Token, User},
    stack::Stack,
    upstreams::standin::Content,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, connect_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

/// From the answer that a token has ended, or from its last millisecond, to the end of everything
/// that it opened.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// The edge counts from before it asked Redis what is left, and so is early by as much as the
/// answer took.
const EARLY: Duration = Duration::from_millis(250);
const DEVICE: &str = "workshop-laptop-1";
const QUIET: &str = "every_ms=3600000";
const MIB: u64 = 1024 * 1024;
/// Bytes; a long download takes half a minute so.
const READ_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;

/// One on every edge, and how each will end.
async fn quiet_sockets(stack: &Stack, token: &Token) -> JoinSet<Ending> {
    let mut sockets = JoinSet::new();
    for edge in &stack.edges {
        sockets.spawn(quiet_socket(edge, token).await.ended());
    }
    sockets
}

async fn quiet_socket(edge: &Edge, token: &Token) -> Socket {
    Socket::idle(edge, token, Some(DEVICE)).await.expect("an upgrade")
}

/// Revokes a token as an administrator does; when that was answered.
async fn revoke(stack: &Stack, token: &Token) -> Instant {
    let path = format!("/admin/tokens/{}", token.id);
    let answer = stack.control.admin.request(Method::DELETE, &path).answer().await;
    assert_eq!(answer.expect(200)["revoked"], true);
    Instant::now()
}

async fn suspend(stack: &Stack, user: &User) -> Instant {
    stack.control.admin.changes(user, &json!({ "is_active": false })).await.expect(200);
    Instant::now()
}

#[tokio::test]
async fn a_hundred_idle_websockets_on_two_edges_end_within_a_second_of_their_tokens() {
    const SOCKETS: usize = 100;
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").await;
    let tokens = stack.seeds(&alice, SOCKETS).await.expect("tokens");
    let mut sockets = JoinSet::new();
    for (number, token) in tokens.iter().enumerate() {
        let socket = quiet_socket(&stack.edges[number % 2], token).await;
        sockets.spawn(async move { (number, socket.ended().await) });
    }
    assert_eq!(stack.standin.sockets().open, SOCKETS as u64);

    let mut answered = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        if number % 4 < 2 {
            answered.push(revoke(&stack, token).await);
        } else {
            alice.rotates(token).await;
            answered.push(Instant::now());
        }
    }
    for (number, ending) in sockets.join_all().await {
        ending.expect(4003, "token revoked");
        let delay = ending.at.saturating_duration_since(answered[number]);
        assert!(delay < CUT_WITHIN, "socket {number} lived on for {delay:?}");
    }
    eventually!(stack.standin.sockets(), |seen| seen.open == 0 && seen.last_close == Some(1001));
    let (mut cuts, mut delays) = (0.0, 0.0);
    for edge in &stack.edge_planes {
        cuts += edge.metric("edge_cutoffs_total", "reason=\"revoked\"").await;
        delays += edge.metric("edge_revocation_delay_seconds_count", "").await;
    }
    assert_eq!((cuts, delays >= 1.0), (SOCKETS as f64, true));
    stack.finish().await;
}

#[tokio::test]
async fn a_suspended_account_ends_its_websockets_on_every_edge_and_nobody_elses() {
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let bob = stack.control.user("bob").with_credits(100).await;
    let others = bob.buys(24).await;
    let mut spared = quiet_socket(stack.edge(), &others).await;
    let mut sockets = JoinSet::new();
    for edge in stack.edges.iter().cycle().take(6) {
        let token = alice.buys(1).await;
        sockets.spawn(quiet_socket(edge, &token).await.ended());
    }
    let suspended = suspend(&stack, &alice).await;
    for ending in sockets.join_all().await {
        ending.expect(4004, "account suspended");
        assert!(ending.at.saturating_duration_since(suspended) < CUT_WITHIN, "{ending:?}");
    }
    assert!(spared.is_open().await);
    drop(spared);
    stack.finish().await;
}

/// Blocks for as long as somebody takes them, slowly enough to leave the machine some time.
fn endless() -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(Content::new(u64::MAX)).then(async |block| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(block)
    })
}

/// Reads on until the answer is cut: slowly, so that nothing here comes to its own end, but then
/// what is left at once.
async fn cut(mut answer: Response, hurry: CancellationToken) -> (Instant, reqwest::Error) {
    loop {
        match answer.chunk().await {
            Ok(Some(block)) => {
                let pause = Duration::from_secs_f64(block.len() as f64 / READ_PER_SECOND);
                hurry.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            Ok(None) => panic!("a body that was cut passed for a whole one"),
            Err(error) => return (Instant::now(), error),
        }
    }
}

/// Many things that are open.
#[derive(Default)]
struct Open {
    /// What each is, and when it ended.
    ends: JoinSet<(String, Instant)>,
    hurry: CancellationToken,
}

/// Opens one of each thing that a token can open on an edge, with bytes moving and without.
async fn open_one_of_each(stack: &Stack, edge: &Edge, token: &Token, close: (u16, &'static str)) -> Open {
    let mut open = Open::default();
    let socket = quiet_socket(edge, token).await;
    open.ends.spawn(async move {
        let ending = socket.ended().await;
        ending.expect(close.0, close.1);
        ("an idle WebSocket".to_owned(), ending.at)
    });
    for (version, builder) in [("HTTP/1.1", client().http1_only()), ("HTTP/2", client().http2_prior_knowledge())] {
        let http = builder.build().expect("a client");
        let ask = |method, path: &str| {
            let request = http.request(method, format!("{}{path}", edge.url()));
            request.header("X-Access-Token", &token.text).header("X-Device-ID", DEVICE)
        };
        for path in ["/sse?every_ms=20", "/stall?after=1000", &format!("/download/{}", 64 * MIB)] {
            let mut answer = ask(Method::GET, path).send().await.expect("an answer");
            assert!(answer.chunk().await.expect("a chunk").is_some(), "{path}");
            let name = format!("{path} by {version}");
            let hurry = open.hurry.clone();
            open.ends.spawn(async move { (name, cut(answer, hurry).await.0) });
        }
        let a_little = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"a little"))]);
        for (name, request) in [
            ("a long upload", ask(Method::PUT, "/upload").body(Body::wrap_stream(endless()))),
            ("a silent upload", ask(Method::PUT, "/upload").body(Body::wrap_stream(a_little.chain(stream::pending())))),
            ("a request without an answer", ask(Method::GET, "/slow/600000")),
        ] {
            let name = format!("{name} by {version}");
            open.ends.spawn(async move {
                let answer = request.send().await;
                assert!(answer.is_err(), "{name} was answered: {answer:?}");
                (name, Instant::now())
            });
        }
    }
    eventually!(stack.standin.seen("/upload"), |seen| seen.requests == 4 && seen.body_bytes > MIB);
    eventually!(stack.standin.seen("/slow/600000"), |seen| seen.requests == 2);
    open
}

/// Checks that everything ended within a second of `ended_at` and not before it, and that no upload
/// passed for a whole one.
async fn all_ended(stack: &Stack, open: Open, ended_at: Instant, not_before: Instant) {
    sleep_until(ended_at.into()).await;
    open.hurry.cancel();
    for (name, at) in open.ends.join_all().await {
        let delay = at.saturating_duration_since(ended_at);
        assert!(delay < CUT_WITHIN, "{name} lived on for {delay:?}");
        assert!(at >= not_before, "{name} was cut {:?} early", not_before - at);
    }
    let sockets = eventually!(stack.standin.sockets(), |sockets| sockets.open == 0);
    assert_eq!((sockets.last_close, stack.standin.seen("/upload").bodies), (Some(1001), 0));
}

#[tokio::test]
async fn a_revocation_ends_everything_that_its_token_has_open() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let open = open_one_of_each(&stack, stack.edge(), &token, (4003, "token revoked")).await;
    let asked = Instant::now();
    let answered = revoke(&stack, &token).await;
    all_ended(&stack, open, answered, asked).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_change_of_networks_ends_what_is_open_from_those_that_are_now_blocked() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let open = open_one_of_each(&stack, stack.edge(), &token, (4005, "address not allowed")).await;
    let asked = Instant::now();
    let path = format!("/tokens/{}", token.id);
    let networks = json!({ "allowed_networks": ["192.0.2.0/24"] });
    let changed = alice.request(Method::PATCH, &path).json(&networks).answer().await.expect(200);
    let answered = Instant::now();
    assert_eq!(changed["allowed_networks"], networks["allowed_networks"]);
    all_ended(&stack, open, answered, asked).await;
    assert_eq!(stack.edge().on(DEVICE, &token, Method::GET, "/").answer().await.status, 403);
    let edge = &stack.edge_planes[0];
    assert!(edge.metric("edge_cutoffs_total", "reason=\"network_not_allowed\"").await >= 13.0);
    assert!(edge.metric("edge_revocation_delay_seconds_count", "").await >= 1.0);
    assert_eq!(edge.metric("edge_rejections_total", "reason=\"network_not_allowed\"").await, 1.0);
    stack.finish().await;
}

#[tokio::test]
async fn a_tokens_last_millisecond_ends_everything_that_it_has_open() {
    // Long enough to open it all on a busy machine.
    let stack = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "12").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(1).await;
    let open = open_one_of_each(&stack, stack.edge(), &token, (4001, "token expired")).await;
    let ends_at = stack.edge().ends_at(&token).await;
    all_ended(&stack, open, ends_at, ends_at - EARLY).await;
    assert_eq!(stack.edge().status_for(&token, "/").await, 401);
    stack.finish().await;
}

#[tokio::test]
async fn a_cut_resets_one_http_2_stream_and_spares_those_of_other_tokens_beside_it() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (ended, spared) = (alice.buys(24).await, alice.buys(24).await);
    let http = client().http2_prior_knowledge().build().expect("a client");
    let ticks = async |token: &Token| {
        let request = http.get(format!("{}/sse?every_ms=20", stack.edge().url()));
        let mut ticks = request.header("X-Access-Token", &token.text).send().await.expect("an answer");
        ticks.chunk().await.expect("a chunk").expect("a tick");
        ticks
    };
    let (cut_short, mut goes_on) = (ticks(&ended).await, ticks(&spared).await);
    let answered = revoke(&stack, &ended).await;
    let (at, error) = cut(cut_short, CancellationToken::new()).await;
    assert!(at.saturating_duration_since(answered) < CUT_WITHIN);
    assert!(format!("{error:?}").contains("Reset("), "no reset of a stream: {error:?}");
    for _ in 0..20 {
        goes_on.chunk().await.expect("a chunk").expect("a tick");
    }
    drop(goes_on);
    stack.finish().await;
}

#[tokio::test]
async fn an_extension_moves_the_deadline_of_an_open_websocket_without_disturbing_it() {
    let stack = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "4").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(1).await;
    let mut socket =
        Socket::open(upgrade(stack.edge(), &token, Some(DEVICE), "every_ms=50")).await.expect("an upgrade");
    let first_end = stack.edge().ends_at(&token).await;
    alice.extends(&token, 1).await;
    let mut ticks = 0;
    while Instant::now() < first_end + Duration::from_millis(500) {
        ticks += 1;
        assert_eq!(socket.next().await, Message::text(json!({ "tick": ticks }).to_string()));
    }
    let second_end = stack.edge().ends_at(&token).await;
    assert!(second_end > first_end + Duration::from_secs(3), "{:?}", second_end - first_end);
    let ending = socket.ended().await;
    ending.expect(4001, "token expired");
    assert!(ending.at > second_end - EARLY, "cut {:?} early", second_end - ending.at);
    assert!(ending.at.saturating_duration_since(second_end) < CUT_WITHIN, "{ending:?}");
    stack.finish().await;
}

#[tokio::test]
async fn a_released_device_is_cut_on_every_edge_and_another_may_come_at_once() {
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let sockets = quiet_sockets(&stack, &token).await;
    let path = format!("/tokens/{}/release-device", token.id);
    let released = alice.request(Method::POST, &path).answer().await.expect(200);
    let answered = Instant::now();
    assert_eq!((&released["released"], &released["token_id"]), (&json!(true), &json!(token.id)));
    let other = stack.edge().on("another-laptop", &token, Method::GET, "/").answer().await;
    assert_eq!(other.status, 200, "{}", other.text());
    for ending in sockets.join_all().await {
        ending.expect(4008, "device taken over");
        assert!(ending.at.saturating_duration_since(answered) < CUT_WITHIN, "{ending:?}");
    }
    assert_eq!(stack.edge().on(DEVICE, &token, Method::GET, "/").answer().await.status, 409);
    stack.finish().await;
}

#[tokio::test]
async fn a_session_ended_by_an_administrator_is_cut_and_its_token_goes_on() {
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let sockets = quiet_sockets(&stack, &token).await;
    let admin = &stack.control.admin;
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| sessions.len() == 1);
    let id = sessions[0]["id"].as_str().expect("an id");
    let ended = admin.request(Method::DELETE, &format!("/admin/sessions/{id}")).answer().await.expect(200);
    let answered = Instant::now();
    assert_eq!((&ended["ended"], &ended["session_id"]), (&json!(true), &json!(id)));
    for ending in sockets.join_all().await {
        ending.expect(4009, "session ended by administrator");
        assert!(ending.at.saturating_duration_since(answered) < CUT_WITHIN, "{ending:?}");
    }
    assert_eq!(stack.edge().on("another-laptop", &token, Method::GET, "/").answer().await.status, 200);
    stack.finish().await;
}

#[tokio::test]
async fn half_a_frame_from_the_client_neither_delays_its_end_nor_passes_for_a_whole_one() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let request = upgrade(stack.edge(), &token, Some(DEVICE), QUIET);
    let (mut socket, _) = connect_async(request).await.expect("an upgrade");
    socket.next().await.expect("a tick").expect("a tick");
    let MaybeTlsStream::Plain(tcp) = socket.get_mut() else { panic!("plain HTTP") };
    // A final text frame, masked, of which 10 bytes of 1000 come.
    tcp.write_all(&[0x81, 0xFE, 0x03, 0xE8, 1, 2, 3, 4]).await.expect("sent");
    tcp.write_all(&[7; 10]).await.expect("sent");
    tcp.flush().await.expect("sent");
    let answered = revoke(&stack, &token).await;
    let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("no close frame") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4003, "token revoked"));
    while let Some(Ok(_)) = socket.next().await {}
    assert!(answered.elapsed() < CUT_WITHIN, "{:?}", answered.elapsed());
    eventually!(stack.standin.sockets(), |sockets| sockets.open == 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_all_the_same() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let request = upgrade(stack.edge(), &token, Some(DEVICE), QUIET);
    let (mut socket, _) = connect_async(request).await.expect("an upgrade");
    // Until its own echoes have filled every buffer on the way back.
    let block = Message::binary(vec![7; 256 * 1024]);
    while timeout(Duration::from_secs(1), socket.send(block.clone())).await.is_ok() {}
    let answered = revoke(&stack, &token).await;
    eventually!(stack.standin.sockets(), |sockets| sockets.open == 0);
    let lived_on = answered.elapsed();
    assert!(lived_on < CUT_WITHIN, "the upstream's side lived on for {lived_on:?}");
    let MaybeTlsStream::Plain(tcp) = socket.get_mut() else { panic!("plain HTTP") };
    let mut rest = Vec::new();
    let ended = timeout(eventually::DEADLINE, tcp.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the client's side is still open");
    stack.finish().await;
}
