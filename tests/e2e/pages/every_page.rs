//! Every page that people see: for everybody, on a phone and on a wide screen, by day and by night,
//! in both languages; light to load, and still once it stands. The pictures under `screenshots/` of
//! the build folder are to be looked at.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use testbed::{
    clients::{
        axe::Axe,
        browser::{Browser, Theme},
        http::Ask,
    },
    eventually,
    people::{Token, User},
    stack::Stack,
};
use url::Url;

/// What a page may weigh with all that it loads, as transferred.
const MOST_BYTES: f64 = 150_000.0;
/// How much of it may move by itself (a tenth of it is what browsers' makers call good).
const MOST_SHIFT: f64 = 0.02;
const PHONE: (u32, u32) = (390, 844);
const WIDE: (u32, u32) = (1280, 900);

/// Who sees a page, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// At the console, not logged in.
    Stranger,
    /// At the console, logged in.
    Member,
    /// At the console, logged in as a superuser.
    Admin,
    /// At the edge, with the text of the token of this name in the browser's cookie.
    Edge(&'static str),
}
use Who::{Admin, Edge, Member, Stranger};

/// A page that people see.
#[derive(Clone, Copy, Debug)]
struct Page {
    name: &'static str,
    /// With what [`World::fill_in`] knows in braces.
    path: &'static str,
    who: Who,
    status: u64,
}

const fn page(name: &'static str, path: &'static str, who: Who) -> Page {
    Page { name, path, who, status: 200 }
}

impl Page {
    /// A page that says what is wrong, with this status.
    const fn answering(self, status: u64) -> Self {
        Self { status, ..self }
    }
}

/// All of them, by who sees them; the one for whom nothing stands behind the edge comes last.
const PAGES: &[Page] = &[
    page("login", "/console/login", Stranger),
    page("register", "/console/register", Stranger),
    page("set-password", "/set-password?code={code}", Stranger),
    page("home", "/console", Member),
    page("buy", "/console/buy", Member),
    page("purchase", "/console/buy/confirm?hours=24", Member),
    page("purchase-too-dear", "/console/buy/confirm?hours=720", Member),
    page("tokens", "/console/tokens", Member),
    page("all-tokens", "/console/tokens?all=1", Member),
    page("token", "/console/tokens/{token}", Member),
    page("take-over", "/console/tokens/{token}/confirm?what=take-over", Member),
    page("extend", "/console/tokens/{token}/confirm?what=extend&hours=24", Member),
    page("rotate", "/console/tokens/{token}/confirm?what=rotate", Member),
    page("refund", "/console/tokens/{token}/confirm?what=refund", Member),
    page("credits", "/console/credits", Member),
    page("usage", "/console/usage", Member),
    page("referrals", "/console/referrals", Member),
    page("profile", "/console/profile", Member),
    page("nowhere", "/console/nowhere", Member).answering(404),
    page("admin", "/console/admin", Admin),
    page("admin-users", "/console/admin/users", Admin),
    page("admin-users-none", "/console/admin/users?search=nobody-of-this-name", Admin),
    page("admin-user", "/console/admin/users/{user}", Admin),
    page("admin-user-state", "/console/admin/users/{user}/state", Admin),
    page("admin-user-role", "/console/admin/users/{user}/role", Admin),
    page("admin-user-balance", "/console/admin/users/{user}/balance", Admin),
    page(
        "admin-credit",
        "/console/admin/users/{user}/balance/confirm?direction=credit&amount=2.50&reason=a+gift",
        Admin,
    ),
    page("admin-credit-refused", "/console/admin/users/{user}/balance/confirm?amount=x", Admin).answering(422),
    page("admin-user-networks", "/console/admin/users/{user}/networks", Admin),
    page("admin-user-password-link", "/console/admin/users/{user}/password-link", Admin),
    page("admin-user-login-failures", "/console/admin/users/{user}/login-failures", Admin),
    page("admin-tokens", "/console/admin/tokens", Admin),
    page("admin-token", "/console/admin/tokens/{token}", Admin),
    page("admin-token-revoke", "/console/admin/tokens/{token}/revoke", Admin),
    page("admin-sessions", "/console/admin/sessions", Admin),
    page("admin-session-cut", "/console/admin/sessions/{session}/cut", Admin),
    page("admin-bundles", "/console/admin/bundles", Admin),
    page("admin-bundle-new", "/console/admin/bundles/new", Admin),
    page("admin-bundle", "/console/admin/bundles/{bundle}", Admin),
    page("admin-bundle-withdraw", "/console/admin/bundles/{bundle}/withdraw", Admin),
    page("admin-payments", "/console/admin/payments", Admin),
    page("admin-payment", "/console/admin/payments/{payment}", Admin),
    page("admin-audit", "/console/admin/audit", Admin),
    page("admin-ledger", "/console/admin/ledger", Admin),
    page("admin-health", "/console/admin/health", Admin),
    page("sign-in", "/_gateway/sign-in", Edge("")),
    page("handover-gone", "/_gateway/enter?code=nonsense", Edge("")).answering(401),
    page("unknown", "/page", Edge("stranger")).answering(401),
    page("expired", "/page", Edge("expired")).answering(401),
    page("rotated", "/page", Edge("rotated")).answering(401),
    page("suspended", "/_gateway/sign-in?why=suspended", Edge("")),
    page("not-found", "/_gateway/nothing", Edge("")).answering(404),
    page("scope", "/page", Edge("certificates")).answering(403),
    page("device", "/page", Edge("elsewhere")).answering(409),
    page("upstream-down", "/page", Edge("good")).answering(502),
];

