//! The console in Chromium: what a page of another origin can do in a browser that is logged in,
//! and what becomes of texts that hold HTML.

use http::{Method, Response};
use serde_json::{Value, json};
use testbed::{
    clients::{browser::Browser, http::Ask},
    eventually,
    people::{Token, User, console::COOKIE},
    stack::Stack,
    upstreams::small_server::SmallServer,
};

use url::form_urlencoded;

use crate::console::security::{fields, forms, pages, state};

/// Asks for pages in every way that a script may, with this browser's cookies; what it could read.
const READ: &str = "const [origin, paths, done] = arguments;
    const ways = [{}, { mode: 'no-cors' }, { mode: 'same-origin' }, { headers: { 'HX-Request': 'true' } }, { method: 'HEAD' }];
    const read = async () => {
        const texts = [];
        for (const path of paths) {
            for (const way of ways) {
                try {
                    const answer = await fetch(origin + path, { credentials: 'include', ...way });
                    const text = await answer.text();
                    if (text || answer.status) texts.push([path, way, answer.status, text.length]);
                } catch {}
            }
            const request = new XMLHttpRequest();
            request.withCredentials = true;
            request.open('GET', origin + path);
            await new Promise((ended) => { request.onloadend = ended; request.send(); });
            if (request.responseText) texts.push([path, 'XMLHttpRequest', request.status, request.responseText.length]);
        }
        return texts;
    };
    read().then(done);";

/// Sends every form in every way that a script may, and that a form in a frame may, or a frame
/// without an origin.
const WRITE: &str = "const [origin, paths, fields, done] = arguments;
    const body = () => new URLSearchParams(fields);
    const multipart = () => { const form = new FormData(); fields.forEach(([name, value]) => form.append(name, value)); return form; };
    const ways = [
        () => ({ mode: 'no-cors', body: body() }),
        () => ({ body: body() }),
        () => ({ mode: 'no-cors', body: multipart() }),
        () => ({ mode: 'no-cors', body: body().toString() }),
        () => ({ body: JSON.stringify(Object.fromEntries(fields)), headers: { 'content-type': 'application/json' } }),
        () => ({ mode: 'no-cors', body: body(), referrerPolicy: 'no-referrer' }),
    ];
    const form = (path) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', action: origin + path, target: 'hole' });
        for (const [name, value] of fields) {
            const field = document.createElement('input');
            Object.assign(field, { type: 'hidden', name, value });
            form.append(field);
        }
        return form;
    };
    const loaded = (frame) => new Promise((loaded) => frame.addEventListener('load', loaded, { once: true }));
    const write = async () => {
        const hole = document.createElement('iframe');
        hole.name = 'hole';
        document.body.replaceChildren(hole);
        for (const path of paths) {
            navigator.sendBeacon(origin + path, body());
            for (const way of ways) {
                try { await fetch(origin + path, { method: 'POST', credentials: 'include', ...way() }); } catch {}
            }
            const sent = form(path);
            document.body.append(sent);
            const answered = loaded(hole);
            HTMLFormElement.prototype.submit.call(sent);
            await answered;
            const without = document.createElement('iframe');
            without.sandbox = 'allow-forms allow-scripts';
            const page = form(path);
            page.target = '';
            without.srcdoc = page.outerHTML + '<script>onload = () => setTimeout(() => document.forms[0].submit())</' + 'script>';
            const first = loaded(without);
            document.body.append(without);
            await first;
            await loaded(without);
            without.remove();
        }
        return 'done';
    };
    write().then(done, (error) => done(String(error)));";

const FRAME: &str = "const [address, done] = arguments;
    document.body.replaceChildren();
    const frame = document.createElement('iframe');
    frame.onload = () => {
        let text = null;
        try { text = frame.contentDocument && frame.contentDocument.body.innerText; } catch {}
        done(text);
    };
    frame.src = address;
    document.body.append(frame);";

/// HTML in each place where a text could become some, an attribute among them, with marks to find
/// it by.
const HTML: &str = "x\" onmouseover=\"xss()\" id=\"xss</title></textarea>\"'><img id=xss src=/x onerror=xss()><script id=xss>xss()</script>";
/// The same within 100 characters, for the name of a bundle.
const MIDDLE: &str = "</title></textarea>\"'><img id=xss src=/x onerror=xss()><script id=xss>xss()</script>";
/// The same within 50 characters, for a name.
const SHORT: &str = "\"'><img id=xss src=/x onerror=xss()>";
/// What pages read of their address.
const QUERY: [&str; 18] = [
    "done", "next", "ref", "to", "q", "search", "query", "page", "action", "user", "prefix", "from", "offset", "state",
    "hours", "what", "amount", "code",
];
/// Whether any text has become an element, an attribute or a script.
const BECAME: &str =
    "return document.querySelectorAll('#xss, [onerror], [onmouseover], [onload], script:not([src])').length";

