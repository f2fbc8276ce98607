//! What one edge knows, the other knows: tokens come and go on all of them at once.

use http::Method;
use serde_json::json;
use testbed::{
    clients::http::Ask,
    eventually,
    people::{Edge, Token},
    stack::Stack,
};

async fn statuses(edges: &[Edge], token: &Token) -> Vec<u16> {
    let mut statuses = Vec::new();
    for edge in edges {
        statuses.push(edge.status_for(token, "/users/currentUser").await);
    }
    statuses
}

#[tokio::test]
async fn a_token_is_good_on_two_edges_as_soon_as_its_purchase_is_answered() {
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(1000).await;
    for _ in 0..10 {
        let token = alice.buys(1).await;
        assert_eq!(statuses(&stack.edges, &token).await, [200, 200]);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_refunded_token_is_refused_by_both_edges() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    for edge in &stack.edges {
        assert_eq!(edge.token_status(&token).await, 200);
    }
    let refund = alice.refunds(&token).await.expect(200);
    assert_eq!(refund["revoked"], true);
    assert_eq!((&refund["refund_amount"], &refund["new_balance"]), (&json!("18.00"), &json!("100.00")));
    eventually!(statuses(&stack.edges, &token).await, |both| *both == [401, 401]);
    let again = alice.refunds(&token).await;
    assert_eq!((again.status, again.problem().as_str()), (404, "Token not found or already revoked"));
    stack.finish().await;
}

#[tokio::test]
async fn rotating_a_token_ends_its_old_text_on_both_edges_and_starts_the_new_one() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let lost = alice.buys(24).await;
    assert_eq!(statuses(&stack.edges, &lost).await, [200, 200]);
    let found = alice.rotates(&lost).await;
    assert_eq!(found.id, lost.id);
    assert_eq!(statuses(&stack.edges, &found).await, [200, 200]);
    eventually!(statuses(&stack.edges, &lost).await, |both| *both == [401, 401]);
    stack.finish().await;
}

#[tokio::test]
async fn disabling_a_user_suspends_their_tokens_on_both_edges_until_they_are_enabled() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    assert_eq!(statuses(&stack.edges, &token).await, [200, 200]);
    stack.control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    eventually!(statuses(&stack.edges, &token).await, |both| *both == [401, 401]);
    stack.control.admin.changes(&alice, &json!({ "is_active": true })).await.expect(200);
    eventually!(statuses(&stack.edges, &token).await, |both| *both == [200, 200]);
    stack.finish().await;
}

#[tokio::test]
async fn an_open_download_is_cut_when_its_token_is_rotated() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let mut ticks = stack.edge().with(&token, Method::GET, "/sse?every_ms=50").send().await.expect("a stream");
    assert!(ticks.chunk().await.expect("a first tick").is_some());
    alice.rotates(&token).await;
    let ends = async { while let Ok(Some(_)) = ticks.chunk().await {} };
    tokio::time::timeout(eventually::DEADLINE, ends).await.expect("the stream is cut");
    let old = stack.edge().with(&token, Method::GET, "/").answer().await;
    assert_eq!(old.status, 401);
    stack.finish().await;
}
