//! In Chromium: from the sign-in page to the upstream's own page, with everything on it alive.

use testbed::{browser::Browser, stack::Stack};

#[tokio::test]
async fn a_browser_signs_in_and_sees_the_upstreams_page_alive() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let browser = Browser::start().await;

    browser.opens(stack.edge().url()).await;
    browser.shows("h1", "Zenzefi Gateway").await;
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
