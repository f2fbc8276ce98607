//! Whose address a request comes from, and what an address decides.

use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use reqwest::Client;
use serde_json::{Value, json};
use shared::credential::Credential;
use testbed::{actors::Token, client::Ask, client::client, stack::Stack};

/// Where the proxy stands that is trusted, and a client that is not.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const HOME: &str = "198.51.100.7";
const FORWARDED_FOR: &str = "X-Forwarded-For";

/// A client whose connections come from there.
fn at(address: IpAddr) -> Client {
    client().local_address(address).build().expect("a client")
}

async fn whoami(stack: &Stack, from: IpAddr, forwarded_for: &str) -> Value {
    let request = at(from).get(format!("{}/_gateway/whoami", stack.edge().url()));
    request.header(FORWARDED_FOR, forwarded_for).answer().await.expect(200)
}

/// What the upstream was told of the address of whoever asked.
fn forwarded_for(echo: &Value) -> Vec<&str> {
    let pairs = echo["headers"].as_array().expect("pairs");
    pairs.iter().filter(|pair| pair[0] == "x-forwarded-for").filter_map(|pair| pair[1].as_str()).collect()
}

async fn behind_a_proxy() -> Stack {
    let planned = Stack::plan().edge_env("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8");
    planned.edge_env("UNKNOWN_TOKENS_PER_MINUTE", "20").control_env("TRUSTED_PROXIES", "127.0.0.1").start().await
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_names_last_and_what_others_forge_changes_nothing() {
    let mut stack = behind_a_proxy().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    for (from, header, expected) in [
        (PROXY, HOME, HOME),
        (PROXY, "6.6.6.6, 198.51.100.7, 10.1.2.3", HOME),
        (PROXY, "6.6.6.6, nobody", "127.0.0.1"),
        (STRANGER, HOME, "127.0.0.2"),
        (STRANGER, "127.0.0.1", "127.0.0.2"),
    ] {
        assert_eq!(whoami(&stack, from, header).await["address"], expected, "{header} from {from}");
        let echo = at(from).get(format!("{}/echo", stack.edge().url())).header(FORWARDED_FOR, header);
        let echo =
            echo.header("X-Access-Token", &token.text).header("X-Device-ID", "one-device").answer().await.expect(200);
        assert_eq!(forwarded_for(&echo), [expected], "{header} from {from}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_control_api_hears_of_the_client_from_the_edge_alone() {
    let stack = behind_a_proxy().await;
    for (from, expected) in [(PROXY, HOME), (STRANGER, "127.0.0.2")] {
        let agent = format!("agent of {expected}");
        let login = at(from).post(format!("{}/api/v1/auth/login", stack.edge().url()));
        let login = login.header(FORWARDED_FOR, HOME).header("User-Agent", &agent);
        let body = json!({ "email": "nobody@example.com", "password": "a guess" });
        assert_eq!(login.json(&body).answer().await.status, 401);
        let noted = format!("SELECT host(ip_address) FROM audit_logs WHERE user_agent = '{agent}'");
        assert_eq!(stack.database.query(&noted).await.expect("a line"), expected);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_forged_address_gains_no_more_tries_and_each_client_of_a_proxy_has_its_own() {
    let mut stack = behind_a_proxy().await;
    stack.settle().await;
    let mut refused = Vec::new();
    for from in [PROXY, STRANGER] {
        let http = at(from);
        let mut too_many = 0;
        for number in 0..40 {
            let unknown = Credential::generate();
            let request = http.get(stack.edge().url()).header("X-Access-Token", unknown.expose());
            let answer = request.header(FORWARDED_FOR, format!("198.51.100.{number}")).answer().await;
            too_many += usize::from(answer.status == 429);
        }
        refused.push(too_many);
    }
    assert!(refused[0] == 0 && refused[1] >= 15, "{refused:?}");
    stack.finish().await;
}

#[tokio::test]
async fn whoami_tells_what_the_gateway_believes_and_of_a_credential_ids_alone() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let nobody = stack.edge().get("/_gateway/whoami").answer().await;
    let told = nobody.expect(200);
    let host = stack.edge().url().trim_start_matches("http://");
    for (member, expected) in
        [("address", "127.0.0.1"), ("protocol", "http"), ("host", host), ("request_id", nobody.header("x-request-id"))]
    {
        assert_eq!(told[member], expected, "{member}");
    }
    assert_eq!((&told["user_id"], &told["token_id"]), (&Value::Null, &Value::Null));
    let holder = stack.edge().with(&token, Method::GET, "/_gateway/whoami").answer().await;
    assert_eq!((&holder.expect(200)["user_id"], &holder.json()["token_id"]), (&json!(alice.id), &json!(token.id)));
    assert!(!holder.text().contains(&token.text[..12]));
    assert_eq!(stack.edge().with(&Token::stranger(), Method::GET, "/_gateway/whoami").answer().await.status, 401);
    stack.finish().await;
}
