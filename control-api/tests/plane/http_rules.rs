//! What holds for every call: refusals, ids, CORS, documents, and that nothing a client sends is a
//! fault of ours.

use std::time::Duration;
use testbed::people::text;

use http::Method;
use serde_json::{Value, json};
use testbed::{clients::http::Ask, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use crate::harness::{Control, MOCK_PAYMENTS};

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_as_problems() {
    let control = Control::start().await;
    for path in ["/nowhere", "/api/v1/nowhere", "/api", "/api/v1/tokens/", "/docs/x"] {
        let refused = control.api.client().get(control.url(path)).answer().await;
        assert_eq!((refused.status, refused.problem().as_str()), (404, "Not found"), "{path}");
    }
    let methods = [
        (Method::GET, "/api/v1/auth/login", "POST"),
        (Method::PUT, "/api/v1/users/me", "GET, PATCH"),
        (Method::GET, "/api/v1/tokens/00000000-0000-0000-0000-000000000000", "DELETE, PATCH"),
        (Method::POST, "/health", "GET, HEAD"),
        (Method::PUT, "/set-password", "GET, HEAD, POST"),
    ];
    for (method, path, allowed) in methods {
        let refused = control.api.client().request(method, control.url(path)).answer().await;
        assert_eq!((refused.status, refused.header("allow")), (405, allowed), "{path}");
        refused.problem();
    }
}

#[tokio::test]
async fn bodies_of_another_kind_or_size_are_refused_as_problems() {
    let control = Control::start().await;
    let login = || control.api.request(Method::POST, "/auth/login");
    let refused = login().header("content-type", "text/plain").body("{}").answer().await;
    assert_eq!(refused.status, 415);
    refused.problem();
    assert_eq!(login().body("{}").answer().await.status, 415);
    let large = json!({ "email": "a@b.example", "password": "x".repeat(70_000) });
    let refused = login().json(&large).answer().await;
    assert_eq!(refused.status, 413);
    refused.problem();
    for malformed in ["", "{", "[]", "null", "\"text\"", "{\"email\": \"a@b.example\",}", "\u{feff}{}"] {
        let refused = login().header("content-type", "application/json").body(malformed).answer().await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "body", "{malformed}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(login().header("content-type", "application/json").body(deep).answer().await.status, 422);
}

#[tokio::test]
async fn a_422_names_every_field_that_is_wrong_and_repeats_none() {
    let control = Control::start().await;
    let body = json!({ "email": "secret-nonsense", "username": "ab", "password": "hunter2" });
    let refused = control.api.registers(&body).await;
    let problem = refused.expect(422);
    let fields: Vec<String> = problem["errors"].as_array().unwrap().iter().map(|error| text(error, "field")).collect();
    assert_eq!(fields, ["email", "username", "password"]);
    assert!(!refused.text().contains("secret-nonsense") && !refused.text().contains("hunter2"));
}

/// Values that break what is careless.
fn nasty() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a\u{0}b"),
        json!("\u{202e}\u{fffd}😀"),
        json!("'; DROP TABLE users; --"),
        json!("x".repeat(20_000)),
        json!([]),
        json!({}),
        json!([[["a"]]]),
        json!("NaN"),
        json!("1e400"),
        json!("99999999999999999999999999999999999999.99"),
    ]
}

