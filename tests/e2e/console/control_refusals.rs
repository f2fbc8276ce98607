//! Every way in which the control API says no: its status, its words, in one shape, and never a
//! 500.

use http::Method;
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    stack::Stack,
};

fn assert_problem(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.problem(), detail);
}

#[tokio::test]
async fn an_account_is_made_once_and_only_of_sound_parts() {
    let stack = Stack::start().await;
    let api = &stack.control.api;
    let register = async |body: &Value| api.request(Method::POST, "/auth/register").json(body).answer().await;
    let bob = json!({ "email": "Bob@example.com", "username": "bob", "password": "a long password" });
    let created = register(&bob).await.expect(201);
    assert_eq!((&created["email"], &created["is_superuser"]), (&json!("Bob@example.com"), &json!(false)));
    assert!(created.get("password").is_none() && created.get("password_hash").is_none(), "{created}");

    let same_email = json!({ "email": "bob@EXAMPLE.com", "username": "bob2", "password": "a long password" });
    assert_problem(&register(&same_email).await, 400, "Email already registered");
    let same_name = json!({ "email": "bob2@example.com", "username": "bob", "password": "a long password" });
    assert_problem(&register(&same_name).await, 400, "Username already taken");

    for (field, value) in [
        ("email", json!("no address")),
        ("email", json!(7)),
        ("username", json!("ab")),
        ("username", json!("x".repeat(51))),
        ("password", json!("short77")),
        ("password", json!("é".repeat(37))),
        ("password", json!(null)),
        ("username", json!("nul\u{0}byte")),
    ] {
        let mut body = json!({ "email": "eve@example.com", "username": "eve-1", "password": "a long password" });
        body[field] = value.clone();
        let answer = register(&body).await;
        assert_eq!(answer.status, 422, "{field} {value}: {}", answer.text());
        answer.problem();
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors[0]["field"], field, "{errors}");
        assert!(errors[0]["message"].is_string(), "{errors}");
        if let Some(submitted) = value.as_str().filter(|text| text.len() > 3) {
            assert!(!answer.text().contains(submitted), "a submitted value is echoed: {}", answer.text());
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn of_eight_who_register_one_address_at_once_one_gets_it() {
    let stack = Stack::start().await;
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..8 {
        let body =
            json!({ "email": "one@example.com", "username": format!("racer-{number}"), "password": "a long password" });
        let request = stack.control.api.request(Method::POST, "/auth/register").json(&body);
        tries.spawn(async move { request.answer().await.status });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400, 400, 400, 400, 400, 400, 400]);
    stack.finish().await;
}

#[tokio::test]
async fn only_the_right_password_of_an_active_account_logs_in() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").await;
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        stack.control.api.request(Method::POST, "/auth/login").json(&body).answer().await
    };
    login(&alice.email.to_uppercase(), &alice.password).await.expect(200);
    assert_problem(&login(&alice.email, "wrong password").await, 401, "Incorrect email or password");
    assert_problem(&login("nobody@example.com", &alice.password).await, 401, "Incorrect email or password");
    stack.control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    assert_problem(&login(&alice.email, &alice.password).await, 401, "Incorrect email or password");
    assert_problem(&alice.request(Method::GET, "/users/me").answer().await, 403, "Inactive user");
    stack.finish().await;
}

#[tokio::test]
async fn a_call_needs_a_jwt_that_is_ours_and_has_not_ended() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").await;
    let api = &stack.control.api;
    let without = api.request(Method::GET, "/users/me").answer().await;
    assert_problem(&without, 401, "Not authenticated");
    assert_eq!(without.header("www-authenticate"), "Bearer");
    let mut signature_changed = alice.jwt.clone();
    signature_changed.replace_range(signature_changed.len() - 4.., "AAAA");
    // {"alg":"none"} and the same claims.
    let claims = alice.jwt.split('.').nth(1).expect("claims");
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    for jwt in ["nonsense", signature_changed.as_str(), unsigned.as_str()] {
        let refused = api.request(Method::GET, "/users/me").bearer_auth(jwt).answer().await;
        assert_problem(&refused, 401, "Could not validate credentials");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    let logout = alice.request(Method::POST, "/auth/logout").answer().await;
    assert!((200..300).contains(&logout.status), "{}", logout.status);
    assert_problem(&alice.request(Method::GET, "/users/me").answer().await, 401, "Could not validate credentials");
    stack.finish().await;
}

