//! What people are shown at the edge: each refusal in both languages, with what to do about it; how a token changes hands; what a page
//! tells of the time left; and the console at a host of its own.

use http::Method;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use testbed::{
    actors::{Edge, Token, User},
    browser::Browser,
    client::{Answer, Ask, client},
    eventually,
    socket::Socket,
    stack::{Plan, Stack},
    standin::Standin,
};

const LANGUAGES: [&str; 2] = ["en", "ru"];
const PAGE: &str = "/users/currentUser";
const FIRST: &str = "device-a-0123456789";

/// As a browser asks for a page.
fn navigation(request: RequestBuilder, language: &str) -> RequestBuilder {
    let request =
        request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").header("accept-language", language);
    request
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", "same-origin")
}

/// A page of the gateway, checked for what each of them keeps to.
#[track_caller]
fn assert_page(answer: &Answer, status: u16, language: &str, title: &str) -> String {
    let page = answer.text();
    assert_eq!(answer.status, status, "{page}");
    assert!(answer.header("content-type").starts_with("text/html"), "{:?}", answer.headers);
    assert!(page.contains(&format!("<html lang=\"{language}\">")), "{page}");
    assert!(page.contains(&format!("<h1>{title}</h1>")) && page.contains(&format!("<title>{title} · ")), "{page}");
    assert_eq!(page.matches("<h1").count(), 1, "{page}");
    assert!(!page.contains("<script") && !page.contains("style="), "{page}");
    assert!(
        answer.header("content-security-policy").starts_with("default-src 'none'; style-src "),
        "{:?}",
        answer.headers
    );
    page
}

