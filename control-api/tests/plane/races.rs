//! What two replicas do at once, many times over: money is neither made nor lost.

use futures_util::future::join_all;
use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    people::{User, text},
    processes::programs::Plane,
};

use crate::{
    bundles::bundle,
    harness::{Control, MOCK_PAYMENTS},
};

const TIMES: usize = 100;

/// Two replicas on one Postgres and one Redis.
struct Replicas {
    control: Control,
    second: Plane,
}

impl Replicas {
    async fn start() -> Self {
        let control = Control::start_with(MOCK_PAYMENTS).await;
        let second = control.replica_with("control-api-2", MOCK_PAYMENTS).await;
        Self { control, second }
    }

    /// A request to one or the other by turns.
    fn call(&self, number: usize, method: Method, person: &User, path: &str) -> RequestBuilder {
        let url = if number.is_multiple_of(2) { self.control.plane.url() } else { self.second.url() };
        self.control.api.client().request(method, format!("{url}/api/v1{path}")).bearer_auth(&person.jwt)
    }

    async fn purchase(&self, number: usize, person: &User) -> Answer {
        let call = self.call(number, Method::POST, person, "/tokens/purchase");
        call.json(&json!({ "duration_hours": 24 })).answer().await
    }

    async fn set_balance(&self, admin: &User, person: &User, balance: &str) {
        let change = json!({ "currency_balance": balance });
        let path = format!("/admin/users/{}", person.id);
        admin.patch(&path, &change).answer().await.expect(200);
    }

    async fn finish(&self) {
        self.control.plane.runs(&["ledger", "verify"]).await.expect("the ledger adds up");
    }
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test]
async fn six_purchases_on_a_balance_for_one_are_one_each_of_a_hundred_times() {
    let replicas = Replicas::start().await;
    let (admin, alice) = (&replicas.control.admin, replicas.control.user("alice").await);
    for round in 0..TIMES {
        replicas.set_balance(admin, &alice, "18").await;
        let answers = join_all((0..6).map(|number| replicas.purchase(number, &alice))).await;
        assert_eq!((statuses(&answers, 201), statuses(&answers, 402)), (1, 5), "round {round}");
        assert_eq!(alice.balance().await, "0.00");
    }
    replicas.finish().await;
}

#[tokio::test]
async fn eight_top_ups_of_10_are_80_each_of_a_hundred_times() {
    let replicas = Replicas::start().await;
    let (admin, alice) = (&replicas.control.admin, replicas.control.user("alice").await);
    let top_up = |number| {
        let call = replicas.call(number, Method::POST, &alice, "/currency/mock-purchase");
        call.json(&json!({ "amount": "10.00" })).answer()
    };
    for round in 0..TIMES {
        replicas.set_balance(admin, &alice, "0").await;
        let answers = join_all((0..8).map(top_up)).await;
        assert_eq!(statuses(&answers, 201), 8, "round {round}");
        let mut balances: Vec<String> = answers.iter().map(|answer| text(&answer.json(), "new_balance")).collect();
        balances.sort_unstable();
        assert_eq!(balances, ["10.00", "20.00", "30.00", "40.00", "50.00", "60.00", "70.00", "80.00"], "round {round}");
        assert_eq!(alice.balance().await, "80.00", "round {round}");
    }
    replicas.finish().await;
}

#[tokio::test]
async fn six_refunds_of_one_token_are_one_each_of_a_hundred_times() {
    let replicas = Replicas::start().await;
    let alice = replicas.control.user("alice").with_credits("18").await;
    for round in 0..TIMES {
        let token = replicas.purchase(round, &alice).await.expect(201);
        let path = format!("/tokens/{}", text(&token, "id"));
        let refund = |number| replicas.call(number, Method::DELETE, &alice, &path).answer();
        let answers = join_all((0..6).map(refund)).await;
        assert_eq!((statuses(&answers, 200), statuses(&answers, 404)), (1, 5), "round {round}");
        assert_eq!(alice.balance().await, "18.00");
    }
    replicas.finish().await;
}

#[tokio::test]
async fn of_a_bundle_and_a_token_on_a_balance_for_one_exactly_one_is_bought_each_time() {
    let replicas = Replicas::start().await;
    let (admin, alice) = (&replicas.control.admin, replicas.control.user("alice").await);
    let path = format!("/bundles/{}/purchase", text(&bundle(&replicas.control, "Starter Pack").await, "id"));
    for round in 0..TIMES {
        // The bundle costs 81.00, the token 100.00.
        replicas.set_balance(admin, &alice, "100").await;
        let token = replicas.call(round, Method::POST, &alice, "/tokens/purchase");
        let token = token.json(&json!({ "duration_hours": 168 })).answer();
        let bundle = replicas.call(round + 1, Method::POST, &alice, &path).answer();
        let (token, bundle) = tokio::join!(token, bundle);
        let left = match (token.status, bundle.status) {
            (201, 402) => "0.00",
            (402, 200) => "19.00",
            other => panic!("round {round}: {other:?}"),
        };
        assert_eq!(alice.balance().await, left, "round {round}");
    }
    replicas.finish().await;
}

#[tokio::test]
async fn the_same_key_ten_times_at_once_is_one_purchase_each_of_a_hundred_times() {
    let replicas = Replicas::start().await;
    let alice = replicas.control.user("alice").with_credits("100").await;
    let body = json!({ "duration_hours": 1 });
    for round in 0..TIMES {
        let call = |number| {
            let call = replicas.call(number, Method::POST, &alice, "/tokens/purchase");
            call.header("Idempotency-Key", round.to_string()).json(&body).answer()
        };
        let answers = join_all((0..10).map(call)).await;
        let first: Value = answers[0].json();
        assert!(answers.iter().all(|answer| answer.status == 201 && answer.json() == first), "round {round}");
    }
    assert_eq!(alice.balance().await, "0.00");
    replicas.finish().await;
}

#[tokio::test]
async fn of_the_last_two_admins_who_demote_each_other_one_remains_each_of_a_hundred_times() {
    let replicas = Replicas::start().await;
    let (first, second) = (&replicas.control.admin, &replicas.control.user("second").await);
    let demote = |number, by: &User, whom: &User| {
        let call = replicas.call(number, Method::PATCH, by, &format!("/admin/users/{}", whom.id));
        call.json(&json!({ "is_superuser": false })).answer()
    };
    for round in 0..TIMES {
        replicas.control.query("UPDATE users SET is_superuser = true").await;
        let answers = join_all([demote(0, first, second), demote(1, second, first)]).await;
        let refused = answers.iter().filter(|answer| matches!(answer.status, 403 | 409)).count();
        assert_eq!((statuses(&answers, 200), refused), (1, 1), "round {round}");
        let left = replicas.control.query("SELECT count(*) FROM users WHERE is_superuser AND is_active").await;
        assert_eq!(left, "1", "round {round}");
    }
}