const SOURCE: &str = "return document.documentElement.outerHTML";
/// Fills in the form of this number among those that take text, past what the browser checks, and
/// sends it; whether there is one.
const SENDS: &str = "const [number, text] = arguments;
    const fields = (form) => [...form.querySelectorAll('input, textarea')]
        .filter((field) => !['hidden', 'radio', 'checkbox', 'password', 'submit'].includes(field.type) && !field.readOnly);
    const form = [...document.forms].filter((form) => fields(form).length > 0)[number];
    if (!form) return false;
    for (const field of fields(form)) {
        field.type = 'text';
        field.removeAttribute('maxlength');
        field.value = text;
    }
    window.isLeft = false;
    HTMLFormElement.prototype.submit.call(form);
    return true;";
const LEFT: &str = "return window.isLeft === undefined && document.readyState === 'complete'";

async fn logs_in(stack: &Stack, browser: &Browser, user: &User) {
    let console = format!("{}/console", stack.control.plane.url());
    browser.opens(&format!("{console}/login")).await;
    browser.types_over("#email", &user.email).await;
    browser.types("#password", &user.password).await;
    browser.clicks("main button").await;
    browser.comes_to(|address| address == console).await;
    let login = browser.cookie(&console, COOKIE).await.expect("a login");
    stack.secrets.remember("login", &login);
}

/// Signs in at the edge, so that the browser sees the upstream, and waits until that is written
/// down.
async fn sees_upstream(stack: &Stack, browser: &Browser, token: &Token) {
    browser.holds_cookie(stack.edge().url(), shared::web::cookie::ACCESS_TOKEN, &token.text).await;
    browser.opens(&format!("{}/page", stack.edge().url())).await;
    browser.shows("#about", "reached by a root-relative link").await;
    let activated = "SELECT count(*) FROM access_tokens WHERE activated_at IS NOT NULL";
    eventually!(stack.control.database.query(activated).await.expect("a count"), |count| count == "1");
}

#[tokio::test]
async fn a_page_of_another_origin_reads_and_changes_nothing_of_the_user_who_is_logged_in() {
    let server = SmallServer::start(|_| {
        let page = Response::builder().header("content-type", "text/html; charset=utf-8");
        page.body("<!doctype html><title>listed</title><h1>Listed</h1>".into()).ok()
    });
    let server = server.await.expect("a server");
    let listed = format!("http://{}", server.address);
    let stack = Stack::plan().control_env("CORS_ORIGINS", &listed).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let browser = Browser::start().await;
    logs_in(&stack, &browser, &alice).await;
    sees_upstream(&stack, &browser, &token).await;
    let console = stack.control.plane.url();
    let (pages, forms) = (pages(token.id), forms(token.id));
    let fields: Vec<Value> = fields(&alice).iter().map(|(name, value)| json!([name, value])).collect();

    // The script can read what it may.
    browser.opens(&format!("{console}/console/profile")).await;
    let read = browser.awaits(READ, &[json!(console), json!(["/console/profile"])]).await;
    assert!(read.as_array().expect("a list").len() > 3, "{read}");

    let before = state(&stack).await;
    for page in [format!("{}/page", stack.edge().url()), format!("{listed}/")] {
        browser.opens(&page).await;
        for path in &pages {
            let read = browser.awaits(READ, &[json!(console), json!([path])]).await;
            assert_eq!(read, json!([]), "read by {page}");
        }
        let cookies = browser.runs("return document.cookie", &[]).await;
        assert!(!cookies.as_str().expect("a text").contains(COOKIE), "{cookies}");
        if page.starts_with(stack.edge().url()) {
            let told = "const done = arguments[0]; fetch('/echo').then((answer) => answer.text()).then(done);";
            let told = browser.awaits(told, &[]).await.to_string();
            assert!(told.contains("user-agent") && !told.contains("zenzefi_"), "the upstream is told {told}");
        }
        for path in &forms {
            let written = browser.awaits(WRITE, &[json!(console), json!([path]), json!(fields)]).await;
            assert_eq!(written, "done", "{page} {path}");
        }
        assert_eq!(state(&stack).await, before, "changed by {page}");

        let framed = browser.awaits(FRAME, &[json!(format!("{console}/console/profile"))]).await;
        assert!(framed.is_null(), "read in a frame by {page}: {framed}");
        let shown = browser.first_frame().await;
        assert!(!shown.contains(&alice.email) && !shown.contains("class=\"bar\""), "framed by {page}: {shown}");

        let opens = format!("window.opened = window.open('{console}/console/profile'); return window.opened !== null");
        assert_eq!(browser.runs(&opens, &[]).await, true, "no window");
        let lost = "try { return window.opened.closed && window.opened.document === null } catch { return window.opened.closed }";
        eventually!(browser.runs(lost, &[]).await, |lost| *lost == true);

        let posts = "const form = document.createElement('form');
            Object.assign(form, { method: 'post', action: arguments[0] });
            const field = document.createElement('input');
            Object.assign(field, { name: 'full_name', value: 'Mallory' });
            form.append(field);
            document.body.append(form);
            form.submit();";
        browser.runs(posts, &[json!(format!("{console}/console/profile"))]).await;
        browser.shows("main .notice", "This request came from another site, so nothing was done.").await;
    }
    assert_eq!(state(&stack).await, before);
    browser.opens(&format!("{console}/console/profile")).await;
    browser.shows("dl", &alice.email).await;
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn a_login_that_a_script_of_the_upstream_planted_is_not_whose_who_logs_in() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let mallory = stack.control.user("mallory").await.enters_console(&stack.control.api).await;
    let browser = Browser::start().await;
    sees_upstream(&stack, &browser, &token).await;
    for path in ["/", "/console", "/console/login", "/console/profile"] {
        let plants = format!("document.cookie = '{COOKIE}={}; path={path}'", mallory.login());
        browser.runs(&plants, &[]).await;
    }
    logs_in(&stack, &browser, &alice).await;
    let console = format!("{}/console", stack.control.plane.url());
    // The one for this page alone is found, and gone, when the page is first asked for.
    browser.opens(&format!("{console}/profile")).await;
    browser.opens(&format!("{console}/profile")).await;
    browser.shows("dl", &alice.email).await;
    browser.stops().await;
    stack.finish().await;
}

