//! Headers that name an origin, both ways, and cookies: each fits the place where its answer is
//! shown.

use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use testbed::{
    clients::http::{Answer, Ask},
    people::Token,
    stack::{EdgeStack, Stack},
};
use url::form_urlencoded::Serializer;

const ALIAS: &str = "https://zenzefi.example:8443";
const LOCAL: &str = "https://127.0.0.1:61000";

async fn stack_and_token() -> (EdgeStack, Token) {
    let stack = Stack::plan().edge_env("ZENZEFI_ALIASES", ALIAS).start_edges().await;
    let token = stack.token().await;
    (stack, token)
}

/// A path of the stand-in that answers with these headers.
fn answering(headers: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in headers {
        query.append_pair("header", &format!("{name}:{value}"));
    }
    format!("/status/200?{}", query.finish())
}

fn lines<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect()
}

#[tokio::test]
async fn headers_that_name_the_upstream_name_the_gateway_where_they_are_shown() {
    let (stack, token) = stack_and_token().await;
    let (upstream, authority) = (stack.standin.url(), stack.standin.url().replace("https://", ""));
    let insecure = upstream.replace("https:", "http:");
    let asks = |path: &str| stack.edge().by_cookie(&token, Method::GET, path);
    for (local, shown) in [(None, stack.edge().url()), (Some(LOCAL), LOCAL)] {
        let shown_authority = shown.split_once("://").expect("an origin").1;
        let shown_socket = shown.replacen("http", "ws", 1);
        for (name, value, expected) in [
            ("location", format!("{upstream}/a%20b?x=1#y"), format!("{shown}/a%20b?x=1#y")),
            ("location", format!("//{authority}/a"), format!("{shown}/a")),
            ("location", format!("{insecure}/a"), format!("{shown}/a")),
            ("location", format!("{ALIAS}/a"), format!("{shown}/a")),
            ("location", "/a?b".to_owned(), "/a?b".to_owned()),
            ("location", format!("{upstream}.evil.example/"), format!("{upstream}.evil.example/")),
            ("content-location", format!("{upstream}/page.en"), format!("{shown}/page.en")),
            ("refresh", format!("5; url={upstream}/a"), format!("5; url={shown}/a")),
            (
                "link",
                format!("<{upstream}/a>; rel=preload, <//{authority}/b>; rel=next, </c>; rel=prev"),
                format!("<{shown}/a>; rel=preload, <//{shown_authority}/b>; rel=next, </c>; rel=prev"),
            ),
            ("access-control-allow-origin", upstream.clone(), shown.to_owned()),
            ("access-control-allow-origin", "*".to_owned(), "*".to_owned()),
            (
                "timing-allow-origin",
                format!("{upstream}, https://cdn.example, {ALIAS}"),
                format!("{shown}, https://cdn.example, {shown}"),
            ),
            (
                "content-security-policy",
                format!("img-src {authority} https://cdn.example; connect-src {upstream} wss://{authority}"),
                format!("img-src {shown_authority} https://cdn.example; connect-src {shown} {shown_socket}"),
            ),
            (
                "content-security-policy-report-only",
                format!("script-src 'self' {ALIAS}; report-uri {upstream}/r"),
                format!("script-src 'self' {shown}; report-uri {shown}/r"),
            ),
        ] {
            let request = asks(&answering(&[(name, &value)]));
            let request = local.into_iter().fold(request, |request, local| request.header("X-Local-Url", local));
            let answer = request.answer().await;
            assert_eq!(lines(&answer, name), [expected.as_str()], "{name}: {value}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_api_client_gets_redirects_as_paths_and_other_headers_unchanged() {
    let (stack, token) = stack_and_token().await;
    let upstream = stack.standin.url();
    let link = format!("<{upstream}/a>; rel=preload");
    let path = answering(&[("location", &format!("{ALIAS}/a?b")), ("link", &link)]);
    let answer = stack.edge().with(&token, Method::GET, &path).answer().await;
    assert_eq!((answer.header("location"), answer.header("link")), ("/a?b", link.as_str()));
    stack.finish().await;
}

#[tokio::test]
async fn each_cookie_keeps_its_line_and_its_path_and_loses_the_upstreams_domain() {
    let (stack, token) = stack_and_token().await;
    let cookies = [
        "id=1; Domain=zenzefi.example; Path=/app; HttpOnly",
        "theme=dark; Path=/; Expires=Wed, 21 Oct 2065 07:28:00 GMT",
        "region=eu; domain=127.0.0.1; Path=/; Secure; SameSite=None",
    ];
    let path = answering(&cookies.map(|cookie| ("set-cookie", cookie)));
    for (local, region) in [(None, "region=eu; Path=/"), (Some(LOCAL), "region=eu; Path=/; Secure; SameSite=None")] {
        let request = stack.edge().by_cookie(&token, Method::GET, &path);
        let request = local.into_iter().fold(request, |request, local| request.header("X-Local-Url", local));
        let answer = request.answer().await;
        assert_eq!(lines(&answer, "set-cookie"), ["id=1; Path=/app; HttpOnly", cookies[1], region], "{local:?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_binds_the_upstreams_own_host_does_not_reach_the_public_one() {
    let (stack, token) = stack_and_token().await;
    let binding = [
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("public-key-pins", "pin-sha256=\"AAAA\"; max-age=5"),
        ("public-key-pins-report-only", "pin-sha256=\"AAAA\"; report-uri=\"/\""),
        ("alt-svc", "h3=\":8443\"; ma=86400"),
    ];
    let path = answering(&binding);
    let asked: [RequestBuilder; 3] = [
        stack.edge().by_cookie(&token, Method::GET, &path),
        stack.edge().by_cookie(&token, Method::GET, &path).header("X-Local-Url", LOCAL),
        stack.edge().with(&token, Method::GET, &path),
    ];
    for request in asked {
        let answer = request.answer().await;
        assert_eq!(answer.status, 200);
        for (name, _) in binding {
            assert_eq!(lines(&answer, name), [""; 0], "{name}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_destination_towards_the_upstream_is_the_upstreams_without_our_prefix() {
    let (stack, token) = stack_and_token().await;
    let (own, upstream) = (stack.edge().url(), stack.standin.url());
    let foreign = "https://evil.example/api/v1/other";
    for (sent, received) in [
        (format!("{own}/b%20c?d"), format!("{upstream}/b%20c?d")),
        (format!("{own}/api/v1/proxy/b%20c"), format!("{upstream}/b%20c")),
        (format!("{LOCAL}/api/v1/proxy/b"), format!("{upstream}/b")),
        ("/api/v1/proxy/b".to_owned(), "/b".to_owned()),
        ("/b".to_owned(), "/b".to_owned()),
        (foreign.to_owned(), foreign.to_owned()),
    ] {
        for path in ["/echo", "/api/v1/proxy/echo"] {
            let method = Method::from_bytes(b"MOVE").expect("a method of WebDAV");
            let request = stack.edge().with(&token, method, path).header("Destination", &sent);
            let echo: Value = request.answer().await.expect(200);
            let pairs = echo["headers"].as_array().expect("pairs").iter().filter(|pair| pair[0] == "destination");
            let values: Vec<&str> = pairs.filter_map(|pair| pair[1].as_str()).collect();
            assert_eq!(values, [received.as_str()], "{sent}");
        }
    }
    stack.finish().await;
}
