//! One token, one device at a time: which device gets it, for how long, and how it changes hands.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::redis::{USAGE, lease_key};
use testbed::{
    clients::{
        http::{Answer, Ask, client},
        websocket::{Socket, upgrade},
    },
    eventually,
    people::{Edge, Token, User},
    stack::{Plan, Stack},
    upstreams::silent::Silent,
};
use tokio::{task::JoinSet, time::timeout};

const DEVICES: usize = 50;
const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";
const SECOND: &str = "device-b-0123456789";
const NO_DEVICE: &str = "Device identification required: X-Device-ID header missing. Please update your Desktop Client to \
                         the latest version.";
/// Long enough that two busy cores do not let one lapse by accident.
const LEASE: Duration = Duration::from_secs(4);

fn with_short_leases() -> Plan {
    Stack::plan().edges(2).debug_env("LEASE_SECONDS", &LEASE.as_secs().to_string())
}

async fn buyer(stack: &Stack) -> (User, Token) {
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    (alice, token)
}

async fn status_on(edge: &Edge, device: &str, token: &Token) -> u16 {
    edge.on(device, token, Method::GET, PAGE).answer().await.status
}

/// Checks that a device is told which other one has the token, and since when.
fn assert_conflict(answer: &Answer) {
    assert_eq!(answer.status, 409, "{}", answer.text());
    let detail = answer.problem();
    let since = detail.strip_prefix("Token already in use on device 'device-a...'. Session started at ");
    let since = since.and_then(|rest| {
        rest.strip_suffix(". Wait for session timeout (5 minutes) or stop the other device.")
            .filter(|at| at.ends_with('Z'))
    });
    assert!(since.is_some_and(|at| at.starts_with("20") && at.contains('T')), "{detail}");
}

