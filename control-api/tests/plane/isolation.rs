//! Nobody sees, changes or infers what is another's: every call of the document, made by somebody
//! else.

use http::Method;
use serde_json::json;
use testbed::{
    clients::http::{Answer, Ask},
    people::{User, text},
};
use uuid::Uuid;

use crate::{
    bundles::bundle,
    harness::{Control, MOCK_PAYMENTS},
};

/// Who may make a call.
#[derive(Clone, Copy, PartialEq)]
enum For {
    /// Everybody; nothing of anybody is in it.
    Anyone,
    /// A user who is logged in, about themselves.
    Oneself,
    /// The owner of what the path names; to others it is not there.
    Owner,
    Superusers,
    /// The payment provider, by what proves that it is.
    Provider,
}

/// Every call of the document: `{id}` is something of Alice's.
const CALLS: [(&str, &str, For); 39] = [
    ("POST", "/api/v1/auth/register", For::Anyone),
    ("POST", "/api/v1/auth/login", For::Anyone),
    ("POST", "/api/v1/auth/logout", For::Oneself),
    ("GET", "/api/v1/users/me", For::Oneself),
    ("PATCH", "/api/v1/users/me", For::Oneself),
    ("GET", "/api/v1/users/me/sessions", For::Oneself),
    ("GET", "/api/v1/users/me/referrals", For::Oneself),
    ("GET", "/api/v1/currency/balance", For::Oneself),
    ("GET", "/api/v1/currency/transactions", For::Oneself),
    ("POST", "/api/v1/currency/mock-purchase", For::Oneself),
    ("POST", "/api/v1/currency/purchase", For::Oneself),
    ("POST", "/api/v1/webhooks/payment", For::Provider),
    ("POST", "/api/v1/tokens/purchase", For::Oneself),
    ("GET", "/api/v1/tokens/my-tokens", For::Oneself),
    ("PATCH", "/api/v1/tokens/{id}", For::Owner),
    ("DELETE", "/api/v1/tokens/{id}", For::Owner),
    ("POST", "/api/v1/tokens/{id}/extend", For::Owner),
    ("POST", "/api/v1/tokens/{id}/rotate", For::Owner),
    ("POST", "/api/v1/tokens/{id}/open", For::Owner),
    ("POST", "/api/v1/tokens/{id}/release-device", For::Owner),
    ("GET", "/api/v1/tokens/{id}/access", For::Owner),
    ("GET", "/api/v1/bundles/", For::Anyone),
    ("GET", "/api/v1/bundles/{id}", For::Anyone),
    ("POST", "/api/v1/bundles/{id}/purchase", For::Oneself),
    ("POST", "/api/v1/bundles/", For::Superusers),
    ("PATCH", "/api/v1/bundles/{id}", For::Superusers),
    ("DELETE", "/api/v1/bundles/{id}", For::Superusers),
    ("GET", "/api/v1/admin/users", For::Superusers),
    ("PATCH", "/api/v1/admin/users/{id}", For::Superusers),
    ("POST", "/api/v1/admin/users/{id}/password-link", For::Superusers),
    ("DELETE", "/api/v1/admin/users/{id}/login-failures", For::Superusers),
    ("GET", "/api/v1/admin/tokens", For::Superusers),
    ("PATCH", "/api/v1/admin/tokens/{id}", For::Superusers),
    ("DELETE", "/api/v1/admin/tokens/{id}", For::Superusers),
    ("GET", "/api/v1/admin/sessions", For::Superusers),
    ("DELETE", "/api/v1/admin/sessions/{id}", For::Superusers),
    ("GET", "/api/v1/admin/audit-logs", For::Superusers),
    ("GET", "/api/v1/admin/ledger/verify", For::Superusers),
    ("GET", "/api/v1/admin/stats", For::Superusers),
];

/// Where a payer may be sent back to.
const PAGE: &str = "http://localhost:61000/";

/// All rows that are of one person.
const ROWS: &str = "SELECT md5(string_agg(row, E'\\n' ORDER BY row)) FROM (
    SELECT u::text FROM users u WHERE id = '{id}'
    UNION ALL SELECT t::text FROM access_tokens t WHERE user_id = '{id}'
    UNION ALL SELECT c::text FROM credentials c JOIN access_tokens t ON t.id = c.token_id WHERE t.user_id = '{id}'
    UNION ALL SELECT l::text FROM transactions l WHERE user_id = '{id}'
    UNION ALL SELECT m::text FROM payments m WHERE user_id = '{id}'
    UNION ALL SELECT s::text FROM proxy_sessions s WHERE user_id = '{id}'
    UNION ALL SELECT p::text FROM password_links p WHERE user_id = '{id}'
) AS rows (row)";

struct Scene {
    control: Control,
    alice: User,
    token_id: Uuid,
    session_id: Uuid,
    /// On offer to everybody.
    bundle_id: String,
    /// What tells of Alice wherever it stands.
    marks: Vec<String>,
}

