//! Logging in and out, and every JWT that is refused.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use testbed::{
    clients::http::{Answer, Ask},
    people::{User, text},
};

use crate::harness::{Control, SECRET_KEY};

async fn me_with(control: &Control, jwt: &str) -> Answer {
    control.api.request(Method::GET, "/users/me").bearer_auth(jwt).answer().await
}

fn claims(jwt: &str) -> Value {
    let body = jwt.split('.').nth(1).expect("a body");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn a_login_gives_a_bearer_jwt_with_the_claims_that_clients_read() {
    let control = Control::start_with([("ACCESS_TOKEN_EXPIRE_MINUTES", "5")]).await;
    let alice = control.user("alice").await;
    let login = control.api.tries_to_log_in("alice@example.com", &alice.password).await.expect(200);
    assert_eq!((&login["token_type"], &login["expires_in"]), (&json!("bearer"), &json!(300)));
    let claims = claims(&text(&login, "access_token"));
    assert_eq!((&claims["sub"], &claims["username"]), (&json!(alice.id), &json!("alice")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert!(claims["jti"].is_string() && claims["epoch"].is_i64());
}

#[tokio::test]
async fn a_wrong_password_an_unknown_e_mail_and_a_disabled_user_look_the_same() {
    let control = Control::start().await;
    let (alice, bob) = (control.user("alice").await, control.user("bob").await);
    control.admin.changes(&bob, &json!({ "is_active": false })).await.expect(200);
    let refusals = [
        control.api.tries_to_log_in(&alice.email, "wrong password").await,
        control.api.tries_to_log_in("nobody@example.com", "wrong password").await,
        control.api.tries_to_log_in(&bob.email, &bob.password).await,
    ];
    for refused in refusals {
        assert_eq!((refused.status, refused.problem().as_str()), (401, "Incorrect email or password"));
    }
}

#[tokio::test]
async fn no_credentials_and_bad_credentials_are_told_apart() {
    let control = Control::start().await;
    let none = control.api.request(Method::GET, "/users/me").answer().await;
    assert_eq!((none.status, none.problem().as_str()), (401, "Not authenticated"));
    assert_eq!(none.header("www-authenticate"), "Bearer");
    for scheme in ["Basic YTpi", "nonsense", ""] {
        let other = control.api.request(Method::GET, "/users/me").header("authorization", scheme).answer().await;
        assert_eq!((other.status, other.problem().as_str()), (401, "Not authenticated"), "{scheme}");
    }
    let bad = me_with(&control, "not.a.jwt").await;
    assert_eq!((bad.status, bad.problem().as_str()), (401, "Could not validate credentials"));
    assert_eq!(bad.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn a_jwt_that_was_not_signed_here_with_hs256_is_refused() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let claims = claims(&alice.jwt);
    let signed = |claims: &Value, algorithm: Algorithm, key: &str| {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key.as_bytes())).expect("a JWT")
    };
    me_with(&control, &signed(&claims, Algorithm::HS256, SECRET_KEY)).await.expect(200);

    let changed = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        signed(&changed, Algorithm::HS256, SECRET_KEY)
    };
    let without_expiry = {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove("exp");
        signed(&changed, Algorithm::HS256, SECRET_KEY)
    };
    let body = alice.jwt.split('.').nth(1).unwrap();
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let refused = [
        format!("{unsigned}.{body}."),
        signed(&claims, Algorithm::HS512, SECRET_KEY),
        signed(&claims, Algorithm::HS256, "another key of thirty-two bytes!!"),
        changed("exp", json!(1)),
        changed("epoch", json!(-1)),
        changed("epoch", json!(7)),
        changed("sub", json!("00000000-0000-0000-0000-000000000000")),
        changed("sub", json!("not a UUID")),
        without_expiry,
    ];
    for jwt in refused {
        let answer = me_with(&control, &jwt).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "Could not validate credentials"), "{jwt}");
    }
}

#[tokio::test]
async fn a_logout_ends_one_jwt_or_all_of_them() {
    let control = Control::start().await;
    let here = control.user("alice").await;
    let [there, elsewhere]: [User; 2] = [
        control.api.logs_in(&here.email, &here.password).await,
        control.api.logs_in(&here.email, &here.password).await,
    ];
    let anonymous = control.api.request(Method::POST, "/auth/logout?all=x").answer().await;
    assert_eq!((anonymous.status, anonymous.problem().as_str()), (401, "Not authenticated"));
    here.post("/auth/logout").answer().await.expect(200);
    assert_eq!(me_with(&control, &here.jwt).await.problem(), "Could not validate credentials");
    me_with(&control, &there.jwt).await.expect(200);
    there.post("/auth/logout?all=true").answer().await.expect(200);
    for ended in [&there, &elsewhere] {
        assert_eq!(me_with(&control, &ended.jwt).await.status, 401);
    }
    control.api.logs_in(&here.email, &here.password).await;
}

#[tokio::test]
async fn a_disabled_user_is_told_so_and_the_jwt_stays_ended_when_they_are_enabled() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    let refused = me_with(&control, &alice.jwt).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "Inactive user"));
    control.admin.changes(&alice, &json!({ "is_active": true })).await.expect(200);
    assert_eq!(me_with(&control, &alice.jwt).await.status, 401);
    control.api.logs_in(&alice.email, &alice.password).await;
}
