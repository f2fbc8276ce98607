//! A refund against a first use: exactly one of them wins, whichever process dies in between.

use std::{future::Future, time::Duration};

use http::Method;
use shared::redis::token_key;
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::{Token, User},
    stack::Stack,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const RACES: usize = 200;
const AT_ONCE: usize = 10;
/// How often each side must have won, or nothing was raced.
const EACH_WINS: usize = 20;
/// By how much a side's head start is changed when it has won or lost most of a batch.
const STEP: Duration = Duration::from_millis(8);
/// By how much both sides scatter.
const SCATTER: Duration = Duration::from_millis(20);
/// How often a refund that cannot be given yet is asked for again.
const REFUND_ATTEMPTS: usize = 50;
const CREDITS: u32 = 100_000;
/// What a token for an hour costs, in ZNC.
const PRICE: usize = 1;

/// How one race ended.
#[derive(Debug)]
struct Raced {
    token: Token,
    /// `None` where control-api died before it answered.
    refund: Option<Answer>,
    /// What the first use was answered.
    used: u16,
}

/// Which side goes off first, and by how much.
#[derive(Clone, Copy, Debug, Default)]
struct HeadStart {
    refund_waits: Duration,
    use_waits: Duration,
}

impl HeadStart {
    /// Helps the side that lost most of the last batch.
    fn steered(mut self, refunds_won: usize, raced: usize) -> Self {
        let (winner, loser) = match refunds_won * 2 > raced {
            true => (&mut self.refund_waits, &mut self.use_waits),
            false => (&mut self.use_waits, &mut self.refund_waits),
        };
        match loser.is_zero() {
            true => *winner += STEP,
            false => *loser = loser.saturating_sub(STEP),
        }
        self
    }
}

/// The path that only this token's first use asks for.
fn page(token: &Token) -> String {
    format!("/echo/{}", token.id)
}

fn random(most: Duration) -> Duration {
    most.mul_f64(f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX))
}

/// Asks for a token's refund and uses it for the first time, nearly at once.
fn race(
    stack: &Stack,
    alice: &User,
    token: Token,
    head_start: HeadStart,
) -> impl Future<Output = Raced> + Send + 'static + use<> {
    let refund = alice.request(Method::DELETE, &format!("/tokens/{}", token.id));
    let first_use = stack.edge().with(&token, Method::GET, &page(&token));
    async move {
        let refund = async {
            tokio::time::sleep(head_start.refund_waits + random(SCATTER)).await;
            refund_given_or_refused(&refund).await
        };
        let used = async {
            tokio::time::sleep(head_start.use_waits + random(SCATTER)).await;
            first_use.try_answer().await.map_or(0, |answer| answer.status)
        };
        let (refund, used) = tokio::join!(refund, used);
        Raced { token, refund, used }
    }
}

/// Asks until the answer is a decision: while an activation may still be on its way there is none.
async fn refund_given_or_refused(refund: &reqwest::RequestBuilder) -> Option<Answer> {
    for _ in 0..REFUND_ATTEMPTS {
        let answer = refund.try_clone().expect("no body").try_answer().await.ok()?;
        if answer.status != 503 {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn races(stack: &Stack, alice: &User, head_start: HeadStart, races: usize) -> Vec<Raced> {
    let mut racing = JoinSet::new();
    for _ in 0..races {
        let token = alice.buys(1).await;
        racing.spawn(race(stack, alice, token, head_start));
    }
    racing.join_all().await
}

/// The tokens that were refunded, by what Postgres says, and the buyer's balance, in whole ZNC.
async fn settled(stack: &Stack, alice: &User) -> (Vec<String>, usize) {
    let refunded = format!("SELECT id FROM access_tokens WHERE user_id = '{}' AND revoked_at IS NOT NULL", alice.id);
    let refunded = stack.control.database.query(&refunded).await.expect("tokens");
    let balance = format!("SELECT trunc(currency_balance)::int FROM users WHERE id = '{}'", alice.id);
    let balance = stack.control.database.query(&balance).await.expect("a balance").parse().expect("a number");
    (refunded.lines().map(str::to_owned).collect(), balance)
}

/// Checks that every token was either used or refunded and never both, that none is lost, and that
/// the money is right.
async fn assert_one_won(stack: &Stack, alice: &User, raced: &[Raced]) {
    let (refunded, balance) = settled(stack, alice).await;
    for race in raced {
        let is_refunded = refunded.contains(&race.token.id.to_string());
        let let_through = stack.standin.seen(&page(&race.token)).requests;
        assert!(let_through == 0 || !is_refunded, "both: {race:?}");
        assert!(race.used != 200 || let_through == 1, "{race:?}");
        if let Some(refund) = &race.refund {
            assert_eq!(refund.status == 200, is_refunded, "{race:?}");
            match refund.status {
                200 => assert_eq!(refund.json()["refund_amount"], "1.00"),
                409 => assert_eq!(refund.problem(), "Token is being used"),
                400 => assert_eq!(
                    refund.problem(),
                    "Cannot revoke activated token. Refunds are only available for non-activated tokens."
                ),
                other => panic!("{other}: {race:?}"),
            }
        }
        // Whatever was not refunded is still worth its money.
        let expected = if is_refunded { 401 } else { 200 };
        eventually!(stack.edge().status_for(&race.token, "/status/200").await, |status| *status == expected);
    }
    let bought = alice.tokens().await.len();
    assert_eq!(balance, CREDITS as usize - PRICE * (bought - refunded.len()));
}

#[tokio::test]
async fn of_a_refund_and_a_first_use_that_race_exactly_one_wins() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let (mut all, mut head_start, mut refunds) = (Vec::new(), HeadStart::default(), 0);
    while all.len() < RACES {
        let raced = races(&stack, &alice, head_start, AT_ONCE).await;
        let won = raced.iter().filter(|race| race.refund.as_ref().is_some_and(|refund| refund.status == 200)).count();
        head_start = head_start.steered(won, raced.len());
        refunds += won;
        all.extend(raced);
    }
    assert!(all.iter().all(|race| race.refund.is_some()), "a refund was never decided");
    assert_one_won(&stack, &alice, &all).await;
    let uses = all.iter().filter(|race| race.used == 200).count();
    assert_eq!(refunds + uses, RACES);
    assert!(refunds >= EACH_WINS && uses >= EACH_WINS, "{refunds} refunds and {uses} uses: nothing was raced");
    stack.finish().await;
}

/// Waits until no refund stands unsettled.
async fn all_settled(stack: &Stack) {
    let standing = "SELECT count(*) FROM access_tokens WHERE refund_requested_at IS NOT NULL";
    eventually!(stack.control.database.query(standing).await.expect("a count"), |count| count == "0");
}

#[tokio::test]
async fn a_control_plane_killed_amid_races_leaves_every_token_either_used_or_refunded() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut racing = JoinSet::new();
        for _ in 0..3 * AT_ONCE {
            let token = alice.buys(1).await;
            racing.spawn(race(&stack, &alice, token, HeadStart { use_waits: SCATTER, ..HeadStart::default() }));
        }
        tokio::time::sleep(random(SCATTER * 3)).await;
        stack.control.plane.kill().await;
        all.extend(racing.join_all().await);
        stack.control.plane.start_again().await.expect("a start");
        all_settled(&stack).await;
    }
    assert!(all.iter().any(|race| race.refund.is_none()), "no refund was interrupted");
    assert_one_won(&stack, &alice, &all).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_refund_whose_process_died_before_redis_heard_of_it_is_finished() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let tokens = buys(&alice, AT_ONCE).await;
    stack.redis.pause();
    let mut refunds = asks_for_refunds(&alice, &tokens);
    let noted = "SELECT count(*) FROM access_tokens WHERE refund_requested_at IS NOT NULL";
    eventually!(stack.control.database.query(noted).await.expect("a count"), |count| count != "0");
    stack.control.plane.kill().await;
    stack.redis.resume();
    while refunds.join_next().await.is_some() {}
    finish_after_crash(stack, &alice, tokens).await;
}

