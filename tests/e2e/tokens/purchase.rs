//! From an account to the upstream's data: what a first user does.

use http::Method;
use serde_json::json;
use testbed::{clients::http::Ask, stack::Stack};

#[tokio::test]
async fn a_bought_token_opens_the_upstream_at_its_own_paths_and_below_the_proxy_prefix() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    for path in ["/certificates/filter", "/api/v1/proxy/certificates/filter"] {
        let page = stack.edge().with(&token, Method::GET, path).answer().await.expect(200);
        assert_eq!(page["items"][0]["serialNo"], "4A3F00C1", "{path}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_purchase_tells_the_token_once_and_takes_its_price() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(28).await;
    let bought = alice.tries_to_buy(&json!({ "duration_hours": 24 })).await.expect(201);
    let text = bought["token"].as_str().expect("a text");
    assert_eq!(text.len(), 64);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_eq!(bought["cost_znc"], "18.00");
    assert_eq!(bought["scope"], "full");
    assert_eq!(bought["is_active"], true);
    assert!(bought["activated_at"].is_null() && bought["expires_at"].is_null(), "{bought}");

    let [listed] = &alice.tokens().await[..] else { panic!("one token") };
    assert_eq!(listed["token_prefix"], text[..8]);
    assert_eq!(listed["state"], "ready");
    assert!(listed.get("token").is_none(), "{listed}");

    let refused = alice.tries_to_buy(&json!({ "duration_hours": 24 })).await;
    assert_eq!(refused.status, 402);
    assert_eq!(refused.problem(), "Insufficient balance. Required: 18.00 ZNC, Available: 10.00 ZNC");
    assert_eq!(alice.tokens().await.len(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn the_clock_starts_with_the_first_answered_request_and_not_with_a_status_call() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(1).await;
    let status = || stack.edge().with(&token, Method::GET, "/api/v1/proxy/status");
    let ready = status().answer().await.expect(200);
    assert_eq!((&ready["status"], &ready["is_activated"]), (&json!("ready"), &json!(false)), "{ready}");
    assert_eq!((&ready["duration_hours"], &ready["time_remaining_seconds"]), (&json!(1), &json!(3600)), "{ready}");

    let first = stack.edge().with(&token, Method::GET, "/users/currentUser").answer().await;
    first.expect(200);
    let left: u64 = first.header("x-access-expires-in").parse().expect("seconds");
    assert!((3500..=3600).contains(&left), "{left}");
    let active = status().answer().await.expect(200);
    assert_eq!((&active["status"], &active["is_activated"]), (&json!("active"), &json!(true)), "{active}");
    assert!(active["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{active}");
    testbed::eventually!(alice.tokens().await, |tokens| tokens[0]["state"] == "active");
    stack.finish().await;
}