struct Expected {
    status: u16,
    /// In both languages.
    titles: [&'static str; 2],
    /// What the page offers to do, in both.
    offers: [&'static str; 2],
}

async fn assert_pages(request: impl Fn() -> RequestBuilder, expected: &Expected) {
    for (language, (title, offer)) in LANGUAGES.into_iter().zip(expected.titles.into_iter().zip(expected.offers)) {
        let answer = navigation(request(), language).answer().await;
        let page = assert_page(&answer, expected.status, language, title);
        assert!(page.contains(offer), "no {offer} in {page}");
    }
}

async fn rich(stack: &Stack, name: &str) -> User {
    stack.control.user(name).with_credits(2_000).await
}

#[tokio::test]
async fn a_page_says_what_became_of_a_token_and_what_to_do_in_both_languages() {
    let mut stack = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "2").start().await;
    stack.settle().await;
    let edge = stack.edge();
    let portal = format!("{}/console", stack.control.plane.url());
    let (alice, mallory) = (rich(&stack, "alice").await, rich(&stack, "mallory").await);
    let [expired, rotated, suspended] = [alice.buys(1).await, alice.buys(720).await, mallory.buys(720).await];
    assert_eq!(edge.status_for(&expired, PAGE).await, 200);
    alice.rotates(&rotated).await;
    stack.control.admin.changes(&mallory, &json!({ "is_active": false })).await.expect(200);
    for token in [&expired, &rotated, &suspended] {
        eventually!(edge.status_for(token, PAGE).await, |status| *status == 401);
    }

    let back = "buy?to=%2Fusers%2FcurrentUser%3Fx%3D1";
    let buy = ["Buy more time", "Купить ещё время"];
    let cases: [(Option<&Token>, [&str; 2], [&str; 2]); 5] = [
        (None, ["Sign in to Zenzefi", "Вход в Zenzefi"], ["Buy one", "Купить"]),
        (Some(&expired), ["Your time is over", "Время доступа закончилось"], buy),
        (
            Some(&rotated),
            ["This token no longer works", "Этот токен больше не действует"],
            ["Go to the portal", "Перейти на портал"],
        ),
        (
            Some(&suspended),
            ["This account is suspended", "Учётная запись приостановлена"],
            ["administrator", "администратор"],
        ),
        (Some(&Token::stranger()), ["There is no such token", "Такого токена нет"], ["Buy one", "Купить"]),
    ];
    for (token, titles, offers) in cases {
        let asked = || match token {
            Some(token) => edge.by_cookie(token, Method::GET, &format!("{PAGE}?x=1")),
            None => edge.get(&format!("{PAGE}?x=1")),
        };
        assert_pages(asked, &Expected { status: 401, titles, offers }).await;
        let answer = navigation(asked(), "en").answer().await;
        let page = answer.text();
        assert!(
            page.contains(r#"action="/_gateway/sign-in""#) && page.contains(r#"value="/users/currentUser?x=1""#),
            "{page}"
        );
        assert_eq!(
            page.contains(&format!("{portal}/{back}")),
            ["Buy one", "Buy more time"].contains(&offers[0]),
            "{page}"
        );
        assert_eq!(answer.header("set-cookie").contains("Max-Age=0"), token.is_some(), "{:?}", answer.headers);
        // To everything but a browser all these are the same as ever.
        let refused = asked().answer().await;
        let detail = if token.is_some() { "Invalid or expired access token" } else { "Authentication required: " };
        assert!(refused.status == 401 && refused.problem().starts_with(detail), "{}", refused.text());
    }

    // A script of the page hears of it first and loses the cookie; the page that comes next says why all the same, until somebody signs in.
    let browser = client().cookie_store(true).build().expect("a client");
    let good = alice.buys(720).await;
    let sign_in = |token: &Token| {
        let sign_in = browser.post(format!("{}/api/v1/proxy/authenticate", edge.url()));
        sign_in.json(&json!({ "token": token.text }))
    };
    let short = alice.buys(1).await;
    sign_in(&short).answer().await.expect(200);
    let polled = async || browser.get(format!("{}{PAGE}", edge.url())).answer().await.status;
    eventually!(polled().await, |status| *status == 401);
    for _ in 0..2 {
        let page = navigation(browser.get(edge.url()), "en").answer().await;
        assert_page(&page, 401, "en", "Your time is over");
    }
    sign_in(&good).answer().await.expect(200);
    browser.delete(format!("{}/api/v1/proxy/logout", edge.url())).answer().await.expect(200);
    assert_page(&navigation(browser.get(edge.url()), "en").answer().await, 401, "en", "Sign in to Zenzefi");

    // The form says the same of what is pasted, and keeps where it leads.
    let form = |token: &Token| {
        let form = edge.request(Method::POST, "/_gateway/sign-in").header("origin", edge.url());
        form.header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={}&next=/page?x=1", token.text))
    };
    let answer = form(&expired).header("accept-language", "ru").answer().await;
    let page = assert_page(&answer, 401, "ru", "Время доступа закончилось");
    assert!(page.contains(r#"value="/page?x=1""#) && !page.contains(&expired.text), "{page}");

    let gone = || edge.get("/_gateway/enter?code=used&next=/page");
    let titles = ["This link does not work any more", "Эта ссылка больше не действует"];
    assert_pages(gone, &Expected { status: 401, titles, offers: ["Go to the portal", "Перейти на портал"] }).await;
    assert!(navigation(gone(), "en").answer().await.text().contains(r#"value="/page""#), "it leads on");
    stack.finish().await;
}

#[tokio::test]
async fn a_page_says_why_a_good_token_does_not_open_something_in_both_languages() {
    let plan = Stack::plan().edge_env("UNKNOWN_TOKENS_PER_MINUTE", "2").edge_env("TRUSTED_PROXIES", "127.0.0.1");
    let stack = plan.start().await;
    let (edge, alice) = (stack.edge(), rich(&stack, "alice").await);
    let [token, kept_out] = [alice.buys(24).await, alice.buys(24).await];
    let narrow = alice.buys_scoped(24, "certificates_only").await;
    let only_there = json!({ "allowed_networks": ["192.0.2.0/24"] });
    let changed = alice.request(Method::PATCH, &format!("/tokens/{}", kept_out.id)).json(&only_there).answer().await;
    changed.expect(200);
    let home = ["To the start page", "На главную страницу"];

    assert_pages(
        || edge.by_cookie(&narrow, Method::GET, PAGE),
        &Expected {
            status: 403,
            titles: ["Your token does not open this", "Ваш токен этого не открывает"],
            offers: home,
        },
    )
    .await;
    assert_pages(
        || edge.by_cookie(&token, Method::POST, "/echo").header("origin", "https://evil.example"),
        &Expected {
            status: 403,
            titles: ["This came from another site", "Запрос пришёл с другого сайта"],
            offers: home,
        },
    )
    .await;
    assert_pages(
        || edge.by_cookie(&kept_out, Method::GET, PAGE).header("x-forwarded-for", "198.51.100.9"),
        &Expected {
            status: 403,
            titles: ["Not from this network", "Не из этой сети"],
            offers: ["your address 198.51.100.9", "ваш адрес 198.51.100.9"],
        },
    )
    .await;
    assert_pages(
        || edge.get("/_gateway/nothing"),
        &Expected { status: 404, titles: ["There is nothing here", "Здесь ничего нет"], offers: home },
    )
    .await;
    assert_pages(
        || edge.get("/api/v1/proxy/logout"),
        &Expected {
            status: 405,
            titles: ["This cannot be done here", "Здесь так сделать нельзя"],
            offers: ["use DELETE"; 2],
        },
    )
    .await;
    assert_pages(
        || edge.get("//_gateway/sign-in"),
        &Expected {
            status: 400,
            titles: ["This request cannot be handled", "Такой запрос выполнить нельзя"],
            offers: home,
        },
    )
    .await;
    assert_pages(
        || edge.get("/").header("host", "elsewhere.example"),
        &Expected {
            status: 421,
            titles: ["This address is not served here", "Этот адрес здесь не обслуживается"],
            offers: [edge.url().to_owned().leak(); 2],
        },
    )
    .await;

    // An address that tries too many is told when to come again, and its pages do by themselves.
    let guesses = |number: u32| edge.get("/").header("cookie", format!("zenzefi_access_token={number:064}"));
    let refused = eventually!(navigation(guesses(1), "en").answer().await, |answer| answer.status != 503);
    assert_eq!(refused.status, 401);
    let mut number = 2;
    let refused = eventually!(
        {
            number += 1;
            navigation(guesses(number), "ru").answer().await
        },
        |answer| answer.status == 429
    );
    let page = assert_page(&refused, 429, "ru", "Слишком много запросов");
    assert_eq!(refused.header("refresh"), refused.header("retry-after"));
    assert!(page.contains("Эта страница сама повторит попытку через"), "{page}");
    let mut stack = stack;
    stack.announce(503);
    stack.finish().await;
}

#[tokio::test]
async fn a_page_in_a_language_that_was_chosen_stays_in_it_and_leads_nowhere_else() {
    let stack = Stack::start().await;
    let browser = Browser::start_reading("ru").await;
    let edge = stack.edge();
    browser.opens(&format!("{}/page?x=1", edge.url())).await;
    browser.shows("h1", "Вход в Zenzefi").await;
    browser.clicks("footer a").await;
    browser.shows("h1", "Sign in to Zenzefi").await;
    assert_eq!(browser.attribute("input[name=next]", "value").await.as_deref(), Some("/page?x=1"));
    browser.opens(&format!("{}/_gateway/nothing", edge.url())).await;
    browser.shows("h1", "There is nothing here").await;
    browser.stops().await;

    let chosen = edge.get("/_gateway/language?to=ru&next=/page%3Fx%3D1").answer().await;
    assert_eq!((chosen.status, chosen.header("location")), (303, format!("{}/page?x=1", edge.url()).as_str()));
    assert_eq!(chosen.header("set-cookie"), "zenzefi_language=ru; HttpOnly; Path=/; Max-Age=34560000; SameSite=Lax");
    for next in ["//evil.example", "/%5Cevil.example", "https://evil.example", "page"] {
        let chosen = edge.get(&format!("/_gateway/language?to=ru&next={next}")).answer().await;
        assert_eq!(chosen.header("location"), format!("{}/", edge.url()), "{next}");
    }
    let unknown = edge.get("/_gateway/language?to=xx&next=/").answer().await;
    assert_eq!((unknown.status, unknown.header("set-cookie")), (303, ""));
    stack.finish().await;
}

#[tokio::test]
async fn what_pages_load_is_kept_for_as_long_as_it_is_the_same() {
    let stack = Stack::start().await;
    let page = navigation(stack.edge().get("/"), "en").answer().await.text();
    let style =
        page.split('"').find(|part| part.starts_with("/_gateway/style.css?v=")).expect("a stylesheet").to_owned();
    for (path, kept) in [
        (style.as_str(), "public, max-age=31536000, immutable"),
        ("/_gateway/style.css", "no-cache"),
        ("/_gateway/style.css?v=0", "no-cache"),
        ("/_gateway/time-left.js", "no-cache"),
    ] {
        let asset = stack.edge().get(path).answer().await;
        assert_eq!((asset.status, asset.header("cache-control")), (200, kept), "{path}");
        assert!(asset.body.len() < 30_000, "{path} has {} bytes", asset.body.len());
    }
    stack.finish().await;
}

async fn signs_in(browser: &Browser, edge: &Edge, token: &Token, path: &str) {
    browser.opens(&format!("{}{path}", edge.url())).await;
    browser.types("#token", &token.text).await;
    browser.clicks("button").await;
}

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

    // Whoever takes last has it.
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
async fn a_token_is_taken_over_by_whoever_may_use_it_and_that_starts_no_clock() {
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
    let foreign =
        take_over(there, &token, "device-b-0123456789").header("origin", "https://evil.example").answer().await;
    assert_eq!(foreign.status, 403);
    assert_eq!(take_over(there, &Token::stranger(), "device-b-0123456789").answer().await.status, 401);
    assert_eq!(here.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 200);
    assert!(socket.is_open().await);

    let answer = take_over(there, &token, "device-b-0123456789").answer().await;
    assert_eq!((answer.status, answer.header("location")), (303, format!("{}/page", there.url()).as_str()));
    assert_eq!(socket.closed().await, (4008, "device taken over".to_owned()));
    // It is kept for the one who took it before that one's first request.
    assert_eq!(here.on(FIRST, &token, Method::GET, PAGE).answer().await.status, 409);
    assert_eq!(there.on("device-b-0123456789", &token, Method::GET, PAGE).answer().await.status, 200);

    // From where it may not be used it is taken from nobody.
    let only_there = json!({ "allowed_networks": ["192.0.2.0/24", "127.0.0.1"] });
    alice.request(Method::PATCH, &format!("/tokens/{}", token.id)).json(&only_there).answer().await.expect(200);
    let elsewhere = async || take_over(here, &token, FIRST).header("x-forwarded-for", "198.51.100.9").answer().await;
    eventually!(elsewhere().await.status, |status| *status == 403);
    assert_eq!(there.on("device-b-0123456789", &token, Method::GET, PAGE).answer().await.status, 200);

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

/// A browser's own requests, signed in with a token's text.
async fn browser_signed_in(edge: &Edge, token: &Token) -> Client {
    let browser = client().cookie_store(true).build().expect("a client");
    let sign_in = browser.post(format!("{}/api/v1/proxy/authenticate", edge.url()));
    sign_in.json(&json!({ "token": token.text })).answer().await.expect(200);
    browser
}

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
    let browser = browser_signed_in(edge, &token).await;
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
    assert_eq!(
        policy.header("content-security-policy"),
        "default-src 'none'; script-src-elem 'self'; connect-src 'self'"
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
async fn a_notice_that_was_dismissed_comes_back_only_for_the_end_and_without_the_option_there_is_none() {
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

#[tokio::test]
async fn a_page_of_an_upstream_that_is_away_tries_again_by_itself_until_it_is_back() {
    let mut stack = Stack::plan().edge_env("ZENZEFI_HEALTH_SECONDS", "1").start().await;
    stack.announce(502);
    stack.announce(503);
    let token = rich(&stack, "alice").await.buys(24).await;
    let browser = Browser::start_reading("ru").await;
    signs_in(&browser, stack.edge(), &token, "/page").await;
    browser.shows("#about", "reached by a root-relative link").await;
    let [https, http] = [stack.standin.url(), stack.standin.http_url()]
        .map(|url| url.split_once("//").and_then(|(_, address)| address.parse().ok()).expect("an address"));
    stack.standin.stop();
    browser.reloads().await;
    browser.shows("h1", "Zenzefi сейчас недоступен").await;
    browser.shows(".card", "сама повторит попытку").await;
    stack.standin =
        eventually!(Standin::start(https, http).await.ok(), |standin| standin.is_some()).expect("a stand-in");
    browser.shows("#about", "reached by a root-relative link").await;
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn the_console_has_a_host_of_its_own_at_which_there_is_no_upstream() {
    const HOST: &str = "console.example";
    let stack = Stack::plan().edge_env("CONSOLE_HOST", HOST).start().await;
    let token = rich(&stack, "alice").await.buys(24).await;
    let edge = stack.edge();
    let at = |path: &str| edge.get(path).header("host", HOST);

    let document = at("/openapi.json").answer().await.expect(200);
    assert!(document["paths"].is_object());
    // The control plane's own, though the edge has endpoints at the same paths, and the upstream pages.
    let root = at("/").answer().await.expect(200);
    assert!(root["version"].is_string(), "{root}");
    for path in [PAGE, "/certificates/filter", "/_gateway/whoami", "/_gateway/sign-in", "/api/v1/proxy/status"] {
        let request = at(path).header("cookie", format!("zenzefi_access_token={}", token.text));
        assert_eq!(request.header("x-access-token", &token.text).answer().await.status, 404, "{path}");
    }
    assert_eq!(stack.standin.seen(PAGE).requests, 0);
    let health = at("/health").answer().await.expect(200);
    assert!(health.get("timestamp").is_none() || health["status"].is_string(), "{health}");
    assert_eq!(edge.get("/").header("host", "console.example.evil").answer().await.status, 421);
    // And nothing of the console at the origin that shows the upstream.
    assert_eq!(edge.with(&token, Method::GET, "/console").answer().await.status, 404);
    assert!(stack.standin.seen("/console").requests == 1);
    stack.finish().await;
}

#[tokio::test]
async fn while_the_control_plane_is_away_its_host_says_so_with_nothing_that_it_would_have_to_serve() {
    let mut stack = Stack::plan().edge_env("CONSOLE_HOST", "console.example").start().await;
    stack.announce(502);
    stack.control.plane.kill().await;
    let answer = navigation(stack.edge().get("/console").header("host", "console.example"), "ru").answer().await;
    let page = assert_page(&answer, 502, "ru", "Портал сейчас недоступен");
    let style = format!("href=\"{}/_gateway/style.css?v=", stack.edge().url());
    assert!(page.contains(&style) && !page.contains("\"/_gateway"), "{page}");
    assert!(
        answer.header("content-security-policy").contains(&format!("style-src {};", stack.edge().url())),
        "{:?}",
        answer.headers
    );
    assert_eq!(answer.header("refresh"), "5");
    stack.finish().await;
}
