//! One request, followed: in a trace through both planes, Redis and Postgres, and in the logs by
//! its id.

use std::fs;

use http::Method;
use serde_json::json;
use testbed::{
    clients::http::Ask,
    eventually,
    servers::trace_collector::{Collector, Span},
    stack::Stack,
    upstreams::standin::received,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn place() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

async fn traced() -> (Stack, Collector) {
    let collector = Collector::start().await.expect("a port");
    let plan = Stack::plan().control_env("OTLP_ENDPOINT", &collector.url()).edge_env("OTLP_ENDPOINT", &collector.url());
    (plan.start().await, collector)
}

/// The span of this service and name, below that one.
fn below<'a>(spans: &'a [Span], parent_id: &str, service: &str, name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.parent_id == parent_id && span.service == service && span.name == name)
}

#[tokio::test]
async fn a_purchase_is_one_trace_through_both_planes_and_stores_and_one_id_in_both_logs() {
    let (stack, collector) = traced().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let bought = stack.edge().request(Method::POST, "/api/v1/tokens/purchase?from=a-secret-place");
    let bought = bought.bearer_auth(&alice.jwt).header("traceparent", place());
    let bought = bought.json(&json!({ "duration_hours": 1 })).answer().await;
    let request_id = bought.header("x-request-id").to_owned();
    let text = bought.expect(201)["token"].as_str().expect("a text").to_owned();
    stack.secrets.remember("token", &text);

    let path = |spans: &[Span]| {
        let edge = below(spans, CALLER, "edge-proxy", "POST control")?.clone();
        let asked = below(spans, &edge.id, "edge-proxy", "control")?;
        let control = below(spans, &asked.id, "control-api", "POST /api/v1/tokens/purchase")?.clone();
        below(spans, &control.id, "control-api", "INSERT")?;
        let publication = below(spans, &control.id, "control-api", "publish")?;
        for question in ["PUT", "PUT_CREDENTIALS", "XADD"] {
            below(spans, &publication.id, "control-api", question)?;
        }
        Some((edge, control))
    };
    let spans = eventually!(collector.of_trace(TRACE), |spans| path(spans).is_some());
    let (edge, control) = path(&spans).expect("as waited for");
    for span in [&edge, &control] {
        assert_eq!(span.attribute("gateway.request_id"), request_id);
        assert_eq!(span.attribute("http.response.status_code"), "201");
    }
    assert_eq!(control.attribute("http.route"), "/api/v1/tokens/purchase");
    assert_eq!(control.attribute("user.id"), alice.id);
    let all = format!("{spans:?}");
    for secret in [text.as_str(), alice.jwt.as_str(), "a-secret-place", alice.email.as_str()] {
        assert!(!all.contains(secret), "a span tells a secret");
    }

    let of_user = |log: &str| log.lines().any(|line| line.contains(&request_id) && line.contains(&alice.id));
    let log = || fs::read_to_string(stack.control.plane.process().log()).expect("a log");
    eventually!(log(), |log| of_user(log));
    for plane in [&stack.edge_planes[0], &stack.control.plane] {
        let log = || fs::read_to_string(plane.process().log()).expect("a log");
        let of_request = |log: &str| log.lines().any(|line| line.contains(&request_id) && line.contains(TRACE));
        eventually!(log(), |log| of_request(log));
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_first_use_is_followed_to_the_upstream_and_by_redis_to_the_control_plane() {
    let (stack, collector) = traced().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(1).await;
    let echo =
        stack.edge().with(&token, Method::GET, "/echo").header("traceparent", place()).answer().await.expect(200);

    let path = |spans: &[Span]| {
        let edge = below(spans, CALLER, "edge-proxy", "GET upstream")?.clone();
        let upstream = below(spans, &edge.id, "edge-proxy", "upstream")?.clone();
        for question in ["GET", "ADMIT", "ACTIVATE"] {
            below(spans, &edge.id, "edge-proxy", question)?;
        }
        let intake = below(spans, &edge.id, "control-api", "usage")?;
        below(spans, &intake.id, "control-api", "UPDATE")?;
        Some((edge, upstream))
    };
    let spans = eventually!(collector.of_trace(TRACE), |spans| path(spans).is_some());
    let (edge, upstream) = path(&spans).expect("as waited for");
    assert_eq!(received(&echo, "traceparent"), [format!("00-{TRACE}-{}-01", upstream.id)]);
    assert_eq!(
        (edge.attribute("gateway.grant"), edge.attribute("gateway.token_id")),
        ("miss", token.id.to_string().as_str())
    );
    stack.finish().await;
}

#[tokio::test]
async fn a_malformed_or_doubled_place_in_a_trace_is_replaced_by_a_new_one() {
    let (stack, collector) = traced().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(1).await;
    for lines in [vec!["00-bad".to_owned()], vec![place(), place()]] {
        let request = stack.edge().with(&token, Method::GET, "/echo");
        let request = lines.iter().fold(request, |request, line| request.header("traceparent", line));
        let echo = request.answer().await.expect(200);
        let [new] = received(&echo, "traceparent")[..] else { panic!("not one place: {echo}") };
        assert!(new.starts_with("00-") && new.len() == place().len() && !new.contains(TRACE), "{new}");
        let trace_id = &new[3..35];
        eventually!(collector.of_trace(trace_id), |spans| spans.iter().any(|span| span.parent_id.is_empty()));
    }
    stack.finish().await;
}

#[tokio::test]
async fn without_a_collector_a_place_in_a_trace_passes_as_it_came() {
    let stack = Stack::start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(1).await;
    let sent = |place: &str| stack.edge().with(&token, Method::GET, "/echo").header("traceparent", place).answer();
    for place in [place(), "00-bad".to_owned()] {
        let echo = sent(&place).await.expect(200);
        assert_eq!(received(&echo, "traceparent"), [place]);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nobody_up_and_a_share_of_nothing_tells_nothing() {
    let away = "http://127.0.0.1:9";
    let mut stack = Stack::plan().control_env("OTLP_ENDPOINT", away).edge_env("OTLP_ENDPOINT", away).start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(1).await;
    stack.edge().with(&token, Method::GET, "/echo").answer().await.expect(200);
    assert!(stack.edge_planes[0].stop().await.expect("an end").success());
    assert!(stack.control.plane.stop().await.expect("an end").success());

    let (mut stack, collector) = {
        let collector = Collector::start().await.expect("a port");
        let plan = Stack::plan().edge_env("OTLP_ENDPOINT", &collector.url()).edge_env("OTLP_SAMPLE_RATIO", "0");
        (plan.start().await, collector)
    };
    let token = stack.control.user("alice").with_credits(100).await.buys(1).await;
    let echo =
        stack.edge().with(&token, Method::GET, "/echo").header("traceparent", place()).answer().await.expect(200);
    let [passed] = received(&echo, "traceparent")[..] else { panic!("not one place: {echo}") };
    // Servers behind are told that nobody records this.
    assert!(passed.contains(TRACE) && passed.ends_with("-00"), "{passed}");
    // Whatever waited is told by then.
    assert!(stack.edge_planes[0].stop().await.expect("an end").success());
    assert!(collector.of_trace(TRACE).is_empty());
    stack.finish().await;
}