#[tokio::test]
async fn of_50_devices_that_race_for_a_fresh_token_exactly_one_gets_it() {
    let mut stack = Stack::plan().edges(2).start().await;
    let (_, token) = buyer(&stack).await;
    // What the edges tell of it stays where it can be counted.
    stack.control.plane.stop().await.expect("a graceful stop");
    let mut racing = JoinSet::new();
    for number in 0..DEVICES {
        let request = stack.edges[number % 2].on(&format!("device-a-{number:03}"), &token, Method::GET, PAGE);
        racing.spawn(request.answer());
    }
    let answers = racing.join_all().await;
    let (won, lost): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, DEVICES - 1));
    lost.iter().for_each(assert_conflict);
    assert_eq!(stack.standin.seen(PAGE).requests, 1);
    let told = stack.redis.command(&["XRANGE", USAGE, "-", "+"]).await.expect("what was told");
    // An edge may tell the same activation again.
    let activations: BTreeSet<&str> = told.lines().filter(|line| line.contains(r#""kind":"activated""#)).collect();
    assert_eq!(activations.len(), 1, "{told}");

    stack.control.plane.start_again().await.expect("a start");
    let sessions = eventually!(stack.control.admin.sessions_of(&token).await, |sessions| !sessions.is_empty());
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!(sessions[0]["request_count"], 1, "{sessions:?}");
    stack.finish().await;
}

#[tokio::test]
async fn a_token_is_free_for_another_device_one_lease_after_the_last_request() {
    let stack = with_short_leases().start().await;
    let (_, token) = buyer(&stack).await;
    assert_eq!(status_on(&stack.edges[0], FIRST, &token).await, 200);
    assert_eq!(status_on(&stack.edges[1], SECOND, &token).await, 409);
    // A later request, which the grant that the edge keeps would answer by itself, counts as well.
    let last = Instant::now();
    assert_eq!(status_on(&stack.edges[0], FIRST, &token).await, 200);
    eventually!(status_on(&stack.edges[1], SECOND, &token).await, |status| *status == 200);
    assert!(last.elapsed() >= LEASE, "it was let go after {:?}", last.elapsed());
    eventually!(status_on(&stack.edges[0], FIRST, &token).await, |status| *status == 409);
    stack.finish().await;
}

#[tokio::test]
async fn a_token_stays_with_its_device_for_a_lease_although_it_changes_meanwhile() {
    let stack = with_short_leases().start().await;
    let (alice, token) = buyer(&stack).await;
    let first = Instant::now();
    let mut asks = tokio::time::interval(LEASE / 20);
    while first.elapsed() < LEASE * 3 / 4 {
        asks.tick().await;
        // Until what its activation changed is taken in; then what the edge holds is renewed while
        // nobody uses it.
        if first.elapsed() < LEASE / 4 {
            assert_eq!(status_on(&stack.edges[0], FIRST, &token).await, 200);
        }
        assert_eq!(status_on(&stack.edges[1], SECOND, &token).await, 409, "after {:?}", first.elapsed());
    }
    let last = Instant::now();
    assert_eq!(status_on(&stack.edges[0], FIRST, &token).await, 200);
    alice.extends(&token, 24).await;
    eventually!(status_on(&stack.edges[1], SECOND, &token).await, |status| *status == 200);
    assert!(last.elapsed() >= LEASE, "it was let go after {:?}", last.elapsed());
    stack.finish().await;
}

#[tokio::test]
async fn a_rotated_token_is_free_for_another_device_at_once() {
    let stack = Stack::plan().edges(2).start().await;
    let (alice, token) = buyer(&stack).await;
    let [here, there] = &stack.edges[..] else { panic!("two edges") };
    assert_eq!(status_on(here, FIRST, &token).await, 200);
    assert_eq!(status_on(there, SECOND, &token).await, 409);
    let rotated = alice.rotates(&token).await;
    eventually!(status_on(there, SECOND, &rotated).await, |status| *status == 200);
    eventually!(status_on(here, FIRST, &token).await, |status| *status == 401);
    stack.finish().await;
}

#[tokio::test]
async fn a_request_that_never_reached_the_upstream_frees_its_device_however_long_it_tried() {
    let silent = Silent::start().await.expect("a listener");
    // Renewed several times while the edge tries, and far from over once it gave up.
    let plan = Stack::plan().debug_env("LEASE_SECONDS", "20").edge_env("ZENZEFI_URL", &silent.url());
    let mut stack = plan.start().await;
    stack.announce(502);
    let (_, token) = buyer(&stack).await;
    assert_eq!(status_on(stack.edge(), FIRST, &token).await, 502);
    let refused = Instant::now();
    let lease = lease_key(token.id, None);
    eventually!(stack.redis.command(&["EXISTS", &lease]).await.expect("a reply"), |count| count == "0");
    assert!(refused.elapsed() < Duration::from_secs(5), "it was let go after {:?}", refused.elapsed());
    stack.finish().await;
}

#[tokio::test]
async fn an_idle_websocket_keeps_its_device_the_token_for_many_leases() {
    let stack = with_short_leases().start().await;
    let (_, token) = buyer(&stack).await;
    let socket = Socket::idle(stack.edge(), &token, Some(FIRST)).await.expect("an upgrade");
    let opened = Instant::now();
    let mut asks = tokio::time::interval(LEASE / 20);
    while opened.elapsed() < LEASE * 4 {
        asks.tick().await;
        assert_eq!(status_on(&stack.edges[1], SECOND, &token).await, 409, "after {:?}", opened.elapsed());
    }
    drop(socket);
    eventually!(status_on(&stack.edges[1], SECOND, &token).await, |status| *status == 200);
    stack.finish().await;
}

#[tokio::test]
async fn only_the_device_that_has_a_token_can_let_it_go_and_what_it_has_open_ends() {
    let stack = Stack::plan().edges(2).start().await;
    let (_, token) = buyer(&stack).await;
    let [here, there] = &stack.edges[..] else { panic!("two edges") };
    for (method, path, own, others) in [
        (Method::POST, "/api/v1/proxy/session/release", json!({ "released": true }), json!({ "released": false })),
        (Method::DELETE, "/api/v1/proxy/logout", logged_out(), logged_out()),
    ] {
        let mut socket = Socket::idle(here, &token, Some(FIRST)).await.expect("an upgrade");
        let refused = there.on(SECOND, &token, method.clone(), path).answer().await.expect(200);
        assert_eq!(refused, others, "{path}");
        assert_eq!(status_on(there, SECOND, &token).await, 409, "{path} by another device");

        // Asked of the other edge, so that the one that holds the socket must hear of it.
        assert_eq!(there.on(FIRST, &token, method.clone(), path).answer().await.expect(200), own, "{path}");
        assert_eq!(status_on(there, SECOND, &token).await, 200, "{path}: at once");
        assert_eq!(socket.closed().await, (4008, "device taken over".to_owned()), "{path}");
        eventually!(status_on(here, FIRST, &token).await, |status| *status == 409);
        there.on(SECOND, &token, method, path).answer().await.expect(200);
        eventually!(status_on(here, FIRST, &token).await, |status| *status == 200);
        here.on(FIRST, &token, Method::POST, "/api/v1/proxy/session/release").answer().await.expect(200);
    }
    stack.finish().await;
}

fn logged_out() -> Value {
    json!({ "logged_out": true, "message": "Cookie deleted successfully" })
}

#[tokio::test]
async fn the_owner_takes_a_token_from_the_device_that_has_it() {
    let stack = Stack::plan().edges(2).start().await;
    let (alice, token) = buyer(&stack).await;
    let mallory = stack.control.user("mallory").await;
    let [here, there] = &stack.edges[..] else { panic!("two edges") };
    let mut socket = Socket::idle(here, &token, Some(FIRST)).await.expect("an upgrade");
    let mut download = here.on(FIRST, &token, Method::GET, "/stall?after=1000").send().await.expect("an answer");
    download.chunk().await.expect("a beginning");

    let release = format!("/tokens/{}/release-device", token.id);
    assert_eq!(mallory.request(Method::POST, &release).answer().await.status, 404);
    assert_eq!(status_on(there, SECOND, &token).await, 409);
    let released = alice.request(Method::POST, &release).answer().await.expect(200);
    assert_eq!(released, json!({ "released": true, "token_id": token.id }));
    assert_eq!(status_on(there, SECOND, &token).await, 200, "at once");
    assert_eq!(socket.closed().await, (4008, "device taken over".to_owned()));
    let rest = timeout(eventually::DEADLINE, download.chunk()).await.expect("an end in time");
    assert!(rest.is_err(), "an answer that was cut passed for a whole one: {rest:?}");
    assert_conflict_with_device(&here.on(FIRST, &token, Method::GET, PAGE).answer().await, "device-b...");
    stack.finish().await;
}

fn assert_conflict_with_device(answer: &Answer, device: &str) {
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.problem().contains(device), "{}", answer.text());
}