#[tokio::test]
async fn bad_input_is_never_a_fault_of_ours() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("1000").await);
    let token = alice.buys(1).await;
    let good = [
        (
            Method::POST,
            "/auth/register".to_owned(),
            json!({ "email": "a@b.example", "username": "abc", "password": "password1" }),
        ),
        (Method::POST, "/auth/login".to_owned(), json!({ "email": "a@b.example", "password": "password1" })),
        (Method::PATCH, "/users/me".to_owned(), json!({ "full_name": "A", "password": null, "current_password": "x" })),
        (Method::POST, "/tokens/purchase".to_owned(), json!({ "duration_hours": 1, "scope": "full" })),
        (Method::POST, format!("/tokens/{}/extend", token.id), json!({ "duration_hours": 1 })),
        (
            Method::PATCH,
            format!("/admin/tokens/{}", token.id),
            json!({ "allowed_networks": ["192.0.2.0/24"], "denied_networks": ["2001:db8::1"] }),
        ),
        (Method::POST, "/currency/mock-purchase".to_owned(), json!({ "amount": "1.00" })),
        (
            Method::POST,
            "/currency/purchase".to_owned(),
            json!({ "amount_znc": "1.00", "return_url": "http://localhost:61000/" }),
        ),
        (
            Method::POST,
            "/webhooks/payment".to_owned(),
            json!({ "type": "notification", "event": "payment.succeeded", "object": { "id": "1" } }),
        ),
        (
            Method::POST,
            "/bundles/".to_owned(),
            json!({ "name": "B", "description": "b", "token_count": 1, "duration_hours": 1, "scope": "full",
                "discount_percent": "1.00" }),
        ),
        (
            Method::PATCH,
            format!("/admin/users/{}", alice.id),
            json!({ "is_active": true, "is_superuser": false, "currency_balance": "1.00", "reason": "x",
                "allowed_networks": ["192.0.2.0/24"], "denied_networks": [] }),
        ),
    ];
    for (method, path, body) in good {
        for field in body.as_object().unwrap().keys() {
            for value in nasty() {
                let mut bad = body.clone();
                bad[field] = value.clone();
                let answer =
                    control.api.request(method.clone(), &path).bearer_auth(&admin.jwt).json(&bad).answer().await;
                assert!(answer.status < 500, "{path} {field}: {value}: {} {}", answer.status, answer.text());
                if answer.status >= 400 {
                    answer.problem();
                }
            }
        }
    }
}

#[tokio::test]
async fn bad_paths_queries_and_headers_are_never_a_fault_of_ours() {
    let control = Control::start().await;
    let admin = &control.admin;
    for id in ["x", "%00", "%2e%2e", "00000000-0000-0000-0000-00000000000g", "😀", "a%2Fb"] {
        for (method, path) in [
            (Method::DELETE, format!("/tokens/{id}")),
            (Method::POST, format!("/tokens/{id}/rotate")),
            (Method::DELETE, format!("/admin/tokens/{id}")),
            (Method::POST, format!("/admin/users/{id}/password-link")),
        ] {
            let refused = control.api.request(method, &path).bearer_auth(&admin.jwt).answer().await;
            assert!([404, 422].contains(&refused.status), "{path}: {}", refused.status);
            refused.problem();
        }
    }
    let not_utf8 = control.api.request(Method::DELETE, "/tokens/%ff%fe").bearer_auth(&admin.jwt).answer().await;
    let bad_id = control.api.request(Method::DELETE, "/tokens/x").bearer_auth(&admin.jwt).answer().await;
    for bad_id in [not_utf8, bad_id] {
        assert_eq!(bad_id.expect(422)["errors"], json!([{ "field": "id", "message": "must be a UUID" }]));
    }
    for (query, field, message) in [
        ("limit=0", "limit", "must be an integer from 1 to 100"),
        ("offset=-1", "offset", "must be an integer from 0 to 1000000000"),
        ("is_active=maybe", "is_active", "must be true or false"),
        ("search=%00", "search", "must not hold control characters"),
    ] {
        let refused = admin.get(&format!("/admin/users?{query}")).answer().await.expect(422);
        assert_eq!(refused["errors"], json!([{ "field": field, "message": message }]), "{query}");
    }
    let without_path = admin.get(&format!("/tokens/{}/access", Uuid::nil())).answer().await.expect(422);
    assert_eq!(without_path["errors"], json!([{ "field": "path", "message": "is required" }]));
    for query in ["search=%ff%fe", "search=%", "limit=1&limit=2", "%00=1", "&&&", "limit[]=1"] {
        let answer = admin.get(&format!("/admin/users?{query}")).answer().await;
        assert!(answer.status < 500, "{query}: {}", answer.status);
    }
    let raw = reqwest::header::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
    for name in ["authorization", "idempotency-key", "x-request-id", "origin", "content-type", "accept"] {
        let answer = control.api.request(Method::GET, "/users/me").header(name, raw.clone()).answer().await;
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
        answer.problem();
    }
}