/// Somebody whose every text holds HTML, and one of their tokens, which they have used.
async fn mallory(stack: &Stack) -> (User, Token) {
    let (api, admin) = (&stack.control.api, &stack.control.admin);
    let (email, password) = ("mallory@example.com", "what mallory knows");
    stack.secrets.remember("password", password);
    let account = json!({ "email": email, "username": SHORT, "full_name": HTML, "password": password });
    api.request(Method::POST, "/auth/register").json(&account).answer().await.expect(201);
    let login = api.request(Method::POST, "/auth/login").json(&json!({ "email": email, "password": password }));
    login.header("User-Agent", HTML).answer().await.expect(200);
    let mallory = api.logs_in(email, password).await;
    let credit = json!({ "currency_balance": "1000.00", "reason": HTML });
    admin.changes(&mallory, &credit).await.expect(200);
    let bundle = json!({
        "name": MIDDLE, "description": HTML, "token_count": 2, "duration_hours": 24, "discount_percent": "10.00",
    });
    admin.request(Method::POST, "/bundles/").json(&bundle).answer().await.expect(201);
    let token = mallory.buys(24).await;
    let seen = stack.edge().with(&token, Method::GET, "/page").header("User-Agent", HTML).answer().await;
    assert_eq!(seen.status, 200);
    let agents = "SELECT count(*) FROM proxy_sessions WHERE user_agent LIKE '%<script%'";
    eventually!(stack.control.database.query(agents).await.expect("a count"), |count| count == "1");
    (mallory, token)
}

/// Checks that no text has become anything in the page that is shown.
async fn assert_is_text(browser: &Browser, page: &str) {
    assert_eq!(browser.runs(BECAME, &[]).await, 0, "{page}: {}", browser.runs(SOURCE, &[]).await);
    let complaints = browser.complaints().await;
    let violations: Vec<&String> =
        complaints.iter().filter(|complaint| complaint.contains("Content Security")).collect();
    assert!(violations.is_empty(), "{page}: {violations:?}");
}

#[tokio::test]
async fn a_text_that_holds_html_is_text_on_every_page() {
    let stack = Stack::start().await;
    let (mallory, token) = mallory(&stack).await;
    let browser = Browser::start().await;
    let (url, admin) = (stack.control.plane.url(), &*stack.control.admin);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(QUERY.map(|name| (name, HTML))).finish();
    let stranger = stack.control.api.visitor();
    let token_id = token.id.to_string();
    for (user, ids) in
        [(None, vec![&token_id]), (Some(&mallory), vec![&token_id]), (Some(admin), vec![&mallory.id, &token_id])]
    {
        browser.forgets_cookies().await;
        if let Some(user) = user {
            logs_in(&stack, &browser, user).await;
        }
        let mut paths: Vec<String> = ids.into_iter().flat_map(pages).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let is_theirs = match user {
                None => stranger.gets(&path).await.status == 200,
                Some(user) => path.contains("/admin") == (user.id == admin.id),
            };
            if !is_theirs || path == "/console/language" || path.contains(".csv") {
                continue;
            }
            for page in [format!("{url}{path}?{query}"), format!("{url}{path}")] {
                browser.opens(&page).await;
                assert_is_text(&browser, &page).await;
            }
            let mut number = 0;
            while browser.runs(SENDS, &[json!(number), json!(HTML)]).await == true {
                number += 1;
                eventually!(browser.runs(LEFT, &[]).await, |left| *left == true);
                assert_is_text(&browser, &format!("what form {number} of {path} leads to")).await;
                browser.opens(&format!("{url}{path}")).await;
            }
        }
    }
    let visitor = mallory.enters_console(&stack.control.api).await;
    visitor.posts("/console/profile", &[("full_name", HTML)]).await;
    logs_in(&stack, &browser, &mallory).await;
    browser.opens(&format!("{url}/console/profile")).await;
    browser.shows("dl", SHORT).await;
    assert_eq!(browser.value("#full_name").await, HTML);
    browser.opens(&format!("{url}/console/register?{query}")).await;
    assert_eq!(browser.value("#ref").await, HTML);
    browser.stops().await;
    stack.finish().await;
}
