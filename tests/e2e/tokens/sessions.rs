//! Who used a token from where, and how much: counted to the byte, whatever becomes of a request or
//! of a program.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use reqwest::Body;
use serde_json::{Value, json};
use shared::redis::{USAGE, lease_key};
use testbed::{
    clients::{
        http::Ask,
        raw_http::Wire,
        websocket::{Socket, upgrade},
    },
    eventually,
    people::{Token, User},
    stack::Stack,
    upstreams::standin::Content,
};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";
const SECOND: &str = "device-b-0123456789";
/// A length that no buffer and no chunk has.
const ODD: u64 = 3_000_017;
/// A piece that all buffers on the way hold, so that it arrives though nothing follows.
const PIECE: u64 = 30_001;
/// How often an edge tells what it has counted.
const FLUSH: Duration = Duration::from_secs(2);
/// By how much two busy cores may hold that up.
const SLACK: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(4);

async fn buyer(stack: &Stack) -> (User, Token) {
    let alice = stack.control.user("alice").with_credits(1000).await;
    let token = alice.buys(24).await;
    (alice, token)
}

/// What a session has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Figures {
    fn of(session: &Value) -> Self {
        let figure = |name: &str| session[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {session}"));
        Self { requests: figure("request_count"), bytes_in: figure("bytes_in"), bytes_out: figure("bytes_out") }
    }
}

/// Waits until the token's one session has nothing open and shows these figures.
async fn assert_counted(stack: &Stack, token: &Token, what: &str, requests: u64, bytes_in: u64, bytes_out: u64) {
    let expected = Figures { requests, bytes_in, bytes_out };
    let sessions = async || {
        let sessions = stack.control.admin.sessions_of(token).await;
        assert!(sessions.len() <= 1, "{what}: {sessions:?}");
        sessions.first().map(|session| (Figures::of(session), session["open_connections"].as_u64(), what))
    };
    eventually!(sessions().await, |session| *session == Some((expected, Some(0), what)));
}

#[tokio::test]
async fn whole_bodies_are_counted_to_the_byte() {
    let stack = Stack::start().await;
    let (alice, token) = buyer(&stack).await;
    let edge = stack.edge();
    let downloaded = edge.with(&token, Method::GET, &format!("/download/{ODD}")).answer().await;
    assert_eq!(downloaded.body.len() as u64, ODD);
    assert_counted(&stack, &token, "a download", 1, 0, ODD).await;
    edge.with(&token, Method::HEAD, &format!("/download/{ODD}")).answer().await;
    assert_counted(&stack, &token, "a look at its head", 2, 0, ODD).await;

    for (path, announced) in [("/upload", false), ("/api/v1/proxy/upload", true)] {
        let token = alice.buys(1).await;
        let upload = edge.with(&token, Method::PUT, path);
        let content = Content::new(ODD).map(Ok::<Bytes, std::io::Error>);
        let upload = match announced {
            true => upload.body(Content::new(ODD).flat_map(|block| block.to_vec()).collect::<Vec<u8>>()),
            false => upload.body(Body::wrap_stream(stream::iter(content))),
        };
        let answer = upload.answer().await;
        assert_eq!(answer.expect(200)["bytes"], ODD);
        assert_counted(&stack, &token, path, 1, ODD, answer.body.len() as u64).await;
    }
    assert_eq!(stack.standin.seen("/upload").body_bytes, 2 * ODD);
    stack.finish().await;
}

#[tokio::test]
async fn bodies_that_break_off_are_counted_to_the_byte() {
    let mut stack = Stack::start().await;
    stack.announce(502);
    let (alice, token) = buyer(&stack).await;
    let host = stack.edge().url().trim_start_matches("http://").to_owned();

    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    let head = format!(
        "PUT /upload HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\nContent-Length: {ODD}\r\n\r\n",
        token.text
    );
    wire.send(head).await.expect("sent");
    wire.send(vec![7; usize::try_from(PIECE).expect("a length")]).await.expect("sent");
    eventually!(stack.standin.seen("/upload"), |seen| seen.body_bytes == PIECE);
    drop(wire);
    assert_counted(&stack, &token, "an upload whose client leaves", 1, PIECE, 0).await;

    let token = alice.buys(1).await;
    drop(first_piece(&stack, &token).await);
    assert_counted(&stack, &token, "a download whose client leaves", 1, 0, PIECE).await;

    let token = alice.buys(1).await;
    let broken = stack.edge().with(&token, Method::GET, &format!("/abort?after={PIECE}")).try_answer().await;
    assert!(broken.is_err(), "{broken:?}");
    assert_counted(&stack, &token, "a download that the upstream breaks off", 1, 0, PIECE).await;

    let token = alice.buys(1).await;
    let mut download = first_piece(&stack, &token).await;
    alice.rotates(&token).await;
    let rest = tokio::time::timeout(eventually::DEADLINE, download.chunk()).await.expect("an end in time");
    assert!(rest.is_err(), "a body that was cut passed for a whole one: {rest:?}");
    assert_counted(&stack, &token, "a download that is cut", 1, 0, PIECE).await;
    stack.finish().await;
}