#[tokio::test]
async fn a_request_id_is_kept_or_given() {
    let control = Control::start().await;
    let health = || control.api.client().get(control.url("/health"));
    assert_eq!(health().header("x-request-id", "abc-123").answer().await.header("x-request-id"), "abc-123");
    let given = health().header("x-request-id", "a b").answer().await;
    assert!(given.header("x-request-id").len() == 36, "{given:?}");
    let refused = control.api.request(Method::GET, "/users/me").header("x-request-id", "abc-456").answer().await;
    assert_eq!(refused.header("x-request-id"), "abc-456");
}

#[tokio::test]
async fn listed_origins_may_call_with_credentials_and_no_others() {
    let control = Control::start().await;
    let preflight = async |origin: &str| {
        let request =
            control.api.client().request(Method::OPTIONS, control.url("/api/v1/users/me")).header("origin", origin);
        request.header("access-control-request-method", "PATCH").answer().await
    };
    for listed in ["http://localhost:61000", "https://127.0.0.1:61000"] {
        let answer = preflight(listed).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, listed));
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("access-control-allow-methods").contains("PATCH"));
        let answer = control.api.request(Method::GET, "/users/me").header("origin", listed).answer().await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, listed));
    }
    for foreign in ["https://evil.example", "null", "http://localhost:61001"] {
        let answer = preflight(foreign).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""), "{foreign}");
        let answer = control.api.client().get(control.url("/health")).header("origin", foreign).answer().await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""), "{foreign}");
    }
}

