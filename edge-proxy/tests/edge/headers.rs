//! What crosses the gateway in a head, and what does not, both ways.

use http::Method;
use testbed::{
    clients::http::Ask,
    people::Token,
    stack::{EdgeStack, Stack},
    upstreams::standin::received,
};

async fn stack_and_token(plan: testbed::stack::Plan) -> (EdgeStack, Token, String) {
    let stack = plan.start_edges().await;
    let token = stack.token().await;
    let user_id = stack.control.user_id.to_string();
    (stack, token, user_id)
}

#[tokio::test]
async fn the_upstream_learns_who_asks_from_the_gateway_and_from_nobody_else() {
    let (stack, token, user_id) = stack_and_token(Stack::plan()).await;
    let token_id = token.id.to_string();
    let request = stack.edge().with(&token, Method::GET, "/echo");
    let request = ["X-User-Id", "X-Token-Id", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"]
        .into_iter()
        .fold(request, |request, name| request.header(name, "forged"));
    let request = request.header("connection", "keep-alive, x-hop").header("x-hop", "1").header("x-kept", "1");
    let echo = request.header("cookie", "theme=dark").header("accept-encoding", "gzip, br").answer().await.expect(200);
    let host = stack.edge().url().trim_start_matches("http://");
    let upstream = stack.standin.url();
    for (name, expected) in [
        ("x-user-id", vec![user_id.as_str()]),
        ("x-token-id", vec![token_id.as_str()]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-host", vec![host]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-real-ip", vec![]),
        ("x-access-token", vec![]),
        ("x-hop", vec![]),
        ("x-kept", vec!["1"]),
        ("cookie", vec!["theme=dark"]),
        // This caller passes bodies on without their coding.
        ("accept-encoding", vec!["identity"]),
    ] {
        assert_eq!(received(&echo, name), expected, "{name}");
    }
    let host = echo["authority"].as_str().or(received(&echo, "host").first().copied()).map(str::to_owned);
    assert_eq!(host.as_deref(), Some(upstream.trim_start_matches("https://")));
    assert!(!echo.to_string().contains(&token.text));
    stack.finish().await;
}

#[tokio::test]
async fn own_origins_are_mapped_to_the_upstreams_and_foreign_ones_are_left() {
    let (stack, token, _) = stack_and_token(Stack::plan()).await;
    let upstream = stack.standin.url();
    let own = stack.edge().url().to_owned();
    let sent = async |origin: &str, referer: &str| {
        let request =
            stack.edge().with(&token, Method::POST, "/echo").header("origin", origin).header("referer", referer);
        let echo = request.answer().await.expect(200);
        (received(&echo, "origin").join("|"), received(&echo, "referer").join("|"))
    };
    let referer = format!("{own}/page?a=1&token={}", token.text);
    assert_eq!(sent(&own, &referer).await, (upstream.clone(), format!("{upstream}/page?a=1")));
    let loopback = "https://127.0.0.1:61000";
    assert_eq!(sent(loopback, &format!("{loopback}/x")).await, (upstream.clone(), format!("{upstream}/x")));
    let foreign = "https://evil.example";
    assert_eq!(sent(foreign, &format!("{foreign}/x")).await, (foreign.to_owned(), format!("{foreign}/x")));
    stack.finish().await;
}

#[tokio::test]
async fn the_access_token_is_forwarded_only_if_configured_and_basic_credentials_are_added() {
    let plan = Stack::plan()
        .edge_env("FORWARD_ACCESS_TOKEN", "true")
        .edge_env("ZENZEFI_BASIC_AUTH", testbed::upstreams::standin::BASIC_AUTH);
    let (stack, token, _) = stack_and_token(plan).await;
    let echo = stack.edge().with(&token, Method::GET, "/echo").answer().await.expect(200);
    assert_eq!(received(&echo, "x-access-token"), [token.text.as_str()]);
    assert_eq!(stack.edge().status_for(&token, "/basic").await, 200);
    stack.finish().await;
}

#[tokio::test]
async fn the_upstreams_answer_keeps_its_headers_but_for_what_would_harm() {
    let (stack, token, _) = stack_and_token(Stack::plan()).await;
    let lines = "header=X-Kept:%20yes&header=Set-Cookie:%20zenzefi_access_token=forged&header=Set-Cookie:%20other=1";
    let answer = stack.edge().with(&token, Method::GET, &format!("/status/418?{lines}")).answer().await;
    assert_eq!((answer.status, answer.header("x-kept")), (418, "yes"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["other=1"]);
    assert!(answer.header("cache-control").contains("private"), "{:?}", answer.headers);
    assert!(!answer.header("x-request-id").is_empty());
    let stricter =
        stack.edge().with(&token, Method::GET, "/status/200?header=Cache-Control:%20no-store").answer().await;
    assert_eq!(stricter.header("cache-control"), "no-store");

    for status in [201, 204, 304, 404, 500, 503] {
        let passed = stack.edge().status_for(&token, &format!("/status/{status}")).await;
        assert_eq!(passed, status, "statuses of the upstream are passed on");
    }
    let mut stack = stack;
    stack.announce(500);
    stack.announce(503);
    stack.finish().await;
}

#[tokio::test]
async fn redirects_are_passed_on_and_those_to_the_upstream_stay_on_the_gateway() {
    let (stack, token, _) = stack_and_token(Stack::plan()).await;
    let location = async |to: &str| {
        let answer = stack.edge().with(&token, Method::GET, &format!("/redirect?to={to}")).answer().await;
        (answer.status, answer.header("location").to_owned())
    };
    assert_eq!(location("/page").await, (302, "/page".to_owned()));
    assert_eq!(location("self:/page?x=1").await, (302, "/page?x=1".to_owned()));
    assert_eq!(location("https://elsewhere.example/x").await, (302, "https://elsewhere.example/x".to_owned()));
    stack.finish().await;
}

#[tokio::test]
async fn an_api_client_gets_identity_coded_bodies() {
    let (stack, token, _) = stack_and_token(Stack::plan()).await;
    for coding in ["gzip", "br", "zstd", "deflate"] {
        let request = stack.edge().with(&token, Method::GET, &format!("/compressed/{coding}"));
        let answer = request.header("accept-encoding", coding).answer().await;
        assert_eq!(answer.header("content-encoding"), "", "{coding}");
        assert!(answer.text().starts_with("<!doctype html>"), "{coding}");
    }
    stack.finish().await;
}