/// Addresses that lead on, or to a file.
const NO_PAGES: [&str; 2] = ["/console/language", ".csv"];

/// What the pages are about.
struct World {
    stack: Stack,
    alice: User,
    code: String,
    session: String,
    bundle: String,
    payment: String,
    tokens: Vec<(&'static str, Token)>,
}

impl World {
    async fn start() -> Self {
        let plan = Stack::plan().debug_env("TOKEN_HOUR_SECONDS", "2").control_env("PAYMENT_PROVIDER", "mock");
        let plan = plan.control_env("PAYMENT_WEBHOOK_SECRET", "a webhook secret of the pages' test");
        let mut stack = plan.start().await;
        stack.settle().await;
        stack.announce(502);
        let alice = stack.control.user("alice").with_credits(1_450).await;
        let path = format!("/admin/users/{}/password-link", alice.id);
        let link = stack.control.admin.request(Method::POST, &path).answer().await.expect(200);
        let code = link["url"].as_str().and_then(|url| url.split_once("code=")).expect("a code").1.to_owned();
        stack.secrets.remember("code", &code);
        let (edge, hours) = (stack.edge(), 720);
        let expired = alice.buys(1).await;
        assert_eq!(edge.status_for(&expired, "/page").await, 200);
        let certificates = alice.buys_scoped(hours, "certificates_only").await;
        let rotated = alice.buys(hours).await;
        alice.rotates(&rotated).await;
        let (elsewhere, good) = (alice.buys(hours).await, alice.buys(hours).await);
        eventually!(edge.status_for(&expired, "/page").await, |status| *status == 401);
        let admin = &stack.control.admin;
        let found =
            async |path: &str| admin.request(Method::GET, path).answer().await.expect(200)["items"][0]["id"].clone();
        eventually!(found("/admin/sessions").await, |id| id.is_string());
        let text = |id: Value| id.as_str().unwrap_or_default().to_owned();
        let (session, bundle) = (text(found("/admin/sessions").await), text(found("/bundles/").await));
        let body = json!({ "amount_znc": "5.00", "return_url": format!("{}/console", stack.control.plane.url()) });
        let payment = alice.request(Method::POST, "/currency/purchase").json(&body).answer().await.expect(201);
        let payment = text(payment["payment_id"].clone());
        let tokens = vec![
            ("stranger", Token::stranger()),
            ("expired", expired),
            ("rotated", rotated),
            ("certificates", certificates),
            ("elsewhere", elsewhere),
            ("good", good),
        ];
        Self { stack, alice, code, session, bundle, payment, tokens }
    }

    fn token(&self, name: &str) -> &Token {
        &self.tokens.iter().find(|(known, _)| *known == name).expect("a token of this name").1
    }