#[tokio::test]
async fn the_pages_are_whole_and_name_no_other_host() {
    let control = Control::start().await;
    let page = async |path: &str| control.api.client().get(control.url(path)).answer().await;
    let root = page("/").await.expect(200);
    assert_eq!((&root["name"], &root["links"]["docs"]), (&json!("Zenzefi Gateway"), &json!("/docs")));
    assert_eq!(page("/health").await.expect(200)["status"], "healthy");
    for path in ["/docs", "/redoc"] {
        let html = page(path).await;
        assert_eq!((html.status, html.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let policy = html.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).expect("a rule on scripts");
        assert!(!scripts.contains("unsafe-inline") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(html.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(html.header("x-content-type-options"), "nosniff", "{path}");
        for loads in ["src=\"http", "href=\"http", "src=\"//", "@import"] {
            assert!(
                !html.text().contains(&format!("<script {loads}")) && !html.text().contains(&format!("<link {loads}"))
            );
        }
    }
    let script = page("/redoc/redoc.standalone.js").await;
    assert!(script.status == 200 && script.body.len() > 500_000);
    assert_eq!(control.api.client().head(control.url("/docs")).answer().await.status, 200);
}

#[tokio::test]
async fn the_document_lists_every_call_with_the_statuses_that_it_can_answer() {
    let control = Control::start().await;
    let document = control.api.client().get(control.url("/openapi.json")).answer().await.expect(200);
    let statuses = |path: &str, method: &str| {
        let responses = &document["paths"][path][method]["responses"];
        let mut statuses: Vec<&str> = responses.as_object().unwrap().keys().map(String::as_str).collect();
        statuses.sort_unstable();
        statuses.join(" ")
    };
    for (path, method, expected) in [
        ("/api/v1/auth/register", "post", "201 400 403 408 413 415 422 429 500 503"),
        ("/api/v1/auth/login", "post", "200 400 401 403 408 413 415 422 429 500 503"),
        ("/api/v1/auth/logout", "post", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/users/me", "get", "200 400 401 403 408 413 429 500 503"),
        ("/api/v1/users/me", "patch", "200 400 401 403 408 413 415 422 429 500 503"),
        ("/api/v1/tokens/purchase", "post", "201 400 401 402 403 408 409 413 415 422 429 500 503"),
        ("/api/v1/tokens/my-tokens", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/tokens/{id}", "patch", "200 400 401 403 404 408 413 415 422 429 500 503"),
        ("/api/v1/tokens/{id}", "delete", "200 400 401 403 404 408 409 413 422 429 500 503"),
        ("/api/v1/tokens/{id}/extend", "post", "200 400 401 402 403 404 408 413 415 422 429 500 503"),
        ("/api/v1/tokens/{id}/rotate", "post", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/tokens/{id}/open", "post", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/tokens/{id}/release-device", "post", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/tokens/{id}/access", "get", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/bundles/", "get", "200 400 403 408 413 422 500 503"),
        ("/api/v1/bundles/", "post", "201 400 401 403 408 409 413 415 422 429 500 503"),
        ("/api/v1/bundles/{id}", "get", "200 400 403 404 408 413 422 500 503"),
        ("/api/v1/bundles/{id}", "patch", "200 400 401 403 404 408 409 413 415 422 429 500 503"),
        ("/api/v1/bundles/{id}", "delete", "204 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/bundles/{id}/purchase", "post", "200 400 401 402 403 404 408 409 413 422 429 500 503"),
        ("/api/v1/users/me/referrals", "get", "200 400 401 403 408 413 429 500 503"),
        ("/api/v1/users/me/sessions", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/sessions", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/sessions/{id}", "delete", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/currency/balance", "get", "200 400 401 403 408 413 429 500 503"),
        ("/api/v1/currency/transactions", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/currency/mock-purchase", "post", "201 400 401 403 404 408 409 413 415 422 429 500 503"),
        ("/api/v1/currency/purchase", "post", "201 400 401 403 408 413 415 422 429 500 503"),
        ("/api/v1/webhooks/payment", "post", "200 400 401 403 408 409 413 415 422 500 503"),
        ("/api/v1/admin/audit-logs", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/stats", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/ledger/verify", "get", "200 400 401 403 408 413 429 500 503"),
        ("/api/v1/admin/users", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/users/{id}", "patch", "200 400 401 403 404 408 409 413 415 422 429 500 503"),
        ("/api/v1/admin/users/{id}/password-link", "post", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/admin/users/{id}/login-failures", "delete", "200 400 401 403 404 408 413 422 429 500 503"),
        ("/api/v1/admin/tokens", "get", "200 400 401 403 408 413 422 429 500 503"),
        ("/api/v1/admin/tokens/{id}", "patch", "200 400 401 403 404 408 413 415 422 429 500 503"),
        ("/api/v1/admin/tokens/{id}", "delete", "200 400 401 403 404 408 413 422 429 500 503"),
    ] {
        assert_eq!(statuses(path, method), expected, "{method} {path}");
    }
    let calls: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(calls, 39);
    let of_error = &document["paths"]["/api/v1/users/me"]["get"]["responses"]["401"]["content"];
    assert!(of_error["application/problem+json"].is_object(), "{of_error}");
}

#[tokio::test]
async fn bodies_that_drip_end_in_bounded_time_and_others_are_served_meanwhile() {
    const DRIPPING: usize = 200;
    const ENDS_WITHIN: Duration = Duration::from_secs(25);
    let control = Control::start().await;
    let address = control.plane.url().trim_start_matches("http://").to_owned();
    let mut dripping = JoinSet::new();
    for _ in 0..DRIPPING {
        let mut client = TcpStream::connect(&address).await.expect("a connection");
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    content-length: 60000\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("a write");
        dripping.spawn(async move {
            let (mut from, mut to) = client.into_split();
            let drips = async {
                let mut every = tokio::time::interval(Duration::from_millis(200));
                while to.write_all(b" ").await.is_ok() {
                    every.tick().await;
                }
                std::future::pending().await
            };
            let mut answer = Vec::new();
            tokio::select! {
                () = drips => {}
                // A client that is cut while it writes may be reset.
                _ended = from.read_to_end(&mut answer) => {}
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let serving = async {
        let mut every = tokio::time::interval(Duration::from_millis(100));
        loop {
            every.tick().await;
            control.api.request(Method::GET, "/bundles/").answer().await.expect(200);
        }
    };
    let answers = tokio::select! {
        answers = timeout(ENDS_WITHIN, dripping.join_all()) => answers.expect("an end in time"),
        () = serving => unreachable!("it goes on"),
    };
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_holds_the_stop_up_no_longer_than_the_drain() {
    let mut control = Control::start().await;
    let address = control.plane.url().trim_start_matches("http://").to_owned();
    let mut half_sent = TcpStream::connect(&address).await.expect("a connection");
    half_sent
        .write_all(b"POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        .await
        .expect("a write");
    eventually!(
        control.api.client().get(format!("{}/metrics", control.plane.ops_url())).answer().await.text(),
        |metrics| { !metrics.contains("control_http_connections 0") }
    );
    let status = control.plane.stop().await.expect("a stop");
    assert!(status.success(), "{status}");
    let mut rest = Vec::new();
    let _closed = half_sent.read_to_end(&mut rest).await;
}