#[tokio::test]
async fn a_refund_whose_process_died_before_the_money_came_back_is_finished() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let tokens = buys(&alice, AT_ONCE).await;
    let locked = format!("BEGIN; SELECT 1 FROM users WHERE id = '{}' FOR UPDATE; SELECT pg_sleep(600)", alice.id);
    let is_locked =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let unlock = is_locked.replace("count(*)", "pg_terminate_backend(pid)");
    let crash = async {
        eventually!(stack.control.database.query(is_locked).await.expect("a count"), |count| count == "1");
        let mut refunds = asks_for_refunds(&alice, &tokens);
        let barred = async || {
            let mut barred = 0;
            for token in &tokens {
                let key = token_key(token.id);
                let state = stack.redis.command(&["HGET", &key, "state"]).await.expect("a state");
                barred += usize::from(state == "barred");
            }
            barred
        };
        eventually!(barred().await, |barred| *barred > 0);
        stack.control.plane.kill().await;
        while refunds.join_next().await.is_some() {}
        stack.control.database.query(&unlock).await.expect("the lock's end");
    };
    let (ended, ()) = tokio::join!(stack.control.database.query(&locked), crash);
    assert!(ended.is_err(), "the lock was let go by itself");
    finish_after_crash(stack, &alice, tokens).await;
}

async fn buys(alice: &User, count: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(alice.buys(1).await);
    }
    tokens
}

fn asks_for_refunds(alice: &User, tokens: &[Token]) -> JoinSet<Option<Answer>> {
    let mut refunds = JoinSet::new();
    for token in tokens {
        let refund = alice.request(Method::DELETE, &format!("/tokens/{}", token.id));
        refunds.spawn(async move { refund.try_answer().await.ok() });
    }
    refunds
}

/// Uses every other token while no control plane runs, starts one, and checks what came of the
/// refunds that stood.
async fn finish_after_crash(mut stack: Stack, alice: &User, tokens: Vec<Token>) {
    let mut raced = Vec::new();
    for (number, token) in tokens.into_iter().enumerate() {
        let used = if number % 2 == 0 { stack.edge().status_for(&token, &page(&token)).await } else { 0 };
        raced.push(Raced { token, refund: None, used });
    }
    stack.control.plane.start_again().await.expect("a start");
    all_settled(&stack).await;
    assert_one_won(&stack, alice, &raced).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_refund_is_refused_while_a_first_request_is_under_way() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let token = alice.buys(1).await;
    let path = "/slow/3000";
    let request = stack.edge().with(&token, Method::GET, path);
    let refund = async {
        eventually!(stack.standin.seen(path), |seen| seen.requests == 1);
        let refused = alice.refunds(&token).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert_eq!(refused.problem(), "Token is being used");
    };
    let (answer, ()) = tokio::join!(request.answer(), refund);
    answer.expect(200);
    let refused = alice.refunds(&token).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    stack.finish().await;
}

#[tokio::test]
async fn a_token_whose_first_request_came_to_nothing_can_be_refunded() {
    let mut stack = Stack::start().await;
    stack.announce(500);
    let alice = stack.control.user("alice").with_credits(CREDITS).await;
    let token = alice.buys(1).await;
    assert_eq!(stack.edge().status_for(&token, "/status/500").await, 500);
    alice.refunds(&token).await.expect(200);
    let (_, balance) = settled(&stack, &alice).await;
    assert_eq!(balance, CREDITS as usize);
    stack.finish().await;
}