impl Scene {
    async fn set() -> Self {
        let control = Control::start_with(MOCK_PAYMENTS).await;
        let alice = control.user("alice").with_credits("100").await;
        let token = alice.buys(24).await;
        let session_id = Uuid::new_v4();
        let session = format!(
            "INSERT INTO proxy_sessions (id, token_id, user_id, device_id, started_at, last_activity)
             VALUES ('{session_id}', '{}', '{}', 'device-of-alice', now(), now())",
            token.id, alice.id
        );
        control.query(&session).await;
        let payment = json!({ "amount_znc": "5", "return_url": PAGE });
        let payment = alice.post("/currency/purchase").json(&payment).answer().await.expect(201);
        let marks =
            [&alice.id, &alice.email, &token.id.to_string(), &token.text[..8], "device-of-alice"].map(str::to_owned);
        let marks = marks.into_iter().chain([session_id.to_string(), text(&payment, "payment_id")]).collect();
        let bundle_id = text(&bundle(&control, "Pro Bundle").await, "id");
        Self { control, alice, token_id: token.id, session_id, bundle_id, marks }
    }

    async fn rows(&self) -> String {
        self.control.query(&ROWS.replace("{id}", &self.alice.id)).await
    }

    /// Makes a call on what is Alice's, or on `other`.
    async fn call(&self, by: Option<&User>, method: &str, path: &str, other: Option<Uuid>) -> Answer {
        let own = match path {
            path if path.contains("/users/{id}") => self.alice.id.clone(),
            path if path.contains("/sessions/{id}") => self.session_id.to_string(),
            path if path.contains("/bundles/{id}") => self.bundle_id.clone(),
            _ => self.token_id.to_string(),
        };
        let id = other.map_or(own, |other| other.to_string());
        let path = path.strip_prefix("/api/v1").expect("a call of the API").replace("{id}", &id);
        let path = if path.ends_with("/access") { format!("{path}?path=/") } else { path };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut call = self.control.api.request(method.clone(), &path);
        if matches!(method, Method::POST | Method::PATCH) {
            let networks = ["192.0.2.1"];
            let body = json!({
                "duration_hours": 1, "amount": 10, "amount_znc": 10, "return_url": PAGE, "allowed_networks": networks,
            });
            call = call.json(&body);
        }
        by.into_iter().fold(call, |call, by| call.bearer_auth(&by.jwt)).answer().await
    }

    fn assert_tells_nothing(&self, answer: &Answer, call: &str) {
        let told = answer.text();
        for mark in &self.marks {
            assert!(!told.contains(mark.as_str()), "{call} tells of another: {told}");
        }
    }
}

#[tokio::test]
async fn every_call_of_the_document_is_in_the_table() {
    let control = Control::start().await;
    let document = control.api.client().get(control.url("/openapi.json")).answer().await.expect(200);
    let mut calls = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        calls.extend(operations.as_object().expect("operations").keys().map(|method| (method.to_uppercase(), path)));
    }
    for (method, path) in &calls {
        let is_known = CALLS.iter().any(|(known, of, _)| known == method && of == path);
        assert!(is_known, "who may call {method} {path}?");
    }
    assert_eq!(calls.len(), CALLS.len());
}

#[tokio::test]
async fn what_is_anothers_is_neither_seen_nor_changed_nor_told_from_what_is_not_there() {
    let scene = Scene::set().await;
    let bob = scene.control.user("bob").await;
    let before = scene.rows().await;
    for (method, path, who) in CALLS {
        let call = format!("{method} {path}");
        // Logged out, Bob could call nothing else.
        if path.ends_with("/logout") || who == For::Anyone {
            continue;
        }
        let answer = scene.call(Some(&bob), method, path, None).await;
        scene.assert_tells_nothing(&answer, &call);
        match who {
            For::Anyone => {}
            For::Oneself => assert!(matches!(answer.status, 200 | 201 | 402), "{call}: {}", answer.status),
            For::Superusers => assert_eq!(answer.status, 403, "{call}"),
            For::Provider => assert_eq!(answer.status, 401, "{call}"),
            For::Owner => {
                let absent = scene.call(Some(&bob), method, path, Some(Uuid::now_v7())).await;
                assert_eq!((answer.status, answer.json()), (404, absent.json()), "{call}");
            }
        }
    }
    assert_eq!(scene.rows().await, before, "something of Alice's changed");
}

#[tokio::test]
async fn without_a_login_nothing_is_seen_or_changed() {
    let scene = Scene::set().await;
    let before = scene.rows().await;
    for (method, path, who) in CALLS {
        let answer = scene.call(None, method, path, None).await;
        let call = format!("{method} {path}");
        scene.assert_tells_nothing(&answer, &call);
        assert_eq!(answer.status == 401, who != For::Anyone, "{call}: {}", answer.status);
    }
    assert_eq!(scene.rows().await, before, "something of Alice's changed");
}

#[tokio::test]
async fn an_admin_sees_what_is_alices_and_no_text_of_a_token() {
    let scene = Scene::set().await;
    let admin = &scene.control.admin;
    for (method, path, who) in CALLS {
        if who != For::Superusers || method != "GET" {
            continue;
        }
        let answer = scene.call(Some(admin), method, path, None).await;
        let told = answer.expect(200).to_string();
        let is_figures = path.ends_with("/verify") || path.ends_with("/stats");
        assert_eq!(scene.marks.iter().any(|mark| told.contains(mark.as_str())), !is_figures, "{path}");
    }
    let tokens = scene.call(Some(admin), "GET", "/api/v1/admin/tokens", None).await.expect(200);
    assert!(tokens["items"][0].get("token").is_none() && text(&tokens["items"][0], "user_email") == scene.alice.email);
}
