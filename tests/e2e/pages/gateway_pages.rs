//! What people are shown at the edge: each refusal, with what happened and what to do about it, in
//! both languages.

use std::sync::Arc;

use http::Method;
use reqwest::{RequestBuilder, cookie::Jar};
use serde_json::json;
use testbed::{
    clients::{
        browser::Browser,
        http::{Answer, Ask, client},
    },
    eventually,
    people::{Edge, Token, User},
    stack::Stack,
    upstreams::standin::Standin,
};

const LANGUAGES: [&str; 2] = ["en", "ru"];
const PAGE: &str = "/users/currentUser";

/// As a browser asks for a page.
pub fn navigation(request: RequestBuilder, language: &str) -> RequestBuilder {
    let request =
        request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").header("accept-language", language);
    request
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", "same-origin")
}

/// A page of the gateway, checked for what each of them keeps to.
#[track_caller]
pub fn assert_page(answer: &Answer, status: u16, language: &str, title: &str) -> String {
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

pub async fn rich(stack: &Stack, name: &str) -> User {
    stack.control.user(name).with_credits(2_000).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of pages")]
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

    // A script of the page hears of it first and loses the cookie; the page that comes next says
    // why all the same, until somebody signs in.
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
async fn a_browser_hears_once_that_its_credential_is_unknown_and_never_that_time_is_over() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let address = stack.edge().url().parse().expect("an address");
    for is_seen in [true, false] {
        // As the sign-in has left it.
        let jar = Jar::default();
        jar.add_cookie_str(&format!("zenzefi_access_token={}", Token::stranger().text), &address);
        jar.add_cookie_str("zenzefi_ended=expired", &address);
        let browser = client().cookie_provider(Arc::new(jar)).build().expect("a client");
        let page = async || navigation(browser.get(stack.edge().url()), "en").answer().await;
        if is_seen {
            assert_page(&page().await, 401, "en", "There is no such token");
        } else {
            assert_eq!(browser.get(stack.edge().url()).answer().await.status, 401);
        }
        assert_page(&page().await, 401, "en", "Sign in to Zenzefi");
    }
    stack.finish().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of pages")]
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
            offers: ["your address is 198.51.100.9", "ваш адрес 198.51.100.9"],
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

pub async fn signs_in(browser: &Browser, edge: &Edge, token: &Token, path: &str) {
    browser.opens(&format!("{}{path}", edge.url())).await;
    browser.types("#token", &token.text).await;
    browser.clicks("button").await;
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