#[tokio::test]
async fn of_a_rewritten_text_what_the_client_got_is_counted() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    for (coding, accepts) in [("", "identity"), ("&coding=br", "identity"), ("&coding=gzip", "gzip")] {
        let token = alice.buys(1).await;
        let request = stack.edge().by_cookie(&token, Method::GET, &format!("/text?bytes=50000{coding}"));
        let answer = request.header("Accept-Encoding", accepts).answer().await;
        let counted = async || {
            let sessions = stack.control.admin.sessions_of(&token).await;
            sessions.first().map(|session| session["bytes_out"].as_u64())
        };
        let got = answer.body.len() as u64;
        assert_ne!(got, 0);
        eventually!((counted().await, coding, accepts), |(counted, ..)| *counted == Some(Some(got)));
    }
    stack.finish().await;
}

/// A download of which one piece has come, and nothing follows.
async fn first_piece(stack: &Stack, token: &Token) -> reqwest::Response {
    let path = format!("/stall?after={PIECE}");
    let mut download = stack.edge().on(FIRST, token, Method::GET, &path).send().await.expect("an answer");
    let mut received = 0;
    while received < PIECE {
        received += download.chunk().await.expect("a chunk").expect("more").len() as u64;
    }
    assert_eq!(received, PIECE);
    download
}

/// How long a WebSocket's frame is: RFC 6455 §5.2.
fn frame_bytes(payload_bytes: usize, is_masked: bool) -> u64 {
    let length = match payload_bytes {
        ..126 => 0,
        126..65_536 => 2,
        _ => 8,
    };
    (2 + length + if is_masked { 4 } else { 0 } + payload_bytes) as u64
}

#[tokio::test]
async fn a_websockets_frames_are_counted_to_the_byte() {
    let stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    let mut socket = Socket::open(upgrade(stack.edge(), &token, None, "every_ms=600000")).await.expect("an upgrade");
    let tick = socket.next().await;
    let (mut bytes_in, mut bytes_out) = (0, frame_bytes(tick.len(), false));
    for message in [Message::text("hällo"), Message::binary(vec![7; 300]), Message::binary(vec![7; 70_000])] {
        bytes_in += frame_bytes(message.len(), true);
        bytes_out += frame_bytes(message.len(), false);
        socket.send(message.clone()).await;
        assert_eq!(socket.next().await, message);
    }
    let open = async || {
        stack.control.admin.sessions_of(&token).await.first().map(|session| session["open_connections"].clone())
    };
    eventually!(open().await, |open| *open == Some(json!(1)));
    drop(socket);
    assert_counted(&stack, &token, "a WebSocket", 1, bytes_in, bytes_out).await;
    stack.finish().await;
}

#[tokio::test]
async fn sessions_say_who_used_a_token_from_where_and_each_user_sees_their_own() {
    let stack = Stack::start().await;
    let (alice, token) = buyer(&stack).await;
    let bob = stack.control.user("bob").with_credits(100).await;
    let bobs = bob.buys(1).await;
    for (token, device) in [(&token, FIRST), (&bobs, SECOND)] {
        let request = stack.edge().on(device, token, Method::GET, PAGE).header("user-agent", "a diagnostic tool/1.0");
        request.answer().await.expect(200);
    }
    let admin = &stack.control.admin;
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| !sessions.is_empty());
    let [session] = &sessions[..] else { panic!("one session: {sessions:?}") };
    assert_eq!(session["token_id"], token.id.to_string());
    assert_eq!(session["user_id"], alice.id.as_str());
    assert_eq!(session["device_id"], FIRST);
    assert_eq!(session["ip_address"], "127.0.0.1");
    assert_eq!(session["user_agent"], "a diagnostic tool/1.0");
    assert_eq!((&session["request_count"], &session["is_active"]), (&json!(1), &json!(true)), "{session}");
    assert!(session["ended_at"].is_null(), "{session}");
    for time in ["started_at", "last_activity"] {
        assert!(session[time].as_str().is_some_and(|at| at.ends_with('Z')), "{time} in {session}");
    }

    let page = |user: &User, path: &str| user.request(Method::GET, path);
    eventually!(admin.sessions_of(&bobs).await, |sessions| !sessions.is_empty());
    let both = page(admin, "/admin/sessions").answer().await.expect(200);
    assert_eq!((&both["total"], &both["items"][1]["id"]), (&json!(2), &session["id"]), "the newest first: {both}");
    let of_bob = page(admin, &format!("/admin/sessions?user_id={}", bob.id)).answer().await.expect(200);
    assert_eq!((&of_bob["total"], &of_bob["items"][0]["device_id"]), (&json!(1), &json!(SECOND)), "{of_bob}");
    let mine = page(&alice, "/users/me/sessions").answer().await.expect(200);
    assert_eq!((&mine["total"], &mine["items"][0]["id"]), (&json!(1), &session["id"]), "{mine}");
    let not_admin = page(&alice, "/admin/sessions").answer().await;
    assert_eq!(not_admin.status, 403);
    stack.finish().await;
}

