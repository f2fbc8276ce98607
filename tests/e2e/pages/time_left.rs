//! What a page tells of the time left: by itself, where that is wanted, in a token's last minutes.

use http::Method;
use serde_json::json;
use testbed::{
    clients::{browser::Browser, http::Ask},
    eventually,
    stack::{Plan, Stack},
};

use super::gateway_pages::{navigation, rich, signs_in};

const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";

#[tokio::test]
async fn how_much_time_is_left_is_told_without_using_any_or_taking_the_device() {
    let stack = Stack::start().await;
    let alice = rich(&stack, "alice").await;
    let token = alice.buys(24).await;
    let edge = stack.edge();
    let told = async || {
        edge.by_cookie(&token, Method::GET, "/_gateway/time-left").header("accept-language", "ru").answer().await
    };
    let ready = told().await.expect(200);
    let buy_url = format!("{}/console/buy", stack.control.plane.url());
    assert_eq!(
        ready,
        json!({ "time_remaining_seconds": 86_400, "expires_at": null, "status": "ready", "notice_from_seconds": 600,
            "buy_url": buy_url, "language": "ru" })
    );
    assert_eq!(edge.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 200);
    let active = told().await.expect(200);
    assert!(active["status"] == "active" && active["expires_at"].is_string(), "{active}");
    assert_eq!(edge.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 200, "it took the device");
    // With more time the browser keeps its credential for longer, and stays the device that it is.
    alice.extends(&token, 24).await;
    let extended = eventually!(told().await, |answer| answer.json()["time_remaining_seconds"].as_u64() > Some(86_400));
    let cookies: Vec<&str> =
        extended.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()).collect();
    assert!(
        cookies[0].starts_with("zenzefi_access_token=") && cookies[0].contains("Max-Age=17279"),
        "{}",
        cookies.len()
    );
    assert!(cookies.iter().all(|line| !line.starts_with("zenzefi_device")), "{}", cookies.len());
    let by_header = edge.with(&token, Method::GET, "/_gateway/time-left").answer().await.expect(200);
    assert_eq!(by_header["status"], "active");
    let refused = edge.get("/_gateway/time-left").answer().await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.problem(), "Authentication required: provide cookie or X-Access-Token header");
    stack.finish().await;
}

fn with_notice() -> Plan {
    Stack::plan().edge_env("TIME_LEFT_NOTICE", "true")
}

