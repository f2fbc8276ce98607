//! Opening the upstream in a browser from where the token was bought, without its text ever being
//! in an address.

use http::Method;
use reqwest::Client;
use serde_json::json;
use testbed::{
    clients::http::{Ask, client},
    eventually,
    people::{Token, User},
    stack::Stack,
};

#[tokio::test]
async fn a_token_is_handed_to_a_browser_once_and_dies_with_the_token() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let opened = alice.request(Method::POST, &format!("/tokens/{}/open", token.id)).answer().await.expect(200);
    let url = opened["url"].as_str().expect("an address").to_owned();
    let code = url.strip_prefix(&format!("{}/_gateway/enter?code=", stack.edge().url())).expect("a code");
    stack.secrets.remember("code", code);
    assert!(!url.contains(&token.text));

    let browser = client().cookie_store(true).build().expect("a client");
    let entered = browser.get(format!("{url}&next=/certificates/filter?x=1")).answer().await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, &*format!("{}/certificates/filter?x=1", stack.edge().url()))
    );
    let cookie = entered.header("set-cookie").to_owned();
    assert!(!cookie.contains(&token.text), "the browser gets a credential of its own");
    let secret = cookie.split(['=', ';']).nth(1).expect("a value");
    stack.secrets.remember("browser's secret", secret);
    assert!(!stack.redis.command(&["--scan"]).await.expect("keys").contains(secret));
    browser.get(format!("{}/certificates/filter", stack.edge().url())).answer().await.expect(200);

    let again = browser.get(&url).answer().await;
    assert!((400..500).contains(&again.status), "a code is good once: {}", again.status);
    for next in ["//evil.example", "/\\evil.example", "https://evil.example"] {
        let opened = alice.request(Method::POST, &format!("/tokens/{}/open", token.id)).answer().await.expect(200);
        let url = opened["url"].as_str().expect("an address");
        stack.secrets.remember("code", url.rsplit('=').next().expect("a code"));
        let entered = client().build().expect("a client").get(format!("{url}&next={next}")).answer().await;
        assert_eq!(entered.header("location"), format!("{}/", stack.edge().url()), "{next}");
    }

    alice.rotates(&token).await;
    let status = async || browser.get(format!("{}/api/v1/proxy/status", stack.edge().url())).answer().await.status;
    eventually!(status().await, |status| *status == 401);
    stack.finish().await;
}

#[tokio::test]
async fn more_time_is_bought_for_a_token_in_use() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(1).await;
    assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    assert_eq!(alice.extends(&token, 24).await["duration_hours"], 25);
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status");
    let seconds = |body: &serde_json::Value| body["time_remaining_seconds"].as_u64().unwrap_or_default();
    let ask = async || status.try_clone().expect("no body").answer().await.expect(200);
    eventually!(ask().await, |body| seconds(body) > 24 * 3600);
    stack.finish().await;
}

/// A browser that was handed a token.
async fn handed_to_a_browser(stack: &Stack, owner: &User, token: &Token) -> Client {
    let opened = owner.request(Method::POST, &format!("/tokens/{}/open", token.id)).answer().await.expect(200);
    let url = opened["url"].as_str().expect("an address");
    stack.secrets.remember("code", url.rsplit('=').next().expect("a code"));
    let browser = client().cookie_store(true).build().expect("a client");
    assert_eq!(browser.get(url).answer().await.status, 303);
    browser
}

#[tokio::test]
async fn a_browser_keeps_its_token_when_another_that_it_tries_opens_nothing() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let [good, replaced] = [alice.buys(24).await, alice.buys(24).await];
    let browser = handed_to_a_browser(&stack, &alice, &good).await;
    alice.rotates(&replaced).await;
    eventually!(stack.edge().status_for(&replaced, "/").await, |status| *status == 401);
    for other in [&replaced, &Token::stranger()] {
        let sign_in = browser.post(format!("{}/api/v1/proxy/authenticate", stack.edge().url()));
        let refused = sign_in.json(&json!({ "token": other.text })).answer().await;
        assert_eq!((refused.status, refused.header("set-cookie")), (401, ""));
        assert_eq!(browser.get(stack.edge().url()).answer().await.status, 200);
    }
    stack.finish().await;
}
