//! From where a token may be used: its user's lists and its own, beside those of the gateway.

use std::time::{Duration, Instant};

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::redis::{lease_key, token_key};
use testbed::{
    clients::{
        http::{Answer, Ask},
        websocket::{Socket, upgrade},
    },
    eventually,
    people::{Token, User},
    stack::{Plan, Stack},
};
use tokio::task::JoinSet;

const FORWARDED_FOR: &str = "X-Forwarded-For";
const PAGE: &str = "/users/currentUser";
const KEPT_OUT: &str = "This access token may not be used from this address";
const FIRST: &str = "device-a-0123456789";
const SECOND: &str = "device-b-0123456789";
const OFFICE: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.7";
/// Long enough that two busy cores do not let one lapse by accident.
const LEASE: Duration = Duration::from_secs(4);

/// Behind a proxy that says where each client is.
fn planned() -> Plan {
    Stack::plan().edge_env("TRUSTED_PROXIES", "127.0.0.1")
}

async fn buyer(stack: &Stack) -> (User, Token) {
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    (alice, token)
}

async fn restricts(owner: &User, token: &Token, to: &Value) {
    owner.request(Method::PATCH, &format!("/tokens/{}", token.id)).json(to).answer().await.expect(200);
}

fn from(stack: &Stack, address: &str, device: &str, token: &Token) -> RequestBuilder {
    stack.edge().on(device, token, Method::GET, PAGE).header(FORWARDED_FOR, address)
}

async fn ask(stack: &Stack, address: &str, device: &str, token: &Token) -> Answer {
    from(stack, address, device, token).answer().await
}

