//! What goes on when something is down.

use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use shared::redis::ACTIVATIONS_RETOLD_WITHIN_MS;
use testbed::{clients::http::Ask, eventually, eventually::DEADLINE, people::Token, stack::Stack};
use tokio_tungstenite::connect_async;

/// How long no refund is given after Redis was filled anew.
const REFUNDS_WAIT: Duration = Duration::from_millis(ACTIVATIONS_RETOLD_WITHIN_MS.unsigned_abs());

#[tokio::test]
async fn with_the_control_plane_killed_known_and_never_seen_tokens_go_on() {
    let mut stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (known, never_seen) = (alice.buys(24).await, alice.buys(24).await);
    assert_eq!(stack.edge().status_for(&known, "/").await, 200);
    let address = format!("{}/ws/info?every_ms=20&token={}", stack.edge().url().replace("http:", "ws:"), known.text);
    let (mut socket, _) = connect_async(address).await.expect("an upgrade");

    stack.control.plane.kill().await;
    for edge in &stack.edges {
        for token in [&known, &never_seen] {
            assert_eq!(edge.status_for(token, "/certificates/filter").await, 200);
        }
        let health = edge.get("/health").answer().await.expect(200);
        assert_eq!(health["status"], "healthy");
    }
    for _ in 0..3 {
        let tick = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a tick in time");
        assert!(matches!(tick, Some(Ok(_))), "{tick:?}");
    }

    // With nobody to vouch for Redis, an unknown token is not called invalid.
    stack.announce(503);
    let answer = eventually!(stack.edge().with(&Token::stranger(), Method::GET, "/").answer().await, |answer| answer
        .status
        == 503,);
    assert_eq!(answer.header("retry-after"), "1");
    drop(socket);
    stack.finish().await;
}

#[tokio::test]
async fn health_tells_a_dead_upstream_from_a_dead_redis() {
    let mut stack = Stack::start().await;
    let health = async |stack: &Stack, path: &str| {
        let health = stack.edge().get(path).answer().await.expect(200);
        assert!(health["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{health}");
        health["status"].as_str().unwrap_or_default().to_owned()
    };
    eventually!(health(&stack, "/health").await, |status| status == "healthy");
    assert_eq!(health(&stack, "//health").await, "healthy");
    stack.standin.stop();
    eventually!(health(&stack, "/health").await, |status| status == "degraded");
    stack.redis.kill().await;
    eventually!(health(&stack, "/health").await, |status| status == "unhealthy");
    stack.announce(503);
    stack.finish().await;
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_bad_gateway_and_leaves_the_token_ready() {
    let mut stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    stack.announce(502);
    stack.standin.stop();
    let answer = stack.edge().with(&token, Method::GET, "/").answer().await;
    assert_eq!(answer.status, 502);
    answer.problem();
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
    assert_eq!(status["status"], "ready");
    stack.finish().await;
}

#[tokio::test]
async fn a_silent_upstream_is_a_gateway_timeout_and_leaves_the_token_ready() {
    let mut stack = Stack::plan().edge_env("UPSTREAM_TIMEOUT_SECONDS", "1").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    stack.announce(504);
    let answer = stack.edge().with(&token, Method::GET, "/slow/30000").answer().await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.problem(), "Gateway Timeout: Zenzefi server did not respond");
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
    assert_eq!(status["status"], "ready");
    stack.finish().await;
}

#[tokio::test]
async fn a_redis_that_lost_everything_never_makes_a_good_token_bad() {
    let mut stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (used, unused) = (alice.buys(24).await, alice.buys(24).await);
    assert_eq!(stack.edge().status_for(&used, "/").await, 200);
    stack.announce(503);
    stack.redis.start_empty().await.expect("a restart");
    let mut seen = Vec::new();
    for token in [&used, &unused] {
        let status = async || stack.edge().status_for(token, "/").await;
        seen.push(eventually!(status().await, |status| *status != 503));
    }
    assert_eq!(seen, [200, 200]);
    stack.finish().await;
}

#[tokio::test]
async fn a_purchase_without_redis_succeeds_and_its_token_works_once_redis_is_back() {
    let mut stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let refundable = alice.buys(24).await;
    stack.announce(503);
    stack.redis.kill().await;
    let token = alice.buys(24).await;
    assert_eq!(stack.edge().token_status(&token).await, 503);
    // Nobody can say now whether it was used.
    let refund = alice.refunds(&refundable).await;
    assert_eq!(refund.status, 503);
    refund.problem();

    stack.redis.start_again().await.expect("a restart");
    assert_eq!(eventually!(stack.edge().token_status(&token).await, |status| *status != 503), 200);
    // An activation that Redis lost may still be told again.
    let refund = async || alice.refunds(&refundable).await.status;
    assert_eq!(refund().await, 503);
    assert_eq!(eventually!(within REFUNDS_WAIT + DEADLINE; refund().await, |status| *status != 503), 200);
    stack.finish().await;
}

#[tokio::test]
async fn an_edge_that_is_not_ready_says_what_it_waits_for() {
    let mut stack = Stack::start().await;
    let readiness = async |stack: &Stack| {
        let url = format!("{}/readyz", stack.edge_planes[0].ops_url());
        let answer = stack.control.api.client().get(url).answer().await;
        let reasons = answer.json()["reasons"].as_array().expect("reasons").clone();
        assert_eq!(answer.status == 200, reasons.is_empty(), "{reasons:?}");
        reasons.iter().filter_map(|reason| reason.as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    let says = |reasons: &[String], what: &str| reasons.iter().any(|reason| reason.contains(what));
    eventually!(readiness(&stack).await, |reasons| reasons.is_empty());

    stack.control.plane.kill().await;
    stack.redis.start_empty().await.expect("a restart");
    eventually!(readiness(&stack).await, |reasons| says(reasons, "does not hold every token yet"));
    stack.redis.kill().await;
    eventually!(readiness(&stack).await, |reasons| says(reasons, "Redis cannot be reached"));
    stack.standin.stop();
    eventually!(readiness(&stack).await, |reasons| says(reasons, "the upstream cannot be reached"));
    stack.finish().await;
}

#[tokio::test]
async fn the_front_door_says_when_the_control_api_is_down() {
    let mut stack = Stack::start().await;
    stack.announce(502);
    stack.control.plane.kill().await;
    let answer = stack.edge().get("/api/v1/users/me").answer().await;
    assert_eq!(answer.status, 502);
    answer.problem();
    stack.finish().await;
}
