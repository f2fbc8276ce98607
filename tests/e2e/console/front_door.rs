//! One address for everything: the edge in front of the control API.

use http::Method;
use serde_json::json;
use testbed::{clients::http::Ask, stack::Stack};

#[tokio::test]
async fn the_control_api_is_reached_through_the_edge_by_bearer_and_never_by_cookie() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let edge = stack.edge();
    let login = edge.request(Method::POST, "/api/v1/auth/login");
    let login = login.json(&json!({ "email": alice.email, "password": alice.password })).answer().await.expect(200);
    let jwt = login["access_token"].as_str().expect("a JWT");
    stack.secrets.remember("JWT", jwt);
    assert_eq!((&login["token_type"], &login["expires_in"]), (&json!("bearer"), &json!(3600)));
    let me = edge.get("/api/v1/users/me").bearer_auth(jwt).answer().await.expect(200);
    assert_eq!(me["id"], alice.id.as_str());

    let bought = edge.request(Method::POST, "/api/v1/tokens/purchase").bearer_auth(jwt);
    let bought = bought.json(&json!({ "duration_hours": 1 })).answer().await.expect(201);
    let token = bought["token"].as_str().expect("a text");
    stack.secrets.remember("token", token);
    assert_eq!(edge.get("/certificates/filter").header("X-Access-Token", token).answer().await.status, 200);

    let by_cookie = edge.get("/api/v1/users/me").header("cookie", format!("zenzefi_access_token={token}"));
    let refused = by_cookie.answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (401, "Not authenticated"));
    stack.finish().await;
}

#[tokio::test]
async fn the_documentation_is_served_whole_by_the_program_itself() {
    let stack = Stack::start().await;
    for base in [stack.edge().url(), stack.control.plane.url()] {
        let get = async |path: &str| stack.control.api.client().get(format!("{base}{path}")).answer().await;
        let document = get("/openapi.json").await.expect(200);
        assert!(document["paths"].as_object().is_some_and(|paths| paths.len() >= 10), "{base}");
        for page in ["/docs", "/redoc"] {
            let answer = get(page).await;
            assert_eq!(answer.status, 200, "{base}{page}");
            assert!(answer.header("content-type").starts_with("text/html"), "{base}{page}");
            let page_text = answer.text();
            let is_foreign = |attribute: &str| {
                page_text.contains(&format!("{attribute}=\"http")) || page_text.contains(&format!("{attribute}=\"//"))
            };
            assert!(!is_foreign("src"), "{base}{page} loads from another host");
        }
    }
    stack.finish().await;
}
