//! Whose address a request comes from, and what an address decides.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use http::Method;
use reqwest::Client;
use serde_json::{Value, json};
use shared::token::credential::Credential;
use testbed::{
    clients::http::{Ask, client},
    people::Token,
    processes::{folder::Folder, process::free_port},
    stack::Stack,
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

/// Where the proxy stands that is trusted, and a client that is not.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Where a load balancer stands that introduces connections.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
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

/// What the upstream was told of the client's address.
fn forwarded_for(echo: &Value) -> Vec<&str> {
    let pairs = echo["headers"].as_array().expect("pairs");
    pairs.iter().filter(|pair| pair[0] == "x-forwarded-for").filter_map(|pair| pair[1].as_str()).collect()
}

async fn behind_a_proxy() -> Stack {
    let planned = Stack::plan().edge_env("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8");
    planned.edge_env("UNKNOWN_TOKENS_PER_MINUTE", "20").control_env("TRUSTED_PROXIES", "127.0.0.1").start().await
}

#[tokio::test]
async fn the_client_is_the_one_a_trusted_proxy_names_last_and_forged_entries_are_ignored() {
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
        assert_eq!(stack.control.database.query(&noted).await.expect("a line"), expected);
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

/// Passes bytes on from `listen` to the edge, over connections that come from `address` and begin
/// with these bytes, until it is shut down.
async fn balance(listen: u16, edge: SocketAddr, address: IpAddr, introduction: &'static [u8]) -> JoinSet<()> {
    let listener = TcpListener::bind(("127.0.0.1", listen)).await.expect("a listener");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.bind(SocketAddr::new(address, 0)).expect("an address");
                let mut edge = socket.connect(edge).await.expect("a connection");
                edge.write_all(introduction).await.expect("a write");
                // The first to end it, ends it.
                let _ = copy_bidirectional(&mut client, &mut edge).await;
            });
        }
    });
    tasks
}

const TEXTUAL: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 51000 443\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\xc7\x38\x01\xbb";

#[tokio::test]
async fn only_a_trusted_proxy_names_the_client_by_the_proxy_protocol() {
    let folder = Folder::temporary().expect("a folder");
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let [certificate, key] = ["edge.pem", "edge.key"].map(|name| folder.path().join(name));
    fs::write(&certificate, certified.cert.pem()).expect("written");
    fs::write(&key, certified.signing_key.serialize_pem()).expect("written");
    let [tls_port, balanced] = [(); 2].map(|()| free_port().expect("a port"));
    let stack = Stack::plan()
        .edge_env("PROXY_PROTOCOL", "true")
        .edge_env("TRUSTED_PROXIES", &BALANCER.to_string())
        .edge_env("PUBLIC_ORIGIN", &format!("http://127.0.0.1:{balanced},https://127.0.0.1:{balanced}"))
        .edge_env("EDGE_TLS_LISTEN", &format!("127.0.0.1:{tls_port}"))
        .edge_env("EDGE_TLS_CERT_FILE", &certificate.to_string_lossy())
        .edge_env("EDGE_TLS_KEY_FILE", &key.to_string_lossy())
        .start()
        .await;
    let plain: SocketAddr = stack.edge().url().trim_start_matches("http://").parse().expect("an address");
    let tls = SocketAddr::new(plain.ip(), tls_port);
    // Whom the edge takes a client for that comes by `scheme` over connections from `address` that
    // begin with these bytes.
    let heard = async |library: reqwest::ClientBuilder, scheme: &str, address: IpAddr, introduction: &'static [u8]| {
        let edge = if scheme == "https" { tls } else { plain };
        let mut balancer = balance(balanced, edge, address, introduction).await;
        let request =
            library.build().expect("a client").get(format!("{scheme}://127.0.0.1:{balanced}/_gateway/whoami"));
        let answer = request.header(FORWARDED_FOR, "6.6.6.6").try_answer().await;
        balancer.shutdown().await;
        let told = answer.ok().filter(|answer| answer.status == 200)?.json();
        Some(told["address"].as_str().unwrap_or_default().to_owned())
    };
    for introduction in [TEXTUAL, BINARY] {
        for (library, scheme) in [
            (client().http1_only(), "http"),
            (client().http2_prior_knowledge(), "http"),
            (client().http1_only(), "https"),
            (client(), "https"),
        ] {
            assert_eq!(heard(library, scheme, BALANCER, introduction).await.as_deref(), Some(HOME), "by {scheme}");
        }
        for scheme in ["http", "https"] {
            assert_eq!(heard(client().http1_only(), scheme, STRANGER, introduction).await, None, "by {scheme}");
        }
    }
    for scheme in ["http", "https"] {
        for (address, expected) in [(BALANCER, None), (STRANGER, Some("127.0.0.2"))] {
            let told = heard(client().http1_only(), scheme, address, b"").await;
            assert_eq!(told.as_deref(), expected, "{address} by {scheme}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_client_that_is_denied_or_not_allowed_gets_only_the_health_of_either_plane() {
    let mut planned = Stack::plan();
    for (name, value) in [("ALLOWED_ADDRESSES", "127.0.0.0/8"), ("DENIED_ADDRESSES", "127.0.0.2, 198.51.100.0/24")] {
        planned = planned.edge_env(name, value).control_env(name, value);
    }
    planned = planned.edge_env("TRUSTED_PROXIES", "127.0.0.1").control_env("TRUSTED_PROXIES", "127.0.0.1");
    let mut stack = planned.start().await;
    stack.settle().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    for (from, header, admitted) in [
        (PROXY, None, true),
        (BALANCER, Some(HOME), true),
        (STRANGER, None, false),
        (PROXY, Some(HOME), false),
        (PROXY, Some("203.0.113.9"), false),
    ] {
        let get = async |origin: &str, path: &str| {
            let request = at(from).get(format!("{origin}{path}")).header("X-Access-Token", &token.text);
            let request = request.header("X-Device-ID", "one-device");
            header.iter().fold(request, |request, header| request.header(FORWARDED_FOR, *header)).answer().await
        };
        let (edge, control) = (stack.edge().url(), stack.control.plane.url());
        for (origin, path) in [(edge, "/echo"), (edge, "/_gateway/sign-in"), (edge, "/docs"), (control, "/docs")] {
            let answer = get(origin, path).await;
            assert_eq!(answer.status, if admitted { 200 } else { 403 }, "{path} from {from}, {header:?}");
            if !admitted {
                assert_eq!(answer.problem(), "Access from this address is not allowed");
            }
        }
        for origin in [edge, control] {
            assert_eq!(get(origin, "/health").await.status, 200);
        }
    }
    stack.finish().await;
}
