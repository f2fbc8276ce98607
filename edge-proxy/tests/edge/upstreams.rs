//! Several addresses of one Zenzefi: requests are shared out, what fails is left out and comes
//! back, and nobody notices.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use reqwest::Body;
use testbed::{
    clients::{
        http::Ask,
        load::Load,
        raw_http::Wire,
        websocket::{Socket, upgrade},
    },
    eventually,
    people::Token,
    stack::{EdgeStack, Plan, Stack},
    upstreams::{quitter::Quitter, standin::Standin},
};

/// How many requests may fail before an address that was killed is left out.
const HANDFUL: u64 = 5;

/// A stack whose edge knows these addresses of its upstream.
fn before(upstreams: &[&str]) -> Plan {
    Stack::plan().edge_env("ZENZEFI_URL", &upstreams.join(",")).edge_env("ZENZEFI_HEALTH_SECONDS", "1")
}

async fn token_of(stack: &EdgeStack) -> Token {
    stack.token().await
}

async fn standin() -> Standin {
    Standin::start_on_free_ports().await.expect("a stand-in")
}

async fn in_use(stack: &EdgeStack) -> f64 {
    stack.edge_planes[0].metric("edge_upstreams_in_use", "").await
}

fn address_of(url: &str) -> SocketAddr {
    let (_, address) = url.split_once("://").expect("a URL");
    address.parse().expect("an address")
}

