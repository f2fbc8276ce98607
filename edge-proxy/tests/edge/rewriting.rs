//! Bodies that name the upstream's origin: who sees which origin instead, in which types, and what
//! an answer then says of its body.

use http::Method;
use reqwest::RequestBuilder;
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::Token,
    stack::{EdgeStack, Plan, Stack, Upstream},
    upstreams::standin::text,
};

const LOCAL: &str = "https://127.0.0.1:61000";
const BYTES: u64 = 5_000;
/// Headers that are true only of the upstream's own bytes.
const OF_THE_BYTES: [&str; 5] = ["content-length", "content-md5", "digest", "content-digest", "repr-digest"];

async fn stack_and_token(plan: Plan) -> (EdgeStack, Token) {
    let stack = plan.start_edges().await;
    let token = stack.token().await;
    (stack, token)
}

/// A request for so much text of this type.
fn asks_for(media_type: &str) -> String {
    let media_type = percent_encoding::utf8_percent_encode(media_type, percent_encoding::NON_ALPHANUMERIC);
    format!("/text?bytes={BYTES}&type={media_type}")
}

/// The names in `Vary`, in lower case.
fn varies_by(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.get_all("vary").iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',').map(|name| name.trim().to_ascii_lowercase())).collect()
}

#[tokio::test]
async fn every_caller_sees_the_origin_by_which_it_came_and_an_api_client_the_raw_bytes() {
    for upstream in [Upstream::Unverified, Upstream::Plain] {
        let (stack, token) = stack_and_token(Stack::plan().upstream(upstream)).await;
        let edge = stack.edge();
        let origin = if upstream == Upstream::Plain { stack.standin.http_url() } else { stack.standin.url() };
        let by_name = edge.url().replace("127.0.0.1", "localhost");
        let named = stack.edge().client().get(format!("{by_name}{}", asks_for("text/html")));
        let path = asks_for("text/html");
        let asked: [(&str, RequestBuilder); 4] = [
            (edge.url(), edge.by_cookie(&token, Method::GET, &path)),
            (&by_name, named.header("Cookie", format!("zenzefi_access_token={}", token.text))),
            (LOCAL, edge.by_cookie(&token, Method::GET, &path).header("X-Local-Url", LOCAL)),
            (LOCAL, edge.with(&token, Method::GET, &path).header("X-Local-Url", LOCAL)),
        ];
        for (shown, request) in asked {
            let answer = request.answer().await;
            assert_eq!(answer.text(), text(shown, &origin, BYTES), "{shown}");
            assert!(!OF_THE_BYTES.iter().any(|name| answer.headers.contains_key(*name)), "{:?}", answer.headers);
        }
        // Its own bytes, prefix or not.
        for path in [path.clone(), format!("/api/v1/proxy{path}")] {
            let answer = edge.with(&token, Method::GET, &path).answer().await;
            assert_eq!(answer.text(), text(&origin, &origin, BYTES));
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert!(answer.header("etag").starts_with('"'), "{answer:?}");
            assert!(OF_THE_BYTES.iter().all(|name| answer.headers.contains_key(*name)), "{:?}", answer.headers);
            let part = edge.with(&token, Method::GET, &path).header("Range", "bytes=10-19").answer().await;
            assert_eq!((part.status, &part.body[..]), (206, &answer.body[10..20]));
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn text_of_every_type_is_rewritten_and_says_nothing_of_the_bytes_that_it_was() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let (shown, origin) = (stack.edge().url(), stack.standin.url());
    for media_type in [
        "text/html; charset=utf-8",
        "text/css",
        "text/plain; charset=windows-1251",
        "text/javascript",
        "text/xml",
        "TEXT/HTML",
        "application/javascript",
        "application/x-javascript",
        "application/json",
        "application/problem+json; charset=UTF-8",
        "application/manifest+json",
        "application/xml",
        "application/xhtml+xml",
        "application/atom+xml",
        "image/svg+xml",
        "application/x-web-app-manifest+json",
    ] {
        let answer = stack.edge().by_cookie(&token, Method::GET, &asks_for(media_type)).answer().await;
        assert_eq!(answer.text(), text(shown, &origin, BYTES), "{media_type}");
        assert_eq!(answer.header("content-type"), media_type);
        assert!(answer.header("etag").starts_with("W/\""), "{media_type}: {answer:?}");
        assert_eq!(answer.header("accept-ranges"), "none", "{media_type}");
        assert_eq!(answer.header("cache-control"), "private", "{media_type}");
        for name in OF_THE_BYTES {
            assert!(!answer.headers.contains_key(name), "{media_type}: {name}");
        }
        let varies_by = varies_by(&answer);
        for name in ["x-local-url", "x-access-token"] {
            assert!(varies_by.iter().any(|given| given == name), "{media_type}: {varies_by:?}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_is_no_text_passes_untouched_with_its_length_its_ranges_and_its_validators() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let edge = stack.edge();
    for media_type in
        ["image/png", "application/octet-stream", "application/pdf", "text/html; charset=utf-16", "application/wasm"]
    {
        let path = asks_for(media_type);
        let straight = stack.edge().client().get(format!("{}{path}", stack.standin.url())).answer().await;
        let whole = edge.by_cookie(&token, Method::GET, &path).answer().await;
        assert_eq!(whole.body, straight.body, "{media_type}");
        for name in OF_THE_BYTES.iter().chain(&["etag", "accept-ranges", "content-type"]) {
            assert_eq!(whole.header(name), straight.header(name), "{media_type}: {name}");
        }
        let part = edge.by_cookie(&token, Method::GET, &path).header("Range", "bytes=100-199").answer().await;
        assert_eq!((part.status, part.header("content-length")), (206, "100"), "{media_type}");
        assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", whole.body.len()));
        assert_eq!(part.body, whole.body[100..200]);
        let head = edge.by_cookie(&token, Method::HEAD, &path).answer().await;
        assert_eq!((head.header("content-length"), head.body.len()), (whole.header("content-length"), 0));
        let known = edge.by_cookie(&token, Method::GET, &path).header("If-None-Match", whole.header("etag"));
        let known = known.answer().await;
        assert_eq!((known.status, known.header("etag")), (304, whole.header("etag")), "{media_type}");

        let coded = edge.by_cookie(&token, Method::GET, &format!("{path}&coding=gzip"));
        let coded = coded.header("Accept-Encoding", "br").answer().await;
        assert_eq!(coded.header("content-encoding"), "gzip", "{media_type}: encoded as it came");
        assert_eq!(coded.header("content-length"), coded.body.len().to_string());
        assert!(coded.header("etag").starts_with('"'), "{coded:?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_rewritten_text_is_known_again_by_its_weak_tag_and_its_head_promises_no_length() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let (edge, path) = (stack.edge(), asks_for("text/html"));
    let whole = edge.by_cookie(&token, Method::GET, &path).answer().await;
    let head = edge.by_cookie(&token, Method::HEAD, &path).answer().await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "", 0));
    for name in ["etag", "accept-ranges", "content-type"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    let known = edge.by_cookie(&token, Method::GET, &path).header("If-None-Match", whole.header("etag")).answer().await;
    assert_eq!((known.status, known.header("etag"), known.body.len()), (304, whole.header("etag"), 0));
    stack.finish().await;
}

#[tokio::test]
async fn switched_off_it_leaves_bodies_as_they_came_and_still_fits_heads() {
    let (stack, token) = stack_and_token(Stack::plan().edge_env("REWRITE", "off")).await;
    let (edge, origin) = (stack.edge(), stack.standin.url());
    let answer = edge.by_cookie(&token, Method::GET, &asks_for("text/html")).answer().await;
    assert_eq!(answer.text(), text(&origin, &origin, BYTES));
    assert!(answer.header("etag").starts_with('"'), "{answer:?}");
    let redirect = edge.by_cookie(&token, Method::GET, "/redirect?to=self:/page").answer().await;
    assert_eq!(redirect.header("location"), format!("{}/page", edge.url()));
    stack.finish().await;
}

#[tokio::test]
async fn what_was_rewritten_is_counted() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let metric = async |name: &str, labels: &str| stack.edge_planes[0].metric(name, labels).await;
    let answer = stack.edge().by_cookie(&token, Method::GET, &asks_for("text/html")).answer().await;
    // Counted when the request is over, which may be after its answer, and this last of all.
    eventually!(metric("edge_rewrite_seconds_total", "").await, |seconds| *seconds > 0.0);
    let came = text(&stack.standin.url(), &stack.standin.url(), BYTES).len();
    let counted = [("in", came), ("out", answer.body.len())];
    for (direction, bytes) in counted {
        let counted = metric("edge_rewrite_bytes_total", &format!("direction=\"{direction}\"")).await;
        assert_eq!(counted, f64::from(u32::try_from(bytes).expect("a small body")), "{direction}");
    }
    let replaced = answer.text().matches(stack.edge().url().trim_start_matches("http://")).count();
    let counted = metric("edge_rewrite_replacements_total", "").await;
    assert!(counted >= f64::from(u32::try_from(replaced).expect("a few")), "{counted} of at least {replaced}");
    stack.finish().await;
}
