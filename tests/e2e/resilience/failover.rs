//! A Redis with a replica and a Sentinel: the primary dies, another takes its place, and tokens
//! stay what they are.

use http::Method;
use testbed::{
    clients::{http::Ask, websocket::Socket},
    eventually,
    people::Token,
    servers::sentinel::Watched,
    stack::Stack,
};

async fn stack_on(watched: &Watched) -> Stack {
    let plan = Stack::plan().edges(2).control_env("REDIS_URL", &watched.url()).edge_env("REDIS_URL", &watched.url());
    let mut stack = plan.start().await;
    stack.settle().await;
    stack
}

async fn revoke(stack: &Stack, token: &Token) {
    let path = format!("/admin/tokens/{}", token.id);
    stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
}

/// Waits until the replica is the primary. It closes its connections as it becomes that.
async fn promotes(watched: &Watched) {
    eventually!(watched.role_of_the_replica().await.unwrap_or_default(), |role| role == "master");
}

/// Uses these tokens on both edges until the good ones work and the ended ones are refused; neither
/// may pass for the other on the way.
async fn settles(stack: &Stack, good: &[&Token], ended: &[&Token]) {
    let (mut seen_of_good, mut seen_of_ended) = (Vec::new(), Vec::new());
    let mut round = async || {
        let (mut of_good, mut of_ended) = (Vec::new(), Vec::new());
        for edge in &stack.edges {
            for token in good {
                of_good.push(edge.status_for(token, "/").await);
            }
            for token in ended {
                of_ended.push(edge.status_for(token, "/").await);
            }
        }
        seen_of_good.extend(of_good.clone());
        seen_of_ended.extend(of_ended.clone());
        (of_good, of_ended)
    };
    eventually!(round().await, |(good, ended)| good.iter().all(|status| *status == 200)
        && ended.iter().all(|status| *status == 401),);
    assert!(seen_of_good.iter().all(|status| [200, 503].contains(status)), "{seen_of_good:?}");
    assert!(seen_of_ended.iter().all(|status| [401, 503].contains(status)), "{seen_of_ended:?}");
}

#[tokio::test]
async fn a_promoted_replica_serves_good_tokens_and_keeps_ended_ones_out() {
    let mut watched = Watched::start().await.expect("servers");
    let stack = stack_on(&watched).await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (used, unseen, revoked) = (alice.buys(24).await, alice.buys(24).await, alice.buys(24).await);
    let mut socket = Socket::idle(stack.edge(), &used, None).await.expect("an upgrade");
    assert_eq!(stack.edge().status_for(&revoked, "/").await, 200);
    revoke(&stack, &revoked).await;
    eventually!(stack.edge().status_for(&revoked, "/").await, |status| *status == 401);

    watched.primary.kill().await;
    promotes(&watched).await;
    settles(&stack, &[&used, &unseen], &[&revoked]).await;
    assert!(socket.is_open().await);
    let after = alice.buys(1).await;
    settles(&stack, &[&after], &[]).await;
    revoke(&stack, &used).await;
    socket.ended().await.expect(4003, "token revoked");
    stack.finish().await;
}

#[tokio::test]
async fn a_promoted_replica_that_missed_a_revocation_brings_nothing_back() {
    let mut watched = Watched::start().await.expect("servers");
    let stack = stack_on(&watched).await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (good, revoked) = (alice.buys(24).await, alice.buys(24).await);
    assert_eq!(stack.edge().status_for(&revoked, "/").await, 200);
    watched.part().await.expect("a replica that lags");
    revoke(&stack, &revoked).await;
    // What an edge has not heard when the primary dies it cannot know for as long as nobody
    // answers.
    eventually!(stack.edge().status_for(&revoked, "/").await, |status| *status == 401);
    watched.primary.kill().await;
    promotes(&watched).await;
    settles(&stack, &[&good], &[&revoked]).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_replica_promoted_for_a_primary_that_hangs_is_found() {
    let watched = Watched::start().await.expect("servers");
    let stack = stack_on(&watched).await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (used, unseen) = (alice.buys(24).await, alice.buys(24).await);
    assert_eq!(stack.edge().status_for(&used, "/").await, 200);
    watched.primary.pause();
    promotes(&watched).await;
    settles(&stack, &[&used, &unseen], &[]).await;
    let after = alice.buys(1).await;
    settles(&stack, &[&after], &[]).await;
    revoke(&stack, &used).await;
    for edge in &stack.edges {
        eventually!(edge.status_for(&used, "/").await, |status| *status == 401);
    }
    watched.primary.resume();
    stack.finish().await;
}
