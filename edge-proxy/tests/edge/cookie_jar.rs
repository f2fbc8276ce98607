//! An unmodified HTTP library that keeps cookies: sign in, use, look, sign out.

use reqwest::Client;
use serde_json::json;
use testbed::{
    clients::http::{Ask, client},
    stack::Stack,
};

fn library_with_a_cookie_jar() -> Client {
    client().cookie_store(true).build().expect("a client")
}

#[tokio::test]
async fn a_cookie_jar_carries_a_session_from_sign_in_to_sign_out() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let (library, edge) = (library_with_a_cookie_jar(), stack.edge().url());

    let signed_in = library.post(format!("{edge}/api/v1/proxy/authenticate")).json(&json!({ "token": token.text }));
    let signed_in = signed_in.answer().await;
    let body = signed_in.expect(200);
    assert_eq!(body["authenticated"], true);
    assert_eq!(body["cookie_set"], true);
    assert_eq!(body["user_id"], stack.control.user_id.to_string());
    assert_eq!(body["token_id"], token.id.to_string());
    assert_eq!(body["is_activated"], false);
    assert!(body["expires_at"].is_null(), "{body}");
    assert_eq!(body["cookie_max_age"], 86_400);
    assert_eq!(body["time_remaining_seconds"], 86_400);
    let cookie = signed_in.header("set-cookie").to_owned();
    for attribute in ["HttpOnly", "Path=/", "Max-Age=86400", "SameSite=Lax"] {
        assert!(cookie.split("; ").any(|given| given.eq_ignore_ascii_case(attribute)), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP a browser would drop a Secure cookie");

    let page = library.get(format!("{edge}/certificates/filter")).answer().await.expect(200);
    assert_eq!(page["total"], 4);
    let status = library.get(format!("{edge}/api/v1/proxy/status")).answer().await.expect(200);
    assert_eq!(status["authenticated_via"], "cookie");
    assert_eq!(status["status"], "active");

    let signed_out = library.delete(format!("{edge}/api/v1/proxy/logout")).answer().await.expect(200);
    assert_eq!(signed_out, json!({ "logged_out": true, "message": "Cookie deleted successfully" }));
    assert_eq!(library.get(format!("{edge}/certificates/filter")).answer().await.status, 401);
    assert_eq!(library.get(format!("{edge}/api/v1/proxy/status")).answer().await.status, 401);
    stack.finish().await;
}

#[tokio::test]
async fn each_cookie_of_the_upstream_stays_its_own_line_and_comes_back_to_it() {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    let (library, edge) = (library_with_a_cookie_jar(), stack.edge().url());
    let sign_in = library.post(format!("{edge}/api/v1/proxy/authenticate")).json(&json!({ "token": token.text }));
    sign_in.answer().await.expect(200);

    let set = library.get(format!("{edge}/cookies")).answer().await;
    let lines: Vec<&str> = set.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("Expires=Wed, 21 Oct 2065 07:28:00 GMT")), "{lines:?}");

    let echo = library.get(format!("{edge}/echo")).answer().await.expect(200);
    let sent = echo["headers"].as_array().expect("pairs").iter().filter(|pair| pair[0] == "cookie");
    let sent: Vec<&str> = sent.filter_map(|pair| pair[1].as_str()).collect();
    let sent = sent.join("; ");
    for cookie in ["zenzefi_session=4711", "zenzefi_theme=dark", "zenzefi_region=eu"] {
        assert!(sent.contains(cookie), "{cookie} in {sent}");
    }
    assert!(!sent.contains("zenzefi_access_token"), "the gateway's own cookie reached the upstream");
    stack.finish().await;
}
