//! What the console tells browsers to keep it from others: headers of its pages, attributes of its
//! cookies.

use http::Method;
use testbed::{
    clients::http::{Answer, Ask},
    stack::Stack,
};

use super::pages;

const LISTED: &str = "http://localhost:61000";

fn assert_is_kept(answer: &Answer, path: &str) {
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "same-origin"),
        ("access-control-allow-origin", ""),
        ("access-control-allow-credentials", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name} of {path} ({})", answer.status);
    }
    let policy = answer.header("content-security-policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|part| part == rule), "no {rule} in `{policy}` of {path}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "`{policy}` of {path}");
    let html = answer.text();
    for inline in ["style=", "<style", " onclick", " onload", " onsubmit", "javascript:", "<script>"] {
        assert!(!html.contains(inline), "{inline} in {path}");
    }
}

#[tokio::test]
async fn no_page_is_framed_kept_or_told_to_another_origin() {
    let stack = Stack::plan().control_env("CORS_ORIGINS", LISTED).start().await;
    let (api, admin) = (&stack.control.api, &stack.control.admin);
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let visitors = [api.visitor(), admin.enters_console(api).await];
    let origins = [None, Some(LISTED), Some(stack.edge().url()), Some("null")];
    for path in pages(token.id).iter().map(String::as_str).chain(["/console/nowhere", "/console/admin/nowhere"]) {
        for visitor in &visitors {
            for origin in origins {
                let mut request = visitor.request(Method::GET, path);
                if let Some(origin) = origin {
                    request = request.header("Origin", origin);
                }
                let answer = request.answer().await;
                // A file to be kept is no page.
                if answer.header("content-disposition").is_empty() {
                    assert_is_kept(&answer, path);
                }
            }
            let preflight = visitor.request(Method::OPTIONS, path).header("Origin", LISTED);
            let preflight = preflight.header("Access-Control-Request-Method", "POST").answer().await;
            assert!(!(200..300).contains(&preflight.status), "{path}: {}", preflight.status);
            for header in
                ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"]
            {
                assert_eq!(preflight.header(header), "", "{path}");
            }
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_page_is_opened_by_other_sites_but_not_read_by_them() {
    let stack = Stack::start().await;
    let api = &stack.control.api;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let member = alice.enters_console(api).await;
    for path in pages(token.id).iter().filter(|path| *path != "/console/language") {
        for site in ["cross-site", "same-site"] {
            for (mode, dest) in [
                ("cors", "empty"),
                ("no-cors", "empty"),
                ("no-cors", "image"),
                ("no-cors", "script"),
                ("navigate", "iframe"),
                ("navigate", "embed"),
                ("navigate", "object"),
            ] {
                let request = member.request(Method::GET, path).header("Sec-Fetch-Site", site);
                let answer = request.header("Sec-Fetch-Mode", mode).header("Sec-Fetch-Dest", dest).answer().await;
                assert_eq!(answer.status, 403, "{path} {site} {mode} {dest}");
                assert!(
                    !answer.text().contains(&alice.email) && !answer.text().contains("alice-"),
                    "{}",
                    answer.text()
                );
            }
            let request = member.request(Method::GET, path).header("Sec-Fetch-Site", site);
            let opened =
                request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document").answer().await;
            let is_refused = opened.text().contains("This request came from another site");
            assert!(!is_refused, "a link to {path} leads nowhere");
        }
    }
    stack.finish().await;
}

/// Lines that set cookies, by what comes before the value.
fn lines<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let lines = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
    lines.filter(|line| line.starts_with(&format!("{name}=")) && line.contains("Path=/;")).collect()
}

#[tokio::test]
async fn a_login_is_in_a_cookie_that_no_script_and_no_other_site_has() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").await;
    let mut visitor = stack.control.api.visitor();
    let answer = visitor.logs_in(&alice.email, &alice.password).await;
    let login = visitor.login().to_owned();
    assert_eq!(
        lines(&answer, "zenzefi_console"),
        [format!("zenzefi_console={login}; HttpOnly; Path=/; Max-Age=3600; SameSite=Strict")]
    );
    let left = visitor.posts("/console/logout", &[]).await;
    let gone = ["zenzefi_console=; HttpOnly; Path=/; Max-Age=0; SameSite=Strict"];
    assert_eq!(lines(&left, "zenzefi_console"), gone);
    stack.finish().await;
}

#[tokio::test]
async fn over_https_no_other_host_can_set_that_cookie_and_none_of_another_name_is_read() {
    let origin = "https://console.test";
    let stack = Stack::plan().control_env("CONTROL_ORIGIN", origin).start().await;
    let alice = stack.control.user("alice").await;
    let visitor = stack.control.api.visitor();
    let form = [("email", alice.email.as_str()), ("password", &alice.password)];
    let login = visitor.form("/console/login", &form).header("Origin", origin).answer().await;
    assert_eq!(login.status, 303, "{}", login.text());
    assert!(lines(&login, "zenzefi_console").is_empty());
    let [line] = lines(&login, "__Host-zenzefi_console")[..] else { panic!("{:?}", login.headers) };
    assert!(line.ends_with("; HttpOnly; Path=/; Max-Age=3600; Secure; SameSite=Strict"), "{line}");
    let jwt = line.split(['=', ';']).nth(1).expect("a value");
    stack.secrets.remember("login", jwt);
    let status = async |name: &str| {
        let request = visitor.request(Method::GET, "/console/profile").header("Cookie", format!("{name}={jwt}"));
        request.answer().await.status
    };
    assert_eq!((status("__Host-zenzefi_console").await, status("zenzefi_console").await), (200, 303));
    stack.finish().await;
}