#[tokio::test]
async fn tokens_are_sold_for_known_durations_and_given_back_once() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(1000).await;
    let mallory = stack.control.user("mallory").await;
    for (hours, status) in [
        (json!(2), 400),
        (json!(100_000), 400),
        (json!(0), 422),
        (json!(-1), 422),
        (json!("24"), 422),
        (json!(1.5), 422),
        (json!(null), 422),
    ] {
        let refused = alice.tries_to_buy(&json!({ "duration_hours": hours })).await;
        assert_eq!(refused.status, status, "{hours}: {}", refused.text());
        let detail = refused.problem();
        if status == 400 {
            assert_eq!(detail, "Invalid duration. Must be one of: [1, 12, 24, 168, 720]");
        }
    }
    let unknown_scope = alice.tries_to_buy(&json!({ "duration_hours": 1, "scope": "everything" })).await;
    assert_eq!(unknown_scope.status, 422);

    let token = alice.buys(12).await;
    assert_problem(&mallory.refunds(&token).await, 404, "Token not found or already revoked");
    assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    assert_problem(
        &alice.refunds(&token).await,
        400,
        "Cannot revoke activated token. Refunds are only available for non-activated tokens.",
    );
    let bad_id = alice.request(Method::DELETE, "/tokens/not-a-uuid").answer().await;
    assert_eq!(bad_id.status, 422);
    bad_id.problem();
    stack.finish().await;
}

#[tokio::test]
async fn administration_is_for_superusers_and_keeps_one() {
    let stack = Stack::start().await;
    let (alice, admin) = (stack.control.user("alice").with_credits(5).await, &stack.control.admin);
    assert_problem(&alice.changes(admin, &json!({ "is_active": false })).await, 403, "Superuser permissions required");
    assert_eq!(admin.changes(admin, &json!({ "is_superuser": false })).await.status, 409);
    assert_eq!(admin.changes(admin, &json!({ "is_active": false })).await.status, 409);
    for balance in ["-1.00", "1.001", "many", "10000000000.00"] {
        let refused = admin.changes(&alice, &json!({ "currency_balance": balance })).await;
        assert_eq!(refused.status, 422, "{balance}: {}", refused.text());
    }
    let changed = admin.changes(&alice, &json!({ "currency_balance": "482.5" })).await.expect(200);
    assert_eq!(changed["currency_balance"], "482.50");
    for limit in ["0", "101", "-1", "many"] {
        let refused = admin.request(Method::GET, &format!("/admin/users?limit={limit}")).answer().await;
        assert_eq!(refused.status, 422, "{limit}");
        refused.problem();
    }
    let page = admin.request(Method::GET, "/admin/users?limit=1").answer().await.expect(200);
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(page["items"][0]["id"], alice.id.as_str(), "newest first");
    let nobody = format!("/admin/users/{}", uuid::Uuid::new_v4());
    assert_problem(&admin.request(Method::PATCH, &nobody).json(&json!({})).answer().await, 404, "User not found");
    stack.finish().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_the_one_shape() {
    let stack = Stack::start().await;
    let api = &stack.control.api;
    let login = || api.request(Method::POST, "/auth/login");
    let json_type = "application/json";
    let cases = [
        (api.request(Method::GET, "/nothing/here"), 404),
        (api.request(Method::DELETE, "/auth/login"), 405),
        (login().header("content-type", "text/plain").body("x"), 415),
        (login().header("content-type", json_type).body("{"), 422),
        (login().header("content-type", json_type).body("[]"), 422),
        (login().header("content-type", json_type).body(""), 422),
        (login().header("content-type", json_type).body(vec![0xff, 0xfe]), 422),
        (login().header("content-type", json_type).body(vec![b' '; 80 * 1024]), 413),
    ];
    for (number, (request, status)) in cases.into_iter().enumerate() {
        let answer = request.answer().await;
        assert_eq!(answer.status, status, "case {number}: {}", answer.text());
        answer.problem();
    }
    stack.finish().await;
}

#[tokio::test]
async fn only_listed_origins_may_read_answers_in_a_browser() {
    let stack = Stack::start().await;
    let preflight = async |origin: &str| {
        let request = stack.control.api.request(Method::OPTIONS, "/users/me").header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        request.header("access-control-request-headers", "authorization").answer().await
    };
    let listed = preflight("https://127.0.0.1:61000").await;
    assert!((200..300).contains(&listed.status), "{}", listed.status);
    assert_eq!(listed.header("access-control-allow-origin"), "https://127.0.0.1:61000");
    assert_eq!(listed.header("access-control-allow-credentials"), "true");
    let foreign = preflight("https://evil.example").await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    stack.finish().await;
}

#[tokio::test]
async fn an_administrator_ends_a_token_that_is_in_use_without_a_refund() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(18).await;
    let token = alice.buys(24).await;
    assert_eq!(stack.edge().status_for(&token, "/").await, 200);
    let path = format!("/admin/tokens/{}", token.id);
    for _ in 0..2 {
        let ended = stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
        assert_eq!(ended["message"], format!("Token {} revoked successfully (no refund issued)", token.id));
    }
    eventually!(stack.edge().status_for(&token, "/").await, |status| *status == 401);
    let balance = alice.request(Method::GET, "/currency/balance").answer().await.expect(200);
    assert_eq!(balance, json!({ "balance": "0.00", "currency": "ZNC" }));
    stack.finish().await;
}
