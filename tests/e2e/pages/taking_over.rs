//! How a token changes hands: the holder of a good credential goes on at another device.

use http::{HeaderValue, Method};
use reqwest::RequestBuilder;
use serde_json::json;
use testbed::{
    clients::{browser::Browser, http::Ask, websocket::Socket},
    eventually,
    people::{Edge, Token},
    stack::Stack,
};

use super::gateway_pages::{rich, signs_in};

const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";
const SECOND: &str = "device-b-0123456789";

#[tokio::test]
async fn of_two_browsers_the_second_takes_the_token_over_and_the_first_is_cut_and_told() {
    let stack = Stack::plan().edges(2).start().await;
    let alice = rich(&stack, "alice").await;
    let token = alice.buys(24).await;
    let (first, second) = (Browser::start().await, Browser::start_reading("ru").await);
    let [here, there] = &stack.edges[..] else { panic!("two edges") };

    signs_in(&first, here, &token, "/").await;
    first.counts("#websocket", "WebSocket: tick", 2).await;
    signs_in(&second, there, &token, "/?x=1").await;
    second.shows("h1", "Ваш токен используется на другом устройстве").await;
    second.shows(".card", "другой браузер").await;
    second.clicks("button").await;
    second.shows("h1", "Zenzefi stand-in").await;
    assert_eq!(second.address().await, format!("{}/?x=1", there.url()));
    first.shows("#websocket", "WebSocket: closed 4008 device taken over").await;
    first.reloads().await;
    first.shows("h1", "Your token is in use on another device").await;

    // The last taker has it.
    first.clicks("button").await;
    first.shows("h1", "Zenzefi stand-in").await;
    second.shows("#websocket", "WebSocket: closed 4008 device taken over").await;
    first.counts("#websocket", "WebSocket: tick", 2).await;
    let audited = "/admin/audit-logs?action=release_device";
    let lines = async || stack.control.admin.request(Method::GET, audited).answer().await.expect(200);
    let lines = eventually!(lines().await, |lines| lines["total"] == 2);
    for line in lines["items"].as_array().expect("lines") {
        assert_eq!((&line["user_id"], &line["resource_id"]), (&json!(alice.id), &json!(token.id)));
        assert_eq!((&line["details"], &line["ip_address"]), (&json!({ "by": "device" }), &json!("127.0.0.1")));
    }
    first.stops().await;
    second.stops().await;
    stack.finish().await;
}

fn take_over(edge: &Edge, token: &Token, device: &str) -> RequestBuilder {
    let form = edge.on(device, token, Method::POST, "/_gateway/take-over");
    form.header("content-type", "application/x-www-form-urlencoded").body("next=/page")
}

#[tokio::test]
async fn a_token_is_taken_over_by_any_holder_and_that_starts_no_clock() {
    let plan = Stack::plan().edges(2).edge_env("TRUSTED_PROXIES", "127.0.0.1");
    let mut stack = plan.start().await;
    stack.settle().await;
    let alice = rich(&stack, "alice").await;
    let token = alice.buys(24).await;
    let [here, there] = &stack.edges[..] else { panic!("two edges") };
    let taken = async |edge: &Edge, device: &str| take_over(edge, &token, device).answer().await.status;

    // Nobody has it, and it stays as it is.
    assert_eq!(taken(here, FIRST).await, 303);
    let status = here.with(&token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
    assert_eq!(status["status"], "ready");

    let mut socket = Socket::idle(here, &token, Some(FIRST)).await.expect("an upgrade");
    assert_eq!(taken(there, FIRST).await, 303, "by who has it already");
    assert!(socket.is_open().await);
    let foreign = take_over(there, &token, SECOND).header("origin", "https://evil.example").answer().await;
    assert_eq!(foreign.status, 403);
    assert_eq!(take_over(there, &Token::stranger(), SECOND).answer().await.status, 401);
    assert_eq!(here.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 200);
    assert!(socket.is_open().await);

    // Of what calls itself at length, as much is told as of a session.
    let at_length = HeaderValue::from_str(&"ж".repeat(300)).expect("an agent");
    let answer = take_over(there, &token, SECOND).header("user-agent", at_length).answer().await;
    let audited = async || {
        let lines = "/admin/audit-logs?action=release_device";
        stack.control.admin.request(Method::GET, lines).answer().await.expect(200)
    };
    let lines = eventually!(audited().await, |lines| lines["total"] == 1);
    assert_eq!(lines["items"][0]["user_agent"], "ж".repeat(256));
    assert_eq!((answer.status, answer.header("location")), (303, format!("{}/page", there.url()).as_str()));
    assert_eq!(socket.closed().await, (4008, "device taken over".to_owned()));
    // It is kept for the one who took it before that one's first request.
    assert_eq!(here.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 409);
    assert_eq!(there.on(SECOND, &token, Method::GET, PAGE).answer().await.status, 200);

    // From where it may not be used it is taken from nobody.
    let only_there = json!({ "allowed_networks": ["192.0.2.0/24", "127.0.0.1"] });
    alice.request(Method::PATCH, &format!("/tokens/{}", token.id)).json(&only_there).answer().await.expect(200);
    let elsewhere = async || take_over(here, &token, FIRST).header("x-forwarded-for", "198.51.100.9").answer().await;
    eventually!(elsewhere().await.status, |status| *status == 403);
    assert_eq!(there.on(SECOND, &token, Method::GET, PAGE).answer().await.status, 200);

    // However many take it at once, one has it.
    let takers: Vec<String> = (0..8).map(|number| format!("device-{number}-0123456789")).collect();
    let racing = takers
        .iter()
        .map(|device| take_over(if device.contains("-3-") { here } else { there }, &token, device).answer());
    assert!(futures_util::future::join_all(racing).await.iter().all(|answer| answer.status == 303));
    let mut holders = 0;
    for device in &takers {
        holders += u32::from(here.on(device, &token, Method::GET, PAGE).answer().await.status == 200);
    }
    assert_eq!(holders, 1);
    alice.rotates(&token).await;
    eventually!(taken(here, FIRST).await, |status| *status == 401);
    stack.finish().await;
}
