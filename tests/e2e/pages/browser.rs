//! In Chromium: from the sign-in page to the upstream's own page, with everything on it alive, and
//! with no way past the gateway.

use serde_json::json;
use testbed::{
    clients::{browser::Browser, local_proxy::LocalProxy},
    people::Token,
    stack::Stack,
    upstreams::standin::Standin,
};

#[tokio::test]
async fn a_browser_signs_in_and_sees_the_upstreams_page_alive() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let browser = Browser::start().await;

    browser.opens(stack.edge().url()).await;
    browser.shows("h1", "Sign in to Zenzefi").await;
    browser.keeps_screenshot("sign-in").await;
    browser.types("#token", &token.text).await;
    browser.clicks("button").await;

    browser.shows("h1", "Zenzefi stand-in").await;
    for (line, text) in [("#styles", "Styles: ok"), ("#images", "Images: ok"), ("#fetch", "fetch: ok")] {
        browser.shows(line, text).await;
    }
    browser.counts("#sse", "SSE: tick", 2).await;
    browser.counts("#websocket", "WebSocket: tick", 3).await;
    browser.shows("#certificates", "4A3F00C1").await;
    assert!(!browser.address().await.contains(&token.text));
    browser.keeps_screenshot("upstream").await;

    browser.clicks("#to-page").await;
    browser.shows("#about", "reached by a root-relative link").await;
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn the_pages_of_the_api_work_under_their_own_policy() {
    let stack = Stack::start().await;
    let browser = Browser::start().await;
    for (page, heading) in [("/docs", "h2.title"), ("/redoc", "h1")] {
        browser.opens(&format!("{}{page}", stack.control.plane.url())).await;
        browser.shows(heading, "Zenzefi Gateway").await;
    }
    browser.stops().await;
    stack.finish().await;
}

async fn signs_in(browser: &Browser, origin: &str, token: &Token) {
    browser.opens(origin).await;
    browser.types("#token", &token.text).await;
    browser.clicks("button").await;
}

/// Waits until all that the stand-in's page says of itself is well.
async fn is_all_alive(browser: &Browser) {
    for (line, text) in [
        ("#styles", "Styles: ok"),
        ("#images", "Images: ok"),
        ("#fetch", "fetch: ok"),
        ("#absolute-styles", "Absolute styles: ok"),
        ("#absolute-script", "Absolute script: ok"),
        ("#absolute-fetch", "Absolute fetch: workshop"),
        ("#absolute-cookie", "Cookie of this server: ok"),
    ] {
        browser.shows(line, text).await;
    }
    for (line, prefix) in [
        ("#sse", "SSE: tick"),
        ("#websocket", "WebSocket: tick"),
        ("#absolute-sse", "Absolute SSE: tick"),
        ("#absolute-websocket", "Absolute WebSocket: tick"),
    ] {
        browser.counts(line, prefix, 2).await;
    }
}

/// Checks that the browser's network log has what these pages need, all of it from this origin, and
/// that it complained of nothing.
async fn assert_all_went_to(browser: &Browser, origin: &str) {
    let requested = browser.requested().await;
    let socket_origin = origin.replacen("http", "ws", 1);
    for (from, path) in [
        (origin, "/assets/badge.png"),
        (origin, "/assets/absolute.js"),
        (origin, "/assets/absolute.css"),
        (origin, "/manifest.webmanifest"),
        (origin, "/users/currentUser"),
        (origin, "/sse"),
        (&socket_origin, "/ws/info"),
        (origin, "/page"),
    ] {
        assert!(requested.contains(&format!("{from}{path}")), "no {from}{path} in {requested:#?}");
    }
    let is_here = |address: &&String| {
        [origin, &socket_origin].iter().any(|here| address.starts_with(&format!("{here}/")))
            || ["data:", "blob:", "about:", "chrome:"].iter().any(|scheme| address.starts_with(scheme))
    };
    let elsewhere: Vec<&String> = requested.iter().filter(|address| !is_here(address)).collect();
    assert!(elsewhere.is_empty(), "requests left the gateway: {elsewhere:#?}");
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:#?}");
}

#[tokio::test]
async fn an_application_that_names_its_own_origin_works_with_no_request_past_the_gateway() {
    let stack = Stack::start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let browser = Browser::start().await;
    // By another host than the upstream's, so that its cookies show whether their domain was
    // fitted.
    let origin = stack.edge().url().replace("127.0.0.1", "localhost");

    signs_in(&browser, &origin, &token).await;
    is_all_alive(&browser).await;
    browser.keeps_screenshot("rewritten").await;
    browser.clicks("#absolute-link").await;
    browser.shows("#about", "reached by a root-relative link").await;
    assert_eq!(browser.address().await, format!("{origin}/page"));

    assert_all_went_to(&browser, &origin).await;
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn behind_a_local_tls_proxy_the_same_application_works_at_the_proxys_origin() {
    let stack = Stack::start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let local = LocalProxy::to(stack.edge().url()).await.expect("a local proxy");
    let browser = Browser::start_trusting().await;

    // Through a desktop client a refusal is no page of ours: it is the client that signs in.
    browser.opens(&format!("{}/page", local.url())).await;
    assert_eq!(browser.posts("/api/v1/proxy/authenticate", &json!({ "token": token.text })).await, 200);
    browser.opens(local.url()).await;
    is_all_alive(&browser).await;
    browser.keeps_screenshot("rewritten-for-a-local-proxy").await;
    browser.clicks("#relative-protocol-link").await;
    browser.shows("#about", "reached by a root-relative link").await;
    assert_eq!(browser.address().await, format!("{}/page", local.url()));

    assert_all_went_to(&browser, local.url()).await;
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn the_stand_ins_application_works_straight_too_and_names_its_own_origin() {
    let standin = Standin::start_on_free_ports().await.expect("a stand-in");
    let browser = Browser::start_trusting().await;
    let origin = standin.url();
    browser.opens(&origin).await;
    is_all_alive(&browser).await;
    browser.clicks("#absolute-link").await;
    browser.shows("#about", "reached by a root-relative link").await;
    assert_all_went_to(&browser, &origin).await;
    browser.stops().await;
}