#[tokio::test]
async fn a_page_of_the_upstream_gets_the_notice_once_and_nothing_else_does() {
    const SCRIPT: &str = "<script src=\"/_gateway/time-left.js?v=";
    let stack = with_notice().start().await;
    let alice = rich(&stack, "alice").await;
    let token = alice.buys(24).await;
    let edge = stack.edge();
    let browser = edge.browser_signed_in(&token).await;
    let page = |path: &str| navigation(browser.get(format!("{}{path}", edge.url())), "en");
    let shown = page("/").answer().await;
    let text = shown.text();
    assert_eq!(text.matches(SCRIPT).count(), 1, "{text}");
    let head = text.find("<head>").expect("a head");
    assert!(text[head..].starts_with(&format!("<head>{SCRIPT}")), "{text}");
    assert!(shown.header("vary").to_ascii_lowercase().contains("sec-fetch-dest"), "{:?}", shown.headers);
    assert!(page("/text").answer().await.text().starts_with(SCRIPT), "without a head it comes first");
    for coding in ["gzip", "br", "zstd"] {
        let coded = page(&format!("/text?coding={coding}")).header("accept-encoding", "identity").answer().await;
        assert!(coded.text().starts_with(SCRIPT), "{coding}");
    }
    let policy = page("/text?header=Content-Security-Policy:default-src 'none'").answer().await;
    let ours = format!("{}/_gateway/time-left", edge.url());
    assert_eq!(
        policy.header("content-security-policy"),
        format!("default-src 'none'; script-src-elem {ours}.js; connect-src {ours}")
    );

    let origin = edge.url();
    let nonce = page("/text?header=Content-Security-Policy:script-src 'nonce-abc'");
    for (what, request) in [
        ("a script that asks", browser.get(format!("{origin}/")).header("sec-fetch-dest", "empty")),
        ("a frame", browser.get(format!("{origin}/")).header("sec-fetch-dest", "iframe")),
        ("a browser that does not say", browser.get(format!("{origin}/"))),
        ("an API client", navigation(edge.on(FIRST, &token, Method::GET, "/"), "en")),
        ("a desktop client", page("/").header("x-local-url", "https://127.0.0.1:61000")),
        ("a file", page("/text?header=Content-Disposition:attachment")),
        ("other text", page("/text?type=text/plain")),
        ("a policy of nonces", nonce),
    ] {
        let answer = request.answer().await;
        assert!(!answer.text().contains(SCRIPT), "{what} gets it: {}", answer.status);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_page_tells_in_its_tokens_last_minutes_how_long_it_lasts_and_when_it_is_over() {
    let stack = with_notice().debug_env("TOKEN_HOUR_SECONDS", "20").start().await;
    let alice = rich(&stack, "alice").await;
    let edge = stack.edge();
    let buy_url = format!("{}/console/buy", stack.control.plane.url());
    for (language, spoken, over, buy) in [
        ("en", "Your access ends in 1 minute.", "Your access has ended.", "Buy more time"),
        ("ru", "Доступ закончится через 1 минуту.", "Время доступа закончилось.", "Купить ещё время"),
    ] {
        let token = alice.buys(1).await;
        let browser = Browser::start_reading(language).await;
        // Under a policy that lets a page run and show hardly anything.
        let policy = "default-src 'none'; style-src 'none'";
        signs_in(
            &browser,
            edge,
            &token,
            &format!("/text?header=Content-Security-Policy:{}", policy.replace(' ', "%20")),
        )
        .await;
        browser.reads_out("status", "").await;
        browser.reads_out("StaticText", spoken).await;
        // And nothing else of this origin is run or asked.
        let asks =
            "const tell = arguments[1]; fetch(arguments[0]).then(() => tell('asked'), () => tell('kept from it'))";
        assert_eq!(browser.awaits(asks, &[json!(format!("{}/health", edge.url()))]).await, "kept from it");
        let runs = "const [script, tell] = [document.createElement('script'), arguments[1]]; script.src = arguments[0]; \
            script.onload = () => tell('run'); script.onerror = () => tell('kept from it'); document.body.append(script)";
        assert_eq!(browser.awaits(runs, &[json!(format!("{}/assets/site.js", edge.url()))]).await, "kept from it");
        let before = browser.runs("return document.body.getBoundingClientRect().height", &[]).await;
        browser.keeps_screenshot(&format!("time-left-{language}")).await;
        assert!(browser.has_part("link", buy).await);
        browser.reads_out("StaticText", over).await;
        assert_eq!(browser.runs("return document.body.getBoundingClientRect().height", &[]).await, before);
        browser.keeps_screenshot(&format!("time-over-{language}")).await;
        let reload = if language == "ru" { "Обновить" } else { "Reload" };
        browser.presses("button", reload).await;
        browser.shows(".card", buy).await;
        let to = browser.attribute("a.button", "href").await.expect("a link");
        assert!(to.starts_with(&format!("{buy_url}?to=%2Ftext%3Fheader%3D")), "{to}");
        browser.stops().await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_dismissed_notice_comes_back_only_for_the_end_and_without_the_option_never() {
    let stack = with_notice().debug_env("TOKEN_HOUR_SECONDS", "15").start().await;
    let token = rich(&stack, "alice").await.buys(1).await;
    let browser = Browser::start_reading("en").await;
    signs_in(&browser, stack.edge(), &token, "/page").await;
    browser.reads_out("StaticText", "Your access ends in 1 minute.").await;
    browser.presses("button", "Dismiss").await;
    assert!(!browser.has_part("button", "Dismiss").await);
    browser.reads_out("StaticText", "Your access has ended.").await;
    stack.finish().await;

    let stack = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "15").start().await;
    let token = rich(&stack, "alice").await.buys(1).await;
    signs_in(&browser, stack.edge(), &token, "/page").await;
    browser.shows("#about", "reached by a root-relative link").await;
    eventually!(stack.edge().status_for(&token, PAGE).await, |status| *status == 401);
    assert_eq!(browser.runs("return document.querySelector('zenzefi-time-left, script')", &[]).await, json!(null));
    browser.stops().await;
    stack.finish().await;
}