    fn fill_in(&self, path: &str) -> String {
        let names = [
            ("{code}", &self.code),
            ("{token}", &self.token("good").id.to_string()),
            ("{user}", &self.alice.id),
            ("{session}", &self.session),
            ("{bundle}", &self.bundle),
            ("{payment}", &self.payment),
        ];
        names.iter().fold(path.to_owned(), |path, (name, id)| path.replace(name, id))
    }

    fn origin(&self, who: Who) -> &str {
        if let Edge(_) = who { self.stack.edge().url() } else { self.stack.control.plane.url() }
    }

    /// Makes the browser one of somebody who sees such pages.
    async fn becomes(&self, browser: &Browser, who: Who) {
        browser.forgets_cookies().await;
        let (email, password) = match who {
            Stranger | Edge("") => return,
            Member => (&self.alice.email, &self.alice.password),
            Admin => (&self.stack.control.admin.email, &self.stack.control.admin.password),
            Edge(name) => {
                if name == "elsewhere" {
                    // Only now, for a walk on a busy machine may last longer than a lease.
                    let other = self.stack.edge().on("another-device", self.token(name), Method::GET, "/page");
                    assert_eq!(other.answer().await.status, 200);
                }
                let (name, text) = (shared::web::cookie::ACCESS_TOKEN, &self.token(name).text);
                return browser.holds_cookie(self.origin(who), name, text).await;
            }
        };
        browser.opens(&format!("{}/console/login", self.origin(who))).await;
        browser.types("#email", email).await;
        browser.types("#password", password).await;
        browser.clicks("main button").await;
        browser.comes_to(|address| address.ends_with("/console")).await;
        let login = browser.cookie(self.origin(who), testbed::people::console::COOKIE).await.expect("a login");
        self.stack.secrets.remember("login", &login);
    }
}

/// A walk through the pages, and what it has found wrong.
struct Walk {
    world: World,
    browser: Browser,
    axe: Axe,
    faults: Vec<String>,
    /// Paths of the console to which pages lead.
    linked: BTreeSet<String>,
}

impl Walk {
    async fn opens(&mut self, page: &Page, language: &str, (width, height): (u32, u32)) -> String {
        self.browser.resizes_to(width, height).await;
        self.browser.prefers(Theme::Light).await;
        self.browser.speaks(language).await;
        let origin = self.world.origin(page.who);
        let address = format!("{origin}{}", self.world.fill_in(page.path));
        self.browser.opens(&address).await;
        address
    }

    /// What it takes to load a page, and what it says while it does.
    async fn loads(&mut self, page: &Page) {
        self.browser.forgets_what_it_loaded().await;
        // What was told of the page before.
        let _ = (self.browser.traffic().await, self.browser.complaints().await);
        let address = self.opens(page, "en", WIDE).await;
        let (traffic, complaints) = (self.browser.traffic().await, self.browser.complaints().await);
        let status =
            traffic.documents.iter().find(|(_, document)| *document == address).map_or(0, |(status, _)| *status);
        if status != page.status {
            self.finds(page, format!("answers {status}"));
        }
        if traffic.bytes > MOST_BYTES || traffic.bytes == 0.0 {
            self.finds(page, format!("takes {} bytes to load", traffic.bytes));
        }
        let origin = format!("{}/", self.world.origin(page.who));
        let is_away = |address: &&String| !address.starts_with(&origin) && !address.starts_with("data:");
        let away: Vec<&String> = traffic.requested.iter().filter(is_away).collect();
        if !away.is_empty() {
            self.finds(page, format!("asks other origins: {away:?}"));
        }
        // A browser complains of every answer that is an error, also of the page that says so.
        let is_its_own =
            |complaint: &String| page.status >= 400 && complaint.contains(&format!("status of {}", page.status));
        let complaints: Vec<String> = complaints.into_iter().filter(|complaint| !is_its_own(complaint)).collect();
        if !complaints.is_empty() {
            self.finds(page, format!("makes the browser complain: {complaints:?}"));
        }
        if !matches!(page.who, Edge(_)) {
            self.follows_links().await;
        }
    }

