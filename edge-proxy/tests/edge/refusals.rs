//! Every way in which the edge says no: its status, its words, and that nothing of it reaches the
//! upstream.

use std::time::Duration;

use http::Method;
use serde_json::json;
use shared::token::scope::Scope;
use testbed::{
    clients::{
        http::{Answer, Ask},
        raw_http::Wire,
    },
    eventually,
    people::Token,
    stack::Stack,
};

const NO_DEVICE: &str = "Device identification required: X-Device-ID header missing. Please update your Desktop Client to \
                         the latest version.";
const BAD_DEVICE: &str = "Invalid X-Device-ID header format (must be 8-255 characters)";

fn assert_refused(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.problem(), detail);
}

#[tokio::test]
async fn checks_come_in_the_contracts_order() {
    let mut stack = Stack::plan().edge_env("DEVICE_POLICY", "required").start_edges().await;
    stack.settle().await;
    let token = stack.token_of(Scope::CertificatesOnly).await;
    let outside = "/users/currentUser";
    let edge = stack.edge();

    let malformed = edge.get(outside).header("X-Device-ID", "short").answer().await;
    assert_refused(&malformed, 400, BAD_DEVICE);
    let long = edge.with(&token, Method::GET, outside).header("X-Device-ID", "x".repeat(256)).answer().await;
    assert_refused(&long, 400, BAD_DEVICE);
    assert_eq!(edge.get(outside).answer().await.status, 401);
    let unknown = edge.with(&Token::stranger(), Method::GET, outside).answer().await;
    assert_eq!(unknown.status, 401);
    let without_device = edge.with(&token, Method::GET, "/certificates/details/a%2Fb").answer().await;
    assert_refused(&without_device, 403, NO_DEVICE);

    let with_device = |path| edge.with(&token, Method::GET, path).header("X-Device-ID", "0123456789abcdef0123");
    assert_eq!(with_device("/certificates/details/a%2Fb").answer().await.status, 400);
    assert_refused(
        &with_device(outside).answer().await,
        403,
        "Access denied: your token scope ('certificates_only') does not allow access to '/users/currentUser'",
    );
    assert_eq!(stack.standin.seen(outside).requests, 0);
    assert_eq!(with_device("/certificates/filter").answer().await.status, 200);
    stack.finish().await;
}