#[tokio::test]
async fn looking_at_a_token_takes_it_from_nobody_and_is_open_to_every_device() {
    let stack = Stack::plan().edge_env("DEVICE_POLICY", "required").start().await;
    let (_, token) = buyer(&stack).await;
    let edge = stack.edge();
    let status = || edge.with(&token, Method::GET, "/api/v1/proxy/status");
    let sign_in = || edge.request(Method::POST, "/api/v1/proxy/authenticate").json(&json!({ "token": token.text }));
    for look in [status(), status().header("X-Device-ID", FIRST), sign_in(), sign_in().header("X-Device-ID", FIRST)] {
        look.answer().await.expect(200);
    }
    assert_eq!(status_on(edge, SECOND, &token).await, 200);
    assert_eq!(status_on(edge, FIRST, &token).await, 409);
    for look in [status(), status().header("X-Device-ID", FIRST), sign_in(), sign_in().header("X-Device-ID", FIRST)] {
        look.answer().await.expect(200);
    }
    assert_eq!(status_on(edge, SECOND, &token).await, 200);
    stack.finish().await;
}

#[tokio::test]
async fn where_a_device_is_required_a_header_or_our_cookie_names_it() {
    let stack = Stack::plan().edge_env("DEVICE_POLICY", "required").start().await;
    let (_, token) = buyer(&stack).await;
    let edge = stack.edge();
    let nameless = edge.with(&token, Method::GET, PAGE).answer().await;
    assert_eq!(nameless.status, 403);
    assert_eq!(nameless.problem(), NO_DEVICE);
    assert_eq!(Socket::open(upgrade(edge, &token, None, "")).await.err(), Some(403));
    assert_eq!(stack.standin.seen(PAGE).requests, 0);

    let browser = edge.browser_signed_in(&token).await;
    assert_eq!(browser.get(format!("{}{PAGE}", edge.url())).answer().await.status, 200);
    assert_eq!(edge.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 409);
    stack.finish().await;
}

#[tokio::test]
async fn without_a_policy_on_devices_several_use_a_token_at_once() {
    let stack = Stack::plan().edges(2).edge_env("DEVICE_POLICY", "off").start().await;
    let (_, token) = buyer(&stack).await;
    let mut sockets = Vec::new();
    for (edge, device) in stack.edges.iter().zip([FIRST, SECOND]) {
        let mut socket = Socket::open(upgrade(edge, &token, Some(device), "every_ms=100")).await.expect("an upgrade");
        socket.next().await;
        sockets.push(socket);
    }
    for (edge, device) in stack.edges.iter().zip([SECOND, FIRST]) {
        assert_eq!(status_on(edge, device, &token).await, 200, "{device}");
    }
    for socket in &mut sockets {
        socket.next().await;
    }
    drop(sockets);
    stack.finish().await;
}