#[tokio::test]
async fn one_of_two_upstreams_is_killed_under_load_and_hardly_anybody_notices() {
    for is_https in [true, false] {
        let (first, second) = (standin().await, standin().await);
        let url = |standin: &Standin| if is_https { standin.url() } else { standin.http_url() };
        let plan = before(&[&url(&first), &url(&second)]).edge_env("ZENZEFI_EJECT_SECONDS", "1");
        let mut stack = plan.start_edges().await;
        stack.announce(502);
        let tokens: Arc<[Token]> = stack.tokens(8).await.into();
        let load = Load::start(&stack.edges, &tokens, 8, 8);
        let seen = |standin: &Standin| standin.seen("/status/200").requests;
        eventually!((seen(&first), seen(&second)), |seen| seen.0 > 100 && seen.1 > 100);

        second.stop();
        eventually!(in_use(&stack).await, |in_use| *in_use == 1.0);
        let ejected = Instant::now();
        let before = seen(&first);
        eventually!(seen(&first), |seen| *seen > before + 500);

        let again = Standin::start(address_of(&second.url()), address_of(&second.http_url())).await.expect("a port");
        eventually!((in_use(&stack).await, seen(&again)), |now| now.0 == 2.0 && now.1 > 100);
        let tally = load.stop().await;
        assert!(tally.total() - tally.of(200) <= HANDFUL, "{tally:?}");
        assert!(tally.last_trouble.is_none_or(|at| at < ejected), "{tally:?}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_request_is_retried_elsewhere_only_if_it_is_idempotent_and_complete() {
    let (quitter, good) = (Quitter::start().await.expect("a server"), standin().await);
    let plan = before(&[&quitter.url(), &good.http_url()]).edge_env("ZENZEFI_BALANCE", "round-robin");
    let mut stack = plan.edge_env("ZENZEFI_EJECT_AFTER", "1000").start_edges().await;
    stack.announce(502);
    let token = token_of(&stack).await;
    let in_part = || {
        let a_little = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a little"))]);
        Body::wrap_stream(a_little.chain(stream::pending()))
    };
    // Every second try is the quitter's, the first of each of these among them.
    let asked = [
        (Method::GET, Body::default(), 200),
        (Method::PUT, Body::from("all of it"), 200),
        (Method::DELETE, Body::default(), 200),
        (Method::POST, Body::from("all of it"), 502),
        (Method::PUT, in_part(), 502),
        (Method::POST, Body::default(), 502),
    ];
    for (number, (method, body, status)) in asked.into_iter().enumerate() {
        let path = format!("/echo/{number}");
        let answer = stack.edge().with(&token, method.clone(), &path).body(body).answer().await;
        assert_eq!((answer.status, quitter.requests()), (status, number + 1), "{number}: {method}");
        assert_eq!(good.seen(&path).bodies, u64::from(status == 200), "{number}: {method}");
        if status == 502 {
            // Not repeated: the other one's turn comes now.
            assert_eq!(stack.edge().status_for(&token, "/status/200").await, 200);
        }
    }
    // What has begun to be answered is not asked for again.
    let cut = stack.edge().with(&token, Method::GET, "/abort?after=200000").try_answer().await;
    assert!(cut.as_ref().map_or(true, |answer| answer.status == 502), "{cut:?}");
    assert_eq!(good.seen("/abort").requests, 1);
    stack.finish().await;
}

#[tokio::test]
async fn what_is_sent_on_its_own_connection_goes_to_an_address_that_is_there() {
    let (gone, good) = (standin().await, standin().await);
    let plan = before(&[&gone.url(), &good.url()]).edge_env("ZENZEFI_EJECT_AFTER", "1000");
    let stack = plan.edge_env("ZENZEFI_HEALTH_SECONDS", "3600").start_edges().await;
    let token = token_of(&stack).await;
    assert_eq!(stack.edge().status_for(&token, "/status/200").await, 200);
    gone.stop();
    for _ in 0..4 {
        let opened = Socket::open(upgrade(stack.edge(), &token, None, "every_ms=3600000")).await;
        assert!(opened.expect("open").is_open().await);
        let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
        let host = stack.edge().url().trim_start_matches("http://");
        let head = format!("PUT /echo HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\n", token.text);
        let rest = "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
        wire.send(head + rest).await.expect("sent");
        assert_eq!(wire.answer().await.expect("an answer").status, 200);
    }
    assert_eq!(good.sockets().opened, 4);
    stack.finish().await;
}

#[tokio::test]
async fn every_address_is_the_upstreams_own_and_is_told_its_own_name() {
    let (first, second) = (standin().await, standin().await);
    let plan = before(&[&first.url(), &second.url()]).edge_env("ZENZEFI_BALANCE", "round-robin");
    let stack = plan.start_edges().await;
    let token = token_of(&stack).await;
    // Each is asked for both.
    for named in [&first, &second, &second, &first] {
        let path = format!("/redirect?to={}/page", named.url());
        let answer = stack.edge().by_cookie(&token, Method::GET, &path).answer().await;
        assert_eq!(answer.header("location"), format!("{}/page", stack.edge().url()));
    }
    for asked in [&first, &second] {
        let referer = format!("{}/page", stack.edge().url());
        let request = stack.edge().with(&token, Method::GET, "/echo").header("Referer", referer);
        let echo = request.answer().await.expect(200);
        let headers = echo["headers"].as_array().expect("pairs");
        let referer = headers.iter().find(|pair| pair[0] == "referer").expect("a Referer");
        assert_eq!(referer[1], format!("{}/page", asked.url()));
        assert_eq!(format!("https://{}", echo["authority"].as_str().expect("HTTP/2")), asked.url());
    }
    stack.finish().await;
}

#[tokio::test]
async fn health_is_degraded_only_while_no_address_answers_what_it_is_asked() {
    let (first, second) = (standin().await, standin().await);
    let plan = before(&[&first.url(), &second.http_url()]).edge_env("ZENZEFI_HEALTH_PATH", "/status/200");
    let stack = plan.start_edges().await;
    let health = async || stack.edge().get("/health").answer().await.expect(200)["status"].clone();
    let readyz = format!("{}/readyz", stack.edge_planes[0].ops_url());
    let ready = async || stack.edge().client().get(&readyz).answer().await;
    eventually!(second.seen("/status/200").requests, |looks| *looks > 1);
    first.stop();
    eventually!(in_use(&stack).await, |in_use| *in_use == 1.0);
    assert_eq!((health().await, ready().await.status), ("healthy".into(), 200));
    second.stop();
    eventually!(health().await, |status| status == "degraded");
    let unready = ready().await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["reasons"][0], "the upstream cannot be reached");
    let again = Standin::start(address_of(&first.url()), address_of(&first.http_url())).await.expect("a port");
    eventually!(health().await, |status| status == "healthy");
    drop(again);
    stack.finish().await;
}