#[tokio::test]
async fn a_restricted_scope_opens_its_paths_and_no_others() {
    let stack = Stack::start_edges().await;
    let token = stack.token_of(Scope::CertificatesOnly).await;
    for path in [
        "/certificates/filter",
        "/certificates/details/c-1001",
        "/certificates/export/c-1001",
        "/certificates/activeForTesting",
        "/certificates/activeForTesting/options/c-1001",
        "/certificates/update/metrics",
        "/certificates/checkSystemIntegrityLogExistance",
        "/configurations/certificatesColumnOrder",
        "/api/v1/proxy/certificates/filter",
    ] {
        assert_eq!(stack.edge().status_for(&token, path).await, 200, "{path}");
    }
    for path in ["/", "/users/currentUser", "/certificates/removeAll", "/certificates/Filter", "/certificates/details"]
    {
        assert_eq!(stack.edge().status_for(&token, path).await, 403, "{path}");
        assert_eq!(stack.standin.seen(path).requests, 0, "{path}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn paths_that_two_servers_could_read_differently_are_refused_and_never_forwarded() {
    let stack = Stack::start_edges().await;
    let full = stack.token().await;
    let restricted = stack.token_of(Scope::CertificatesOnly).await;
    let status = async |token: &Token, path: &str| {
        let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
        let host = stack.edge().url().trim_start_matches("http://");
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\n\r\n", token.text);
        wire.send(head).await.expect("sent");
        wire.answer().await.expect("an answer").status
    };
    for path in ["/a/../b", "/a/%2e%2e/b", "/a/.%2E/b", "/.", "/a%00b", "/a/..%2Fb", "/a\u{1}b"] {
        assert_eq!(status(&full, path).await, 400, "{path}");
    }
    for path in [
        "/certificates/details/a%2Fb",
        "/certificates/details/a%5Cb",
        "/certificates/details/a;b",
        "//certificates/filter",
    ] {
        assert_eq!(status(&restricted, path).await, 400, "{path}");
    }
    for path in
        ["/%68ealth", "/api/v1/proxy%2Fstatus", "/api//v1/proxy/status", "/%5fgateway/sign-in", "//_gateway/sign-in"]
    {
        assert_eq!(status(&full, path).await, 400, "{path}");
        assert_eq!(stack.standin.seen(path).requests, 0, "{path}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_401_closes_its_connection_and_every_other_refusal_keeps_it() {
    let mut stack = Stack::start_edges().await;
    let token = stack.token_of(Scope::CertificatesOnly).await;
    stack.settle().await;
    let host = stack.edge().url().trim_start_matches("http://").to_owned();
    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    let mut ask = async |path: &str, extra: &str| {
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n")).await.expect("the connection is kept");
        wire.answer().await.expect("an answer")
    };
    let credential = format!("X-Access-Token: {}\r\n", token.text);
    assert_eq!(ask("/", "X-Device-ID: short\r\n").await.status, 400);
    assert_eq!(ask("/users/currentUser", &credential).await.status, 403);
    assert_eq!(ask("/_gateway/nothing", "").await.status, 404);
    assert_eq!(ask("/certificates/filter", &credential).await.status, 200);
    let refused = ask("/", "").await;
    assert_eq!((refused.status, refused.header("connection")), (401, "close"));
    assert!(wire.closes(eventually::DEADLINE).await);
    stack.finish().await;
}

#[tokio::test]
async fn another_host_is_misdirected() {
    let stack = Stack::start_edges().await;
    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    wire.send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 421);
    stack.finish().await;
}

#[tokio::test]
async fn signing_in_by_api_says_what_is_wrong() {
    let mut stack = Stack::start_edges().await;
    stack.settle().await;
    let authenticate = |body: &str| {
        let request = stack.edge().request(Method::POST, "/api/v1/proxy/authenticate");
        request.header("content-type", "application/json").body(body.to_owned())
    };
    for body in ["", "{}", r#"{"token": null}"#, r#"{"token": ""}"#] {
        assert_refused(&authenticate(body).answer().await, 400, "Token is required in request body");
    }
    for body in [json!({ "token": "short" }), json!({ "token": Token::stranger().text })] {
        assert_refused(&authenticate(&body.to_string()).answer().await, 401, "Invalid or expired access token");
    }
    for body in ["{", "[1]", r#"{"token": 7}"#, "\u{0}"] {
        let status = authenticate(body).answer().await.status;
        assert!((400..500).contains(&status), "{status} for {body:?}");
    }
    let status = stack.edge().get("/api/v1/proxy/status").answer().await;
    assert_refused(&status, 401, "Authentication required: provide cookie or X-Access-Token header");
    stack.finish().await;
}

#[tokio::test]
async fn a_dead_cookie_is_cleared_and_a_live_header_is_tried_after_it() {
    let mut stack = Stack::start_edges().await;
    stack.settle().await;
    let token = stack.token().await;
    let dead = format!("zenzefi_access_token={}", Token::stranger().text);
    let refused = stack.edge().get("/").header("cookie", &dead).answer().await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("set-cookie").starts_with("zenzefi_access_token=; "), "{:?}", refused.headers);
    assert!(refused.header("set-cookie").contains("Max-Age=0"), "{:?}", refused.headers);
    let tried = stack.edge().with(&token, Method::GET, "/users/currentUser").header("cookie", &dead).answer().await;
    assert_eq!(tried.status, 200);
    stack.finish().await;
}

#[tokio::test]
async fn a_foreign_site_cannot_use_a_browsers_cookie() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let cookie = format!("zenzefi_access_token={}", token.text);
    let edge = stack.edge();
    let post = || edge.request(Method::POST, "/echo").header("cookie", &cookie);
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example"] {
        let refused = post().header("origin", foreign).answer().await;
        assert_eq!(refused.status, 403, "{foreign}");
        refused.problem();
    }
    assert_eq!(post().header("sec-fetch-site", "cross-site").answer().await.status, 403);
    assert_eq!(stack.standin.seen("/echo").requests, 0);
    assert_eq!(post().header("origin", edge.url()).answer().await.status, 200);
    // Only what a browser adds by itself can be misused by another site.
    let by_header = edge.with(&token, Method::POST, "/echo").header("origin", "https://evil.example");
    assert_eq!(by_header.answer().await.status, 200);
    let sign_in = edge.request(Method::POST, "/api/v1/proxy/authenticate").json(&json!({ "token": token.text }));
    assert_eq!(sign_in.header("origin", "https://evil.example").answer().await.status, 403);
    stack.finish().await;
}