    async fn follows_links(&mut self) {
        let links = self.browser.runs("return [...document.links].map((link) => link.href)", &[]).await;
        let own = Url::parse(self.world.stack.control.plane.url()).expect("an address");
        let links = links.as_array().into_iter().flatten().filter_map(Value::as_str);
        let links = links.filter_map(|link| Url::parse(link).ok()).filter(|link| link.origin() == own.origin());
        self.linked.extend(links.map(|link| link.path().to_owned()));
    }

    /// How the page that is open looks and reads in a language, on both screens and in both themes.
    /// It was opened on the first of them.
    async fn looks(&mut self, page: &Page, language: &str, screens: [(u32, u32); 2]) {
        let shift = self.browser.layout_shift().await;
        if shift > MOST_SHIFT {
            self.finds(page, format!("moves by {shift} while it loads ({language})"));
        }
        let shown = self.browser.attribute("html", "lang").await.unwrap_or_default();
        if shown != language {
            self.finds(page, format!("is in `{shown}` for who speaks `{language}`"));
        }
        self.axe.enters(&self.browser).await;
        let plane = if let Edge(_) = page.who { "edge" } else { "console" };
        let mut papers = BTreeSet::new();
        for (width, height) in screens {
            self.browser.resizes_to(width, height).await;
            let reached = self.browser.runs("return document.documentElement.scrollWidth", &[]).await;
            if reached.as_u64() > Some(u64::from(width)) {
                self.finds(page, format!("is {reached} wide in a window of {width} ({language})"));
            }
            for theme in [Theme::Light, Theme::Dark] {
                self.browser.prefers(theme).await;
                let paper = self.browser.runs("return getComputedStyle(document.body).backgroundColor", &[]).await;
                papers.insert((theme.name(), paper.to_string()));
                for finding in self.axe.finds(&self.browser, theme).await {
                    self.finds(page, format!("{finding} ({language}, {}, {width})", theme.name()));
                }
                let name = format!("{plane}-{}-{language}-{}-{width}", page.name, theme.name());
                self.browser.keeps_screenshot(&name).await;
            }
        }
        let colours: BTreeSet<&String> = papers.iter().map(|(_, paper)| paper).collect();
        if (papers.len(), colours.len()) != (2, 2) {
            self.finds(page, format!("is not light by day and dark by night: {papers:?} ({language})"));
        }
    }

    fn finds(&mut self, page: &Page, fault: String) {
        self.faults.push(format!("{} {}: {fault}", page.name, page.path));
    }
}

/// Whether a path is one that this page's stands for.
fn is_of(page: &Page, path: &str) -> bool {
    let listed = page.path.split('?').next().unwrap_or_default();
    let (mut listed, mut given) = (listed.split('/'), path.split('/'));
    loop {
        match (listed.next(), given.next()) {
            (None, None) => return true,
            (Some(name), Some(segment)) if name == segment || name.starts_with('{') => {}
            _ => return false,
        }
    }
}

#[tokio::test]
async fn every_page_is_for_everybody_on_any_screen_and_light_to_load() {
    let (world, browser) = (World::start().await, Browser::start().await);
    let mut walk = Walk { world, browser, axe: Axe::installed(), faults: Vec::new(), linked: BTreeSet::new() };
    let mut who = Stranger;
    for page in PAGES {
        if page.who != who {
            who = page.who;
            walk.world.becomes(&walk.browser, who).await;
        }
        if page.status == 502 {
            walk.world.stack.standin.stop();
        }
        // What moves by itself moves while the page loads: on the wide screen in one language, on
        // the phone in the other.
        walk.loads(page).await;
        walk.looks(page, "en", [WIDE, PHONE]).await;
        walk.opens(page, "ru", PHONE).await;
        walk.looks(page, "ru", [PHONE, WIDE]).await;
    }
    let Walk { world, browser, mut faults, linked, .. } = walk;
    let is_listed = |path: &str| PAGES.iter().any(|page| is_of(page, path));
    let unlisted = linked.iter().filter(|path| !NO_PAGES.iter().any(|no_page| path.ends_with(no_page)));
    faults
        .extend(unlisted.filter(|path| !is_listed(path)).map(|path| format!("{path}: is linked, but not listed here")));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    browser.stops().await;
    world.stack.finish().await;
}
