//! Tokens that nobody sold: they are refused, they cost next to nothing, and none of them is
//! remembered for longer than it is true.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::Method;
use shared::{
    redis::{CHANGES, credential_key, token_key},
    token::credential::{Credential, Digest},
};
use testbed::{
    clients::{http::Ask, unknown_tokens},
    eventually,
    people::{Token, User},
    servers::redis::Monitor,
    stack::Stack,
};
use tokio::task::JoinSet;

const STRANGERS: usize = 3_000;
const AT_ONCE: usize = 100;
const PAGE: &str = "/users/currentUser";
/// Less than any growth with the number of tokens would be.
const MOST_GROWTH_BYTES: u64 = 16 * 1024 * 1024;
/// For how long at least an edge remembers that a token is unknown.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

#[tokio::test]
async fn redis_is_asked_once_for_an_unknown_token_and_once_a_second_if_it_comes_again() {
    let mut stack = Stack::plan().edge_env("LOG_LEVEL", "info").start().await;
    stack.settle().await;
    let cost = unknown_tokens::cost(&stack, STRANGERS).await.expect("a cost");
    assert_eq!((cost.not_401, cost.not_once), (0, 0), "{cost:?}");
    let seconds = usize::try_from(cost.repeated_for.as_secs()).expect("few seconds");
    assert!((1..=seconds + 1).contains(&cost.repeated), "{cost:?}");
    assert!(cost.grown_bytes < MOST_GROWTH_BYTES, "{cost:?}");
    stack.finish().await;
}

/// How often the credential was looked up so far, which is not to say published.
async fn looked_up(stack: &Stack, monitor: &Monitor, text: &str) -> usize {
    let key = credential_key(&Digest::of(text.as_bytes()));
    let commands = monitor.commands(&stack.redis).await.expect("commands");
    commands.iter().filter(|command| command.contains(&key) && command.contains("\"GET\"")).count()
}

/// Waits until the edges have heard of everything that became of the user's first token: each
/// change makes them forget some of what they know.
async fn all_changes_are_heard(stack: &Stack, alice: &User, monitor: &Monitor) {
    // What an edge told comes back as a change once Postgres knows it.
    eventually!(alice.tokens().await, |tokens| tokens[0]["state"] == "active");
    eventually!(stack.control.database.query("SELECT count(*) FROM outbox").await.expect("a count"), |left| left
        == "0");
    feed_is_heard(stack, monitor).await;
}

/// Waits until the edges have dealt with every change that was told so far.
async fn feed_is_heard(stack: &Stack, monitor: &Monitor) {
    let newest = stack.redis.command(&["XREVRANGE", CHANGES, "+", "-", "COUNT", "1"]).await.expect("a change");
    let newest = newest.lines().next().expect("an id").to_owned();
    let readers = async || {
        let commands = monitor.commands(&stack.redis).await.expect("commands");
        let reads = commands.iter().filter(|command| command.contains("\"XREAD\"") && command.contains(&newest));
        reads.filter_map(|read| read.split(['[', ']']).nth(1).map(str::to_owned)).collect::<BTreeSet<String>>()
    };
    eventually!(readers().await, |readers| readers.len() == stack.edges.len());
}

/// The statuses that many requests at once get on the last edge.
async fn statuses_at_once(stack: &Stack, token: &Token) -> Vec<u16> {
    let mut asking = JoinSet::new();
    for _ in 0..AT_ONCE {
        let edge = stack.edges.last().expect("an edge");
        let request = edge.on("device-a-0123456789", token, Method::GET, PAGE);
        asking.spawn(async move { request.answer().await.status });
    }
    asking.join_all().await
}