#[tokio::test]
async fn an_administrator_ends_a_session_and_the_token_is_free_at_once() {
    let stack = Stack::plan().edges(2).start().await;
    let (alice, token) = buyer(&stack).await;
    let [here, there] = &stack.edges[..] else { panic!("two edges") };
    let mut socket = Socket::idle(here, &token, Some(FIRST)).await.expect("an upgrade");
    let admin = &stack.control.admin;
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| !sessions.is_empty());
    let path = format!("/admin/sessions/{}", sessions[0]["id"].as_str().expect("an id"));
    assert_eq!(alice.request(Method::DELETE, &path).answer().await.status, 403);
    assert_eq!(there.on(SECOND, &token, Method::GET, PAGE).answer().await.status, 409);

    let ended = admin.request(Method::DELETE, &path).answer().await.expect(200);
    assert_eq!(ended, json!({ "ended": true, "session_id": sessions[0]["id"] }));
    assert_eq!(there.on(SECOND, &token, Method::GET, PAGE).answer().await.status, 200, "at once");
    assert_eq!(socket.closed().await, (4009, "session ended by administrator".to_owned()));
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| sessions.len() == 2);
    assert_eq!((&sessions[0]["device_id"], &sessions[0]["is_active"]), (&json!(SECOND), &json!(true)), "{sessions:?}");
    assert_eq!((&sessions[1]["device_id"], &sessions[1]["is_active"]), (&json!(FIRST), &json!(false)), "{sessions:?}");
    assert!(sessions[1]["ended_at"].is_string(), "{sessions:?}");
    let unknown = admin.request(Method::DELETE, "/admin/sessions/00000000-0000-0000-0000-000000000000").answer().await;
    assert_eq!(unknown.status, 404);
    stack.finish().await;
}

#[tokio::test]
async fn a_session_is_over_one_lease_after_its_last_request_and_the_next_is_another() {
    let stack = Stack::plan().debug_env("LEASE_SECONDS", &LEASE.as_secs().to_string()).start().await;
    let (_, token) = buyer(&stack).await;
    let request = || stack.edge().on(FIRST, &token, Method::GET, PAGE);
    let admin = &stack.control.admin;
    request().answer().await.expect(200);
    let asked = Instant::now();
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| {
        sessions.first().is_some_and(|session| session["is_active"] == false)
    });
    assert!(asked.elapsed() >= LEASE, "over after {:?}", asked.elapsed());
    assert!(sessions[0]["ended_at"].is_string(), "{sessions:?}");

    // The edge renews the lease now and then, so that it may outlive the session's idleness by a
    // little.
    let lease = lease_key(token.id, None);
    eventually!(stack.redis.command(&["EXISTS", &lease]).await.expect("an answer"), |exists| exists == "0");
    request().answer().await.expect(200);
    let sessions = eventually!(admin.sessions_of(&token).await, |sessions| sessions.len() == 2);
    assert!(sessions[0]["ended_at"].is_null() && sessions[1]["ended_at"].is_string(), "{sessions:?}");
    assert_ne!(sessions[0]["id"], sessions[1]["id"]);
    stack.finish().await;
}