#[tokio::test]
async fn a_browsers_navigation_gets_a_page_and_everything_else_a_problem() {
    let stack = Stack::start_edges().await;
    let navigation = |path: &str| {
        let request = stack.edge().get(path).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")
    };
    let page = navigation("/certificates?x=1").answer().await;
    assert_eq!(page.status, 401);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    assert!(page.text().contains(r#"action="/_gateway/sign-in""#), "{}", page.text());
    assert!(page.text().contains("/certificates?x=1"), "the page leads back to where the browser was going");
    let problem = stack.edge().get("/certificates").header("accept", "*/*").answer().await;
    assert_eq!(problem.status, 401);
    problem.problem();
    let redirected = navigation("/api/v1/proxy/certificates?x=1").answer().await;
    assert!((302..=308).contains(&redirected.status), "{}", redirected.status);
    assert!(redirected.header("location").ends_with("/certificates?x=1"), "{:?}", redirected.headers);
    // Through the desktop client the same navigation would come back here for ever.
    let through_client = navigation("/api/v1/proxy/certificates").header("X-Device-ID", "0123456789abcdef0123");
    assert_eq!(through_client.answer().await.status, 401);
    stack.finish().await;
}

#[tokio::test]
async fn the_edges_own_endpoints_take_their_methods_and_small_json_bodies() {
    let stack = Stack::start_edges().await;
    let edge = stack.edge();
    for (method, path, allow) in [
        (Method::GET, "/api/v1/proxy/authenticate", "POST"),
        (Method::POST, "/api/v1/proxy/status", "GET"),
        (Method::GET, "/api/v1/proxy/logout", "DELETE"),
    ] {
        let refused = edge.request(method, path).answer().await;
        assert_eq!((refused.status, refused.header("allow")), (405, allow), "{path}");
        refused.problem();
    }
    let authenticate = || edge.request(Method::POST, "/api/v1/proxy/authenticate");
    let form = authenticate().header("content-type", "text/plain").body("token=x").answer().await;
    assert_eq!(form.status, 415);
    let long = json!({ "token": "x".repeat(20_000) });
    assert_eq!(authenticate().json(&long).answer().await.status, 413);
    let nothing = edge.get("/_gateway/nothing").answer().await;
    assert_eq!(nothing.status, 404);
    nothing.problem();
    stack.finish().await;
}

#[tokio::test]
async fn nothing_after_a_body_that_is_framed_wrongly_is_taken_for_a_request() {
    let stack = Stack::start_edges().await;
    let host = stack.edge().url().trim_start_matches("http://").to_owned();
    for path in ["/_gateway/nothing", "/api/v1/proxy/authenticate"] {
        let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        wire.send(head).await.expect("a send");
        let answer = wire.answer().await.expect("an answer");
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(answer.header("connection"), "close", "{path}");
        assert!(wire.closes(Duration::from_secs(20)).await, "{path}");
    }
    stack.finish().await;
}
