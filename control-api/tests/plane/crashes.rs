//! Replicas that are killed at any instant, or started again one after the other: a client that
//! repeats a call by its key loses nothing and pays nothing twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::{Token, User},
    processes::programs::Plane,
};
use uuid::Uuid;

use crate::harness::Control;

const PEOPLE: usize = 8;
const PURCHASES_EACH: usize = 84;
/// One of this number of purchases is given back: a thousand calls in all.
const REFUND_EVERY: usize = 2;
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Redis is as it was filled at the start, and no edge has anything to tell.
const NO_HOLD: [(&str, &str); 2] = [("DEBUG", "true"), ("REFUND_HOLD_SECONDS", "1")];
const PAUSE: Duration = Duration::from_millis(20);

/// Somebody who calls whichever replica is up, and repeats what was not answered.
struct Caller<'a> {
    control: &'a Control,
    person: &'a User,
    urls: [String; 2],
    /// Whether replicas end properly: then a call that is answered is answered well.
    is_orderly: bool,
}

impl Caller<'_> {
    /// Repeats a call until it is answered with anything but a fault of the moment.
    async fn persists(&self, method: Method, path: &str, key: &str) -> Answer {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        let mut urls = self.urls.iter().cycle();
        loop {
            assert!(Instant::now() < deadline, "{method} {path} was never answered");
            let url = urls.next().expect("it goes round");
            let call = self.control.api.client().request(method.clone(), format!("{url}/api/v1{path}"));
            let call = call.bearer_auth(&self.person.jwt).header("Idempotency-Key", key);
            match call.json(&json!({ "duration_hours": 1 })).try_answer().await {
                Ok(answer) if answer.status < 500 => return answer,
                // A Redis that is slow cannot say in time whether a token was used.
                Ok(answer) if self.is_orderly && !(answer.status == 503 && method == Method::DELETE) => {
                    panic!("{} while no replica was killed: {}", answer.status, answer.text())
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Buys and gives back; every token that was bought, and whether it was given back.
    async fn buys_and_returns(&self) -> Vec<(Token, bool)> {
        let mut bought = Vec::new();
        for number in 0..PURCHASES_EACH {
            let answer = self.persists(Method::POST, "/tokens/purchase", &format!("key-{number}")).await;
            let token = Token::of(&answer.expect(201));
            let is_returned = number % REFUND_EVERY == 0;
            if is_returned {
                let refund = self.persists(Method::DELETE, &format!("/tokens/{}", token.id), "none").await;
                // An earlier try of this one may have done it.
                assert!(matches!(refund.status, 200 | 404), "{}", refund.text());
            }
            bought.push((token, is_returned));
        }
        bought
    }
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_replicas_are_killed_through_a_thousand_calls() {
    let kills = a_thousand_calls_while(false, async |replica| {
        let instant = Duration::from_millis(100 + 4 * u64::from(Uuid::new_v4().as_bytes()[0]));
        tokio::time::sleep(instant).await;
        replica.start_again().await.expect("it starts again");
    })
    .await;
    assert!(kills >= 5, "only {kills} kills");
}

#[tokio::test]
async fn replicas_that_are_started_again_one_after_the_other_answer_every_call_well() {
    let starts = a_thousand_calls_while(true, async |replica| {
        assert!(replica.stop().await.expect("an end").success());
        replica.start_again().await.expect("it starts again");
    })
    .await;
    assert!(starts >= 4, "only {starts} starts");
}

/// Lets people buy and give back on two replicas, in turn disturbed by `disturb`, until all is done
/// and checked; how often one was.
async fn a_thousand_calls_while(is_orderly: bool, disturb: impl AsyncFn(&mut Plane)) -> usize {
    let mut control = Control::start_with(NO_HOLD).await;
    let mut second = control.replica_with("control-api-2", NO_HOLD).await;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(control.user(&format!("person-{number}")).with_credits("1000").await);
    }
    let third = control.replica_with("control-api-3", NO_HOLD).await;
    let urls = [control.plane.url().to_owned(), second.url().to_owned()];
    let done = Arc::new(AtomicBool::new(false));
    let (times, bought) = {
        let mut first = std::mem::replace(&mut control.plane, third);
        let disturbing = async {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                disturb(if times % 2 == 0 { &mut first } else { &mut second }).await;
                times += 1;
            }
            times
        };
        let callers = people.iter().map(|person| Caller { control: &control, person, urls: urls.clone(), is_orderly });
        let callers: Vec<_> = callers.collect();
        let work = async {
            let bought = join_all(callers.iter().map(Caller::buys_and_returns)).await;
            done.store(true, Ordering::Relaxed);
            bought
        };
        tokio::join!(disturbing, work)
    };
    check(&control, &people, bought).await;
    times
}

async fn check(control: &Control, people: &[User], bought: Vec<Vec<(Token, bool)>>) {
    control.plane.runs(&["ledger", "verify"]).await.expect("the ledger adds up");
    eventually!(control.query("SELECT count(*) FROM outbox").await, |left| left == "0");
    let counted = |statement: &'static str| async move {
        let rows = control.query(statement).await;
        let rows = rows.lines().filter_map(|row| row.split_once('|'));
        rows.map(|(id, count)| (id.to_owned(), count.to_owned())).collect::<HashMap<_, _>>()
    };
    let sold = counted("SELECT user_id, count(*) FROM access_tokens GROUP BY user_id").await;
    let logged = "SELECT resource_id, string_agg(action, ' ' ORDER BY id) FROM audit_logs
        WHERE resource_type = 'token' GROUP BY resource_id";
    let logged = counted(logged).await;
    for (person, bought) in people.iter().zip(bought) {
        assert_eq!(sold[&person.id], PURCHASES_EACH.to_string(), "each key bought one token");
        let kept = bought.iter().filter(|(_, is_returned)| !is_returned).count();
        assert_eq!(person.by(control.plane.url()).balance().await, format!("{}.00", 1000 - kept));
        for (token, is_returned) in bought {
            let acts = if is_returned { "purchase refund" } else { "purchase" };
            assert_eq!(logged[&token.id.to_string()], acts);
            assert_eq!(control.is_live(&token.digest()).await, !is_returned);
        }
    }
}
