//! Forms that no page of the console sends.

use testbed::{clients::http::Ask, people::console::Visitor, stack::Stack};

use super::{borrowed, fields, forms, state};

const LISTED: &str = "http://localhost:61000";

/// Whether a form of such an origin is refused, with a page that says so.
async fn is_refused(visitor: &Visitor, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> bool {
    let mut form = visitor.form(path, fields);
    for (name, value) in headers {
        form = form.header(*name, *value);
    }
    let answer = form.answer().await;
    answer.status == 403
        && answer.text().contains("This request came from another site, so nothing was done.")
        && answer.header("content-type") == "text/html; charset=utf-8"
        && answer.header("set-cookie").is_empty()
}

#[tokio::test]
async fn a_form_of_another_origin_or_of_none_does_nothing() {
    let stack = Stack::plan().control_env("CORS_ORIGINS", LISTED).start().await;
    let (api, admin) = (&stack.control.api, &stack.control.admin);
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let own = stack.control.plane.url();
    let (host, port) = own.rsplit_once(':').expect("a port");
    let elsewhere = format!("{host}:{}", port.parse::<u16>().expect("a port") ^ 1);
    let suffixed = format!("{own}.evil.example");
    let named = format!("http://evil.example/{own}");
    let user = format!("{own}@evil.example");
    let portless = host.to_owned();
    let own_upper = own.to_uppercase();
    let foreign: [&[(&str, &str)]; 14] = [
        &[],
        &[("Origin", "null")],
        &[("Origin", "")],
        &[("Origin", "http://evil.example")],
        &[("Origin", LISTED)],
        &[("Origin", stack.edge().url())],
        &[("Origin", &elsewhere)],
        &[("Origin", &suffixed)],
        &[("Origin", &named)],
        &[("Origin", &user)],
        &[("Origin", &portless)],
        &[("Origin", "null"), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate"), ("Referer", &own_upper)],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("X-Forwarded-Host", "evil.example")],
    ];
    let visitors = [api.visitor(), alice.enters_console(api).await, admin.enters_console(api).await];
    let before = state(&stack).await;
    for id in [&token.id.to_string(), &alice.id] {
        for path in forms(id) {
            for visitor in &visitors {
                let fields = fields(if path.contains("/admin") { admin } else { &alice });
                for headers in foreign {
                    let refused = is_refused(visitor, &path, &borrowed(&fields), headers).await;
                    assert!(refused, "{path} {headers:?} {visitor:?}");
                }
            }
        }
    }
    assert_eq!(state(&stack).await, before);
    let changed = visitors[1].posts("/console/profile", &borrowed(&fields(&alice))).await;
    assert_eq!(changed.header("location"), "/console/profile?done=profile");
    assert_ne!(state(&stack).await, before, "no form would have changed anything");
    let in_russian = visitors[1].form("/console/profile", &[]).header("Accept-Language", "ru").answer().await;
    assert!(in_russian.text().contains("Запрос пришёл с другого сайта, поэтому ничего не сделано."));
    stack.finish().await;
}

#[tokio::test]
async fn a_form_of_who_is_not_logged_in_does_nothing_and_leads_to_a_page() {
    let stack = Stack::start().await;
    let (api, admin) = (&stack.control.api, &stack.control.admin);
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let (stranger, member) = (api.visitor(), admin.enters_console(api).await);
    let before = state(&stack).await;
    for path in forms(token.id) {
        if ["/console/login", "/console/register", "/set-password"].contains(&path.as_str()) {
            continue;
        }
        let asked = stranger.posts(&path, &borrowed(&fields(&alice))).await;
        assert_eq!(asked.status, 303, "{path}: {}", asked.text());
        let next = asked.header("location").strip_prefix("/console/login?next=").expect("the page that logs in");
        // The form's values are gone; after the login the user is where the form was.
        let next = percent_encoding::percent_decode_str(next).decode_utf8_lossy().into_owned();
        let led = member.gets(&next).await;
        let is_page = led.header("content-type").starts_with("text/html") || led.status == 303;
        assert!(is_page, "{path} leads to {next}: {} {}", led.status, led.text());
    }
    assert_eq!(state(&stack).await, before);
    stack.finish().await;
}

#[tokio::test]
async fn too_many_failed_logins_have_to_wait_as_at_the_api() {
    let stack = Stack::plan().control_env("LOGIN_FAILURES_PER_HOUR", "5").start().await;
    let api = &stack.control.api;
    let alice = stack.control.user("alice").await;
    let mut visitor = api.visitor();
    let mut failed = 0;
    while visitor.logs_in(&format!("nobody-{failed}@example.com"), "a wrong guess").await.status == 401 {
        failed += 1;
        assert!(failed < 50, "as many guesses as one likes");
    }
    let form = [("email", alice.email.as_str()), ("password", &alice.password)];
    for (language, text) in
        [("en", "Too many failed logins. Try again in "), ("ru", "Слишком много неудачных попыток входа.")]
    {
        let waits = visitor.form("/console/login", &form).header("Origin", stack.control.plane.url());
        let waits = waits.header("Accept-Language", language).answer().await;
        assert_eq!((waits.status, waits.header("set-cookie")), (429, ""), "after {failed} failures");
        assert!(waits.text().contains(text) && waits.text().contains(&alice.email), "{}", waits.text());
        assert!(!waits.text().contains(&alice.password));
    }
    let body = serde_json::json!({ "email": alice.email, "password": alice.password });
    let by_api = api.request(http::Method::POST, "/auth/login").json(&body).answer().await;
    assert_eq!(by_api.status, 429, "{failed} failures at the console count for nothing at the API");
    stack.finish().await;
}
