//! What people come for, from beginning to end, in Chromium: buying access and using it until its
//! time is over; administering.

use http::Method;
use testbed::{
    clients::{browser::Browser, http::Ask},
    eventually,
    stack::Stack,
};

const PHONE: (u32, u32) = (390, 844);
const WIDE: (u32, u32) = (1280, 900);

/// What a reader of one language is told on the way.
struct Words {
    tag: &'static str,
    welcome: &'static str,
    paid: &'static str,
    over: &'static str,
}

const ENGLISH: Words = Words { tag: "en", welcome: "Welcome", paid: "are on your balance", over: "Your time is over" };
const RUSSIAN: Words =
    Words {
        tag: "ru", welcome: "Добро пожаловать", paid: "зачислено на баланс", over: "Время доступа закончилось"
    };

/// Registers somebody of this name; the browser is theirs from then on.
async fn registers(browser: &Browser, console: &str, name: &str) {
    browser.opens(&format!("{console}/console/register")).await;
    browser.types("#email", &format!("{name}@example.com")).await;
    browser.types("#username", name).await;
    browser.types("#password", "a password of their own").await;
    browser.clicks("main button").await;
}

/// From the page that offers hours: chooses one hour, and says yes to its price. Ends where the
/// token's text is shown.
async fn buys_an_hour(browser: &Browser) {
    browser.clicks("input[name=hours][value='1']").await;
    browser.clicks("main form button").await;
    browser.comes_to(|address| address.contains("/console/buy/confirm")).await;
    browser.clicks("main form button").await;
    eventually!(browser.shown(".token-text").await, |text| text.trim().len() == 64);
}

/// From registering to being back where they were after their time was over, with a token that they
/// bought anew.
async fn whole_way(stack: &Stack, browser: &Browser, words: &Words, screen: (u32, u32)) {
    let (console, edge) = (stack.control.plane.url(), stack.edge().url());
    browser.forgets_cookies().await;
    browser.resizes_to(screen.0, screen.1).await;
    browser.speaks(words.tag).await;
    let picture = |name: &str| format!("journey-{name}-{}-{}", words.tag, screen.0);

    registers(browser, console, &format!("{}-{}", words.tag, screen.0)).await;
    browser.shows("[role=status]", words.welcome).await;

    browser.opens(&format!("{console}/console/credits")).await;
    browser.types_over("#amount", "20").await;
    browser.clicks("main form button").await;
    browser.clicks("#pay").await;
    browser.clicks("button[value=pay]").await;
    browser.clicks("a").await;
    browser.shows("#payment", words.paid).await;
    browser.keeps_screenshot(&picture("paid")).await;

    browser.opens(&format!("{console}/console/buy")).await;
    buys_an_hour(browser).await;
    browser.keeps_screenshot(&picture("bought")).await;
    let text = browser.shown(".token-text").await;
    stack.secrets.remember("token", text.trim());

    browser.clicks("main form button").await;
    browser.comes_to(|address| address == format!("{edge}/")).await;
    browser.counts("#websocket", "WebSocket: tick", 1).await;
    browser.shows("#certificates", "4A3F00C1").await;

    browser.shows("#websocket", "WebSocket: closed 4001 token expired").await;
    browser.clicks("#to-page").await;
    browser.shows("h1", words.over).await;
    browser.keeps_screenshot(&picture("over")).await;

    browser.clicks("main a.button").await;
    browser.comes_to(|address| address == format!("{console}/console/buy?to=%2Fpage")).await;
    buys_an_hour(browser).await;
    browser.clicks("main form button").await;
    browser.shows("#about", "reached by a root-relative link").await;
    assert_eq!(browser.address().await, format!("{edge}/page"));
}

async fn shop() -> Stack {
    let plan = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "10").control_env("PAYMENT_PROVIDER", "mock");
    plan.control_env("PAYMENT_WEBHOOK_SECRET", "a webhook secret of the journeys").start().await
}

#[tokio::test]
async fn somebody_buys_access_uses_it_to_its_end_and_goes_on_where_they_were() {
    let (stack, browser) = (shop().await, Browser::start().await);
    for words in [&ENGLISH, &RUSSIAN] {
        for screen in [PHONE, WIDE] {
            whole_way(&stack, &browser, words, screen).await;
        }
    }
    browser.stops().await;
    stack.finish().await;
}

/// Logs somebody in at the console.
async fn logs_in(browser: &Browser, console: &str, email: &str, password: &str) {
    browser.opens(&format!("{console}/console/login")).await;
    browser.types("#email", email).await;
    browser.types("#password", password).await;
    browser.clicks("main button").await;
    browser.comes_to(|address| address.ends_with("/console")).await;
}

#[tokio::test]
async fn an_admin_finds_credits_and_disables_a_user_whose_open_tab_is_cut_at_once() {
    let (stack, theirs, admins) = (Stack::start().await, Browser::start().await, Browser::start().await);
    let (console, admin) = (stack.control.plane.url(), &stack.control.admin);
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    theirs.opens(stack.edge().url()).await;
    theirs.types("#token", &token.text).await;
    theirs.clicks("button").await;
    theirs.counts("#websocket", "WebSocket: tick", 1).await;

    logs_in(&admins, console, &admin.email, &admin.password).await;
    admins.opens(&format!("{console}/console/admin/users")).await;
    // Who types is shown what is found without pressing anything.
    admins.types("#search", "ALICE").await;
    admins.comes_to(|address| address.contains("search=ALICE")).await;
    admins.shows("#found", "Found: 1").await;
    admins.shows("#list", "alice").await;
    admins.clicks("#list tbody a").await;
    admins.shows("h1", "alice").await;
    let user = admins.address().await;

    admins.opens(&format!("{user}/balance")).await;
    admins.types("#amount", "12.50").await;
    admins.types("#reason", "for the lost hour").await;
    admins.clicks("main button").await;
    admins.comes_to(|address| address.contains("/balance/confirm")).await;
    admins.shows("main", "94.50").await;
    admins.types("#password", &admin.password).await;
    admins.clicks("main button").await;
    admins.comes_to(|address| address.starts_with(&user) && !address.contains("/balance")).await;
    admins.shows("main .figure", "94.50").await;
    let balance = alice.request(Method::GET, "/currency/balance").answer().await.expect(200);
    assert_eq!(balance["balance"], "94.50");

    admins.opens(&format!("{user}/state")).await;
    admins.clicks("main button").await;
    theirs.shows("#websocket", "WebSocket: closed 4004 account suspended").await;
    theirs.clicks("#to-page").await;
    theirs.shows("h1", "suspended").await;
    theirs.keeps_screenshot("journey-suspended").await;

    admins.opens(&format!("{console}/console/admin/audit")).await;
    for told in ["94.50", "for the lost hour", "yes → no"] {
        admins.shows("main", told).await;
    }
    admins.keeps_screenshot("journey-audit").await;
    theirs.stops().await;
    admins.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn access_is_bought_and_opened_without_scripts() {
    let (stack, browser) = (shop().await, Browser::start().await);
    let alice = stack.control.user("alice").with_credits(100).await;
    let console = stack.control.plane.url();
    browser.runs_no_scripts().await;
    logs_in(&browser, console, &alice.email, &alice.password).await;
    browser.opens(&format!("{console}/console/buy?to=/page")).await;
    buys_an_hour(&browser).await;
    let text = browser.shown(".token-text").await;
    stack.secrets.remember("token", text.trim());
    browser.clicks("main form button").await;
    browser.shows("#about", "reached by a root-relative link").await;
    browser.stops().await;
    stack.finish().await;
}