#[tokio::test]
async fn a_browser_is_given_a_device_of_its_own_whichever_way_it_signs_in() {
    let stack = Stack::start().await;
    let (alice, token) = buyer(&stack).await;
    let edge = stack.edge();
    let opened = alice.request(Method::POST, &format!("/tokens/{}/open", token.id)).answer().await.expect(200);
    let url = opened["url"].as_str().expect("an address");
    stack.secrets.remember("code", url.rsplit('=').next().expect("a code"));
    let form = edge.request(Method::POST, "/_gateway/sign-in").body(format!("token={}&next=/", token.text));
    let ways: [(&str, RequestBuilder); 4] = [
        (
            "authenticate",
            edge.request(Method::POST, "/api/v1/proxy/authenticate").json(&json!({ "token": token.text })),
        ),
        (
            "the sign-in page",
            form.header("content-type", "application/x-www-form-urlencoded").header("origin", edge.url()),
        ),
        ("a hand-over", client().build().expect("a client").get(url)),
        ("a link", edge.get(&format!("/?token={}", token.text))),
    ];
    let mut devices = Vec::new();
    for (way, request) in ways {
        let answer = request.answer().await;
        let lines: Vec<&str> =
            answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()).collect();
        let line = lines.iter().find(|line| line.starts_with("zenzefi_device="));
        let line = line.unwrap_or_else(|| panic!("{way}: {} {lines:?}", answer.status));
        for attribute in ["HttpOnly", "Path=/", "SameSite=Lax"] {
            assert!(line.split("; ").any(|given| given == attribute), "{way}: {attribute} in {line}");
        }
        devices.push(line.split(['=', ';']).nth(1).unwrap_or_default().to_owned());
    }
    devices.sort();
    devices.dedup();
    assert_eq!(devices.len(), 4, "a device's name is drawn for each browser");
    assert!(devices.iter().all(|device| device.len() >= 20), "and cannot be guessed");
    stack.finish().await;
}

#[tokio::test]
async fn two_browsers_are_two_devices_and_one_that_signs_in_again_stays_itself() {
    let stack = Stack::start().await;
    let (_, token) = buyer(&stack).await;
    let edge = stack.edge();
    let page = format!("{}{PAGE}", edge.url());
    let (first, second) = (edge.browser_signed_in(&token).await, edge.browser_signed_in(&token).await);
    assert_eq!(first.get(&page).answer().await.status, 200);
    let refused = second.get(&page).answer().await;
    assert_conflict_with_device(&refused, "browser-...");
    let navigation = second.get(&page).header("accept", "text/html").header("sec-fetch-mode", "navigate");
    let shown = navigation.header("sec-fetch-dest", "document").answer().await;
    assert_eq!(shown.status, 409);
    assert!(shown.header("content-type").starts_with("text/html"), "{:?}", shown.headers);

    let sign_in = first.post(format!("{}/api/v1/proxy/authenticate", edge.url()));
    sign_in.json(&json!({ "token": token.text })).answer().await.expect(200);
    assert_eq!(first.get(&page).answer().await.status, 200);
    first.delete(format!("{}/api/v1/proxy/logout", edge.url())).answer().await.expect(200);
    assert_eq!(second.get(&page).answer().await.status, 200);
    stack.finish().await;
}

#[tokio::test]
async fn an_old_desktop_client_without_a_device_cookie_works_from_one_address() {
    let stack = Stack::plan().edges(2).start().await;
    let (_, token) = buyer(&stack).await;
    let cookie = format!("theme=dark; zenzefi_access_token={}", token.text);
    let through_client = |edge: &Edge, path: &str| {
        let request = edge.get(&format!("/api/v1/proxy{path}")).header("cookie", &cookie);
        request.header("X-Local-Url", "https://127.0.0.1:61000").header("user-agent", "Mozilla/5.0")
    };
    for edge in &stack.edges {
        for path in [PAGE, "/certificates/filter", "/echo"] {
            assert_eq!(through_client(edge, path).answer().await.status, 200, "{path}");
        }
    }
    assert_conflict_with_device(&stack.edge().on(FIRST, &token, Method::GET, PAGE).answer().await, "address-...");
    let sessions = eventually!(stack.control.admin.sessions_of(&token).await, |sessions| !sessions.is_empty());
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    stack.finish().await;
}