/// Requests of one device, one after the other by a number of workers, until the edge is gone; when
/// each was answered.
async fn asks_until_it_is_gone(stack: &Stack, token: &Token, path: &str, workers: usize) -> Vec<Instant> {
    let mut asking = JoinSet::new();
    for _ in 0..workers {
        let (edge, token, path) = (stack.edge().clone(), token.clone(), path.to_owned());
        asking.spawn(async move {
            let mut answered = Vec::new();
            while edge.on(FIRST, &token, Method::GET, &path).try_answer().await.is_ok_and(|answer| answer.status == 200)
            {
                answered.push(Instant::now());
            }
            answered
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}

#[tokio::test]
async fn an_edge_killed_under_load_leaves_at_most_one_flush_untold() {
    const BYTES: u64 = 1_009;
    let mut stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    let path = format!("/download/{BYTES}");
    let admin = stack.control.admin.clone();
    let killed = async {
        // After some flushes, at no special moment.
        let counted =
            async || admin.sessions_of(&token).await.first().map_or(0, |session| Figures::of(session).requests);
        let mut last = 0;
        for _ in 0..4 {
            last = eventually!(counted().await, |requests| *requests > last);
        }
        stack.edge_planes[0].process().signal(nix::sys::signal::Signal::SIGKILL);
        Instant::now()
    };
    let (answered, killed_at) = tokio::join!(asks_until_it_is_gone(&stack, &token, &path, 4), killed);
    let told = answered.iter().filter(|at| **at + FLUSH + SLACK <= killed_at).count() as u64;
    assert!(told > 0, "{} requests are no load", answered.len());
    let figures = async || Figures::of(&admin.sessions_of(&token).await[0]);
    let counted = eventually!(figures().await, |figures| figures.requests >= told);
    assert!(counted.requests <= stack.standin.seen(&path).requests, "{counted:?}");
    assert!(counted.bytes_out.abs_diff(counted.requests * BYTES) <= 4 * BYTES, "{counted:?}: but for those under way");

    stack.edge_planes[0].start_again().await.expect("a start");
    stack.edge().on(FIRST, &token, Method::GET, &path).answer().await;
    eventually!(figures().await, |figures| figures.requests > counted.requests);
    assert_eq!(admin.sessions_of(&token).await.len(), 1, "the device has had the token all the while");
    stack.finish().await;
}

#[tokio::test]
async fn an_edge_that_is_stopped_leaves_nothing_untold() {
    const REQUESTS: u64 = 50;
    const BYTES: u64 = 1_009;
    let mut stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    let path = format!("/download/{BYTES}");
    for restart in 1..=2 {
        for _ in 0..REQUESTS {
            stack.edge().on(FIRST, &token, Method::GET, &path).answer().await;
        }
        let mut open = first_piece(&stack, &token).await;
        let rest = async { while let Ok(Some(_)) = open.chunk().await {} };
        let (stopped, ()) = tokio::join!(stack.edge_planes[0].stop(), rest);
        assert!(stopped.expect("a graceful stop").success());
        let bytes_out = restart * (REQUESTS * BYTES + PIECE);
        assert_counted(&stack, &token, "after a stop", restart * (REQUESTS + 1), 0, bytes_out).await;
        stack.edge_planes[0].start_again().await.expect("a start");
    }
    stack.finish().await;
}

#[tokio::test]
async fn reading_the_usage_stream_again_from_its_start_changes_nothing() {
    let mut stack = Stack::start().await;
    let (alice, first) = buyer(&stack).await;
    let second = alice.buys(1).await;
    let admin = stack.control.admin.clone();
    stack.edge().on(FIRST, &first, Method::GET, PAGE).answer().await.expect(200);
    let ended = eventually!(admin.sessions_of(&first).await, |sessions| !sessions.is_empty());
    let end = format!("/admin/sessions/{}", ended[0]["id"].as_str().expect("an id"));
    admin.request(Method::DELETE, &end).answer().await.expect(200);

    // With nobody reading, all that the edge tells stays there; stopping it makes it tell
    // everything.
    stack.control.plane.stop().await.expect("a graceful stop");
    let mut bytes_out = 0;
    for (token, device) in [(&first, SECOND), (&second, FIRST), (&second, FIRST)] {
        let answer = stack.edge().on(device, token, Method::PUT, "/upload").body(vec![7; 1000]).answer().await;
        assert_eq!(answer.status, 200);
        bytes_out = answer.body.len() as u64;
    }
    stack.edge_planes[0].stop().await.expect("a graceful stop");
    stack.edge_planes[0].start_again().await.expect("a start");
    let entries = stack.redis.command(&["XRANGE", USAGE, "-", "+"]).await.expect("entries");
    let entries: Vec<&str> = entries.lines().collect();
    let (entries, rest) = entries.as_chunks::<3>();
    assert!(rest.is_empty() && entries.len() >= 3, "an id, a field and a value each: {entries:?}");

    stack.control.plane.start_again().await.expect("a start");
    assert_counted(&stack, &second, "what was told meanwhile", 2, 2000, 2 * bytes_out).await;
    let known = async || {
        let mut known = alice.tokens().await;
        for token in [&first, &second] {
            known.extend(admin.sessions_of(token).await);
        }
        known
    };
    eventually!(admin.sessions_of(&first).await, |sessions| sessions.len() == 2);
    let before = known().await;
    for _ in 0..2 {
        for [_, field, value] in entries.iter().rev().chain(entries) {
            stack.redis.command(&["XADD", USAGE, "*", field, value]).await.expect("an entry");
        }
    }
    // Entries are read in order: once this is known, all before it was read.
    let last = alice.buys(1).await;
    stack.edge().on(FIRST, &last, Method::GET, PAGE).answer().await.expect(200);
    eventually!(admin.sessions_of(&last).await, |sessions| !sessions.is_empty());
    let mut after = known().await;
    after.retain(|known| known["id"] != last.id.to_string());
    assert_eq!(after, before);
    stack.finish().await;
}