#[tokio::test]
async fn requests_that_miss_the_same_token_at_once_make_one_call() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    // Its clock runs, but the other edge has never seen it.
    let first = stack.edge().on("device-a-0123456789", &token, Method::GET, PAGE).answer().await;
    assert_eq!(first.status, 200);
    let unknown = Token { text: Credential::generate().expose().to_owned(), ..Token::stranger() };
    let monitor = stack.redis.monitor().await.expect("a monitor");
    all_changes_are_heard(&stack, &alice, &monitor).await;
    for (token, status) in [(&unknown, 401), (&token, 200)] {
        assert_eq!(statuses_at_once(&stack, token).await, [status; AT_ONCE]);
        assert_eq!(looked_up(&stack, &monitor, &token.text).await, 1, "of the one that is {status}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_start_of_a_clock_is_not_asked_for_again_by_the_edge_that_made_it() {
    // No lease is renewed meanwhile.
    let mut stack = Stack::plan().debug_env("LEASE_SECONDS", "3600").start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let monitor = stack.redis.monitor().await.expect("a monitor");
    feed_is_heard(&stack, &monitor).await;
    let changes = async || {
        let told = stack.redis.command(&["XRANGE", CHANGES, "-", "+"]).await.expect("changes");
        told.lines().filter(|line| *line == token.id.to_string()).count()
    };
    let before = changes().await;
    let first = stack.edge().on("device-a-0123456789", &token, Method::GET, PAGE).answer().await;
    assert_eq!(first.status, 200);
    all_changes_are_heard(&stack, &alice, &monitor).await;
    let told = changes().await - before;
    assert!(told >= 2, "{told}: the start, and that Postgres knows of it");
    let key = token_key(token.id);
    let commands = monitor.commands(&stack.redis).await.expect("commands");
    let asked = commands.iter().filter(|command| command.contains(&key) && command.contains("\"renew\"")).count();
    assert_eq!(asked, told - 1, "of each other change once");
    stack.finish().await;
}

/// Gives an existing token another text, as if it were sold only now.
async fn publishes(stack: &Stack, token: &Token, text: &str) {
    let digest = Digest::of(text.as_bytes());
    let publish = format!(
        "WITH sold AS (INSERT INTO credentials (digest, token_id, gen, kind)
            VALUES (decode('{digest}', 'hex'), '{id}', 1, 'text'))
        INSERT INTO outbox (token_id) VALUES ('{id}')",
        id = token.id
    );
    stack.control.database.query(&publish).await.expect("a sale");
    eventually!(stack.control.database.query("SELECT count(*) FROM outbox").await.expect("a count"), |left| left
        == "0");
}

#[tokio::test]
async fn a_token_published_after_it_was_refused_works_at_once_on_every_edge() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice: User = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        // Nobody knows the text of a token before it is published, so it is one that was made up,
        // and then sold.
        let text = Credential::generate().expose().to_owned();
        stack.secrets.remember("token", &text);
        let made_up = Token { text, ..token.clone() };
        for edge in &stack.edges {
            assert_eq!(edge.token_status(&made_up).await, 401);
        }
        let refused = Instant::now();
        publishes(&stack, &token, &made_up.text).await;
        for edge in &stack.edges {
            eventually!(edge.token_status(&made_up).await, |status| *status == 200);
        }
        quickest = quickest.min(refused.elapsed());
    }
    assert!(quickest < REMEMBERED_FOR, "{quickest:?}: it was not published that helped, but that the edge forgot");
    stack.finish().await;
}

#[tokio::test]
async fn an_address_that_tries_too_many_is_told_to_wait_and_good_tokens_from_there_go_on() {
    const PER_MINUTE: usize = 20;
    let mut stack = Stack::plan().edge_env("UNKNOWN_TOKENS_PER_MINUTE", &PER_MINUTE.to_string()).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    assert_eq!(stack.edge().status_for(&token, PAGE).await, 200);
    let monitor = stack.redis.monitor().await.expect("a monitor");
    let (began, mut tried, mut unheard) = (Instant::now(), 0, Vec::new());
    for _ in 0..3 * PER_MINUTE {
        let unknown = Token { text: Credential::generate().expose().to_owned(), ..Token::stranger() };
        let refused = stack.edge().with(&unknown, Method::GET, PAGE).answer().await;
        match refused.status {
            401 => tried += 1,
            429 => {
                refused.problem();
                let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
                assert!((1..=60).contains(&seconds), "{seconds}");
                unheard.push(unknown);
            }
            503 => {}
            other => panic!("{other}"),
        }
        assert_eq!(stack.edge().status_for(&token, PAGE).await, 200);
    }
    let grown = usize::try_from(began.elapsed().as_secs()).expect("few seconds") * PER_MINUTE / 60;
    assert!(tried <= PER_MINUTE + grown + 1, "{tried} were tried");
    assert!(unheard.len() >= PER_MINUTE, "{} were refused", unheard.len());
    for unknown in &unheard {
        assert_eq!(looked_up(&stack, &monitor, &unknown.text).await, 0);
    }
    stack.finish().await;
}

#[tokio::test]
async fn good_tokens_are_served_while_strangers_knock() {
    let mut stack = Stack::plan().edge_env("LOG_LEVEL", "info").start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let good = async {
        for _ in 0..100 {
            assert_eq!(stack.edge().status_for(&token, PAGE).await, 200);
        }
    };
    let (cost, ()) = tokio::join!(unknown_tokens::cost(&stack, STRANGERS / 10), good);
    cost.expect("a cost");
    stack.finish().await;
}