/// From which of these addresses a token works: until the last change is heard from some that it no
/// longer does.
async fn works_from(stack: &Stack, token: &Token, addresses: &[&'static str]) -> Vec<&'static str> {
    let mut works = Vec::new();
    for &address in addresses {
        let answer = ask(stack, address, FIRST, token).await;
        match answer.status {
            200 => works.push(address),
            403 if answer.problem() == KEPT_OUT || answer.problem() == "Access from this address is not allowed" => {}
            _ => panic!("{address}: {}", answer.text()),
        }
    }
    works
}

#[tokio::test]
async fn a_token_works_where_gateway_user_and_token_all_allow_it_and_none_denies_it() {
    const ADDRESSES: [&str; 5] = [OFFICE, "192.0.2.200", CAFE, "203.0.113.9", "2001:db8::7"];
    let mut stack = planned().edge_env("DENIED_ADDRESSES", "203.0.113.0/24").start().await;
    stack.settle().await;
    let (alice, token) = buyer(&stack).await;
    for (of_user, of_token, expected) in [
        (json!({}), json!({}), &[OFFICE, "192.0.2.200", CAFE, "2001:db8::7"][..]),
        (json!({}), json!({ "allowed_networks": ["192.0.2.0/24", "203.0.113.9"] }), &[OFFICE, "192.0.2.200"]),
        (json!({}), json!({ "denied_networks": ["192.0.2.200"] }), &[OFFICE]),
        (json!({ "denied_networks": ["192.0.2.0/25"] }), json!({}), &[]),
        (json!({}), json!({ "allowed_networks": [] }), &[CAFE, "2001:db8::7"]),
        (
            json!({ "allowed_networks": ["2001:db8::/32", "::ffff:198.51.100.0/120"] }),
            json!({}),
            &[CAFE, "2001:db8::7"],
        ),
        (json!({}), json!({ "denied_networks": ["::/0"] }), &[CAFE]),
        (
            json!({ "allowed_networks": [], "denied_networks": [] }),
            json!({ "denied_networks": [] }),
            &[OFFICE, "192.0.2.200", CAFE, "2001:db8::7"],
        ),
    ] {
        stack.control.admin.changes(&alice, &of_user).await.expect(200);
        restricts(&alice, &token, &of_token).await;
        eventually!(works_from(&stack, &token, &ADDRESSES).await, |works| works == expected);
        // What IPv4 within IPv6 names is the IPv4 address.
        let mapped = ask(&stack, &format!("::ffff:{CAFE}"), FIRST, &token).await.status;
        assert_eq!(mapped == 200, expected.contains(&CAFE), "{of_user} {of_token}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_blocked_client_neither_starts_a_token_nor_takes_it_and_learns_nothing_of_it() {
    let stack = planned().start().await;
    let (alice, token) = buyer(&stack).await;
    restricts(&alice, &token, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    for request in [
        from(&stack, CAFE, FIRST, &token),
        stack.edge().by_cookie(&token, Method::GET, PAGE).header(FORWARDED_FOR, CAFE),
        stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").header(FORWARDED_FOR, CAFE),
        stack.edge().request(Method::POST, "/api/v1/proxy/authenticate").json(&json!({ "token": token.text })),
        stack.edge().get(&format!("/?token={}", token.text)).header(FORWARDED_FOR, CAFE),
    ] {
        let refused = request.answer().await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, KEPT_OUT), "{}", refused.text());
        assert!(refused.headers.get("set-cookie").is_none(), "{refused:?}");
    }
    // What is not held can be given up by anybody who could hold it.
    let given_up = stack.edge().on(FIRST, &token, Method::POST, "/api/v1/proxy/session/release");
    assert_eq!(given_up.header(FORWARDED_FOR, CAFE).answer().await.expect(200), json!({ "released": false }));
    let mut socket = upgrade(stack.edge(), &token, Some(FIRST), "");
    socket.headers_mut().insert("x-forwarded-for", CAFE.parse().expect("a value"));
    assert_eq!(Socket::open(socket).await.expect_err("a refusal"), 403);
    assert_eq!(stack.standin.seen(PAGE).requests, 0);
    let id = token.id;
    assert_eq!(stack.redis.command(&["EXISTS", &lease_key(id, None)]).await.expect("a count"), "0");
    let fields = stack.redis.command(&["HKEYS", &token_key(id)]).await.expect("fields");
    assert!(!fields.contains("claim:") && !fields.contains("activated_at"), "{fields}");

    let inside = ask(&stack, OFFICE, SECOND, &token).await;
    assert_eq!(inside.status, 200, "{}", inside.text());
    // Not that another device has it.
    assert_eq!(ask(&stack, CAFE, FIRST, &token).await.problem(), KEPT_OUT);
    stack.finish().await;
}

#[tokio::test]
async fn a_blocked_client_does_not_keep_an_unused_token_from_being_refunded() {
    let stack = planned().start().await;
    let (alice, token) = buyer(&stack).await;
    restricts(&alice, &token, &json!({ "denied_networks": [CAFE] })).await;
    assert_eq!(ask(&stack, CAFE, FIRST, &token).await.status, 403);
    assert_eq!(alice.refunds(&token).await.expect(200)["revoked"], true);
    stack.finish().await;
}

#[tokio::test]
async fn who_is_kept_out_does_not_go_on_holding_a_token_by_trying() {
    let stack = planned().debug_env("LEASE_SECONDS", &LEASE.as_secs().to_string()).start().await;
    let (alice, token) = buyer(&stack).await;
    assert_eq!(ask(&stack, CAFE, FIRST, &token).await.status, 200);
    restricts(&alice, &token, &json!({ "denied_networks": [CAFE] })).await;
    eventually!(ask(&stack, CAFE, FIRST, &token).await.status, |status| *status == 403);
    let tries = async {
        let mut ticks = tokio::time::interval(LEASE / 40);
        loop {
            ticks.tick().await;
            let status = ask(&stack, CAFE, FIRST, &token).await.status;
            if status != 403 {
                return status;
            }
        }
    };
    let others = async {
        let began = Instant::now();
        eventually!(ask(&stack, OFFICE, SECOND, &token).await.status, |status| *status == 200);
        began.elapsed()
    };
    tokio::select! {
        status = tries => panic!("who is kept out got {status}"),
        waited = others => assert!(waited < LEASE * 2, "another device waited for {waited:?}"),
    }
    stack.finish().await;
}

#[tokio::test]
async fn of_one_device_at_two_addresses_only_the_one_that_is_denied_is_cut_and_refused() {
    let stack = planned().start().await;
    let (alice, token) = buyer(&stack).await;
    let socket = async |address: &str| {
        let mut request = upgrade(stack.edge(), &token, Some(FIRST), "every_ms=3600000");
        request.headers_mut().insert("x-forwarded-for", address.parse().expect("a value"));
        let mut socket = Socket::open(request).await.expect("an upgrade");
        socket.next().await;
        socket
    };
    let (cut, mut spared) = (socket(CAFE).await, socket(OFFICE).await);
    stack.control.admin.changes(&alice, &json!({ "denied_networks": [CAFE] })).await.expect(200);
    cut.ended().await.expect(4005, "address not allowed");
    assert!(spared.is_open().await);
    let mut asks = JoinSet::new();
    for number in 0..100 {
        let address = if number % 2 == 0 { CAFE } else { OFFICE };
        let request = from(&stack, address, FIRST, &token);
        asks.spawn(async move { (address, request.answer().await.status) });
    }
    for (address, status) in asks.join_all().await {
        assert_eq!(status, if address == CAFE { 403 } else { 200 }, "{address}");
    }
    drop(spared);
    stack.finish().await;
}

#[tokio::test]
async fn from_where_a_token_may_be_used_outlives_a_flush_of_redis() {
    let mut stack = planned().start().await;
    stack.announce(503);
    let (alice, used) = buyer(&stack).await;
    let fresh = alice.buys(24).await;
    for token in [&used, &fresh] {
        restricts(&alice, token, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    }
    stack.control.admin.changes(&alice, &json!({ "denied_networks": ["192.0.2.200"] })).await.expect(200);
    let statuses = async || {
        let mut statuses = Vec::new();
        for (address, token) in [(OFFICE, &used), (CAFE, &used), ("192.0.2.200", &used), (CAFE, &fresh)] {
            statuses.push(ask(&stack, address, FIRST, token).await.status);
        }
        statuses
    };
    eventually!(statuses().await, |statuses| *statuses == [200, 403, 403, 403]);
    stack.redis.flush().await.expect("a flush");
    eventually!(
        {
            let statuses = statuses().await;
            assert!(statuses[1..].iter().all(|status| [403, 503].contains(status)), "{statuses:?}");
            statuses
        },
        |statuses| *statuses == [200, 403, 403, 403]
    );
    stack.finish().await;
}

#[tokio::test]
async fn whoami_tells_whether_a_token_may_be_used_from_there() {
    let stack = planned().start().await;
    let (alice, token) = buyer(&stack).await;
    restricts(&alice, &token, &json!({ "denied_networks": [CAFE] })).await;
    let whoami = async |request: RequestBuilder, address: &str| {
        request.header(FORWARDED_FOR, address).answer().await.expect(200)["address_allowed"].clone()
    };
    let holder = || stack.edge().with(&token, Method::GET, "/_gateway/whoami");
    assert_eq!(whoami(holder(), OFFICE).await, true);
    assert_eq!(whoami(holder(), CAFE).await, false);
    assert_eq!(whoami(stack.edge().get("/_gateway/whoami"), CAFE).await, Value::Null);
    stack.finish().await;
}
