//! Where a request's token is found, which place comes first, and that none of it reaches the
//! upstream.

use http::Method;
use testbed::{
    clients::{
        http::{Ask, client},
        raw_http::Wire,
    },
    stack::Stack,
};

#[tokio::test]
async fn a_token_in_the_query_becomes_a_cookie_and_leaves_the_address() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let edge = stack.edge();
    let answer = edge.get(&format!("/certificates/filter?a=1&token={}&b=%20", token.text)).answer().await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location"), format!("{}/certificates/filter?a=1&b=%20", edge.url()));
    assert!(answer.header("set-cookie").starts_with("zenzefi_access_token="), "{:?}", answer.headers);
    assert_eq!(stack.standin.seen("/certificates/filter").requests, 0);

    let browser =
        client().cookie_store(true).redirect(reqwest::redirect::Policy::limited(3)).build().expect("a client");
    let page = browser.get(format!("{}/certificates/filter?token={}", edge.url(), token.text)).answer().await;
    assert_eq!(page.expect(200)["total"], 4);

    let local = edge.get(&format!("/page?token={}", token.text)).header("X-Local-Url", "https://127.0.0.1:61000");
    let local = local.answer().await;
    assert_eq!((local.status, local.header("location")), (303, "https://127.0.0.1:61000/page"));
    let elsewhere = edge.get(&format!("/page?token={}", token.text)).header("X-Local-Url", "https://evil.example");
    assert_eq!(elsewhere.answer().await.header("location"), format!("{}/page", edge.url()));
    stack.finish().await;
}

#[tokio::test]
async fn a_query_that_is_not_ours_is_forwarded_and_ours_never_is() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let query = async |method: Method, query: &str| {
        let echo = stack.edge().with(&token, method, &format!("/echo?{query}")).answer().await.expect(200);
        echo["query"].as_str().map(str::to_owned)
    };
    assert_eq!(query(Method::GET, "token=short&x=1").await.as_deref(), Some("token=short&x=1"));
    assert_eq!(query(Method::POST, &format!("a=1&token={}&a=2", token.text)).await.as_deref(), Some("a=1&a=2"));
    assert_eq!(query(Method::POST, &format!("token={}", token.text)).await, None);
    stack.finish().await;
}

#[tokio::test]
async fn the_cookie_comes_before_the_header() {
    let stack = Stack::start_edges().await;
    let (by_cookie, by_header) = (stack.token().await, stack.token().await);
    let cookie = format!("theme=dark; zenzefi_access_token={}", by_cookie.text);
    let echo = stack.edge().with(&by_header, Method::GET, "/echo").header("cookie", cookie).answer().await.expect(200);
    let sent = echo["headers"].as_array().expect("pairs");
    let token_id = sent.iter().find(|pair| pair[0] == "x-token-id").map(|pair| &pair[1]);
    assert_eq!(token_id, Some(&serde_json::json!(by_cookie.id)));
    stack.finish().await;
}

#[tokio::test]
async fn a_cookie_of_others_that_is_no_text_hides_none_of_ours() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    let host = stack.edge().url().trim_start_matches("http://");
    let cookies = format!("name=Иван; zenzefi_access_token={}", token.text);
    wire.send(format!("GET /echo HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\n\r\n")).await.expect("a send");
    let answer = wire.answer().await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(!String::from_utf8_lossy(&answer.body).contains("zenzefi_access_token"));
    stack.finish().await;
}
