//! Every way in and every way on: TLS or not, HTTP/1.1 or HTTP/2, a certificate that is trusted or
//! not.

use std::fs;

use http::Method;
use serde_json::json;
use testbed::{
    clients::{
        http::{Ask, client},
        raw_http::Wire,
        tls::Authority,
        websocket::Socket,
    },
    eventually,
    people::Token,
    processes::{folder::Folder, process::free_port},
    stack::{EdgeStack, Stack, Upstream},
    upstreams::standin::Standin,
};

async fn token_of(stack: &EdgeStack) -> Token {
    stack.token().await
}

#[tokio::test]
async fn an_upstream_is_reached_by_http_2_over_tls_and_by_http_1_without() {
    for (upstream, version) in [(Upstream::Unverified, "HTTP/2.0"), (Upstream::Plain, "HTTP/1.1")] {
        let stack = Stack::plan().upstream(upstream).start_edges().await;
        let token = token_of(&stack).await;
        let request = stack.edge().with(&token, Method::POST, "/echo/a%2Fb?x=1&x=%20").body("hello");
        let echo = request.header("x-twice", "1").header("x-twice", "2").answer().await.expect(200);
        assert_eq!(echo["version"], version);
        assert_eq!((&echo["path"], &echo["query"]), (&json!("/echo/a%2Fb"), &json!("x=1&x=%20")));
        assert_eq!(echo["body"], "hello");
        let twice = echo["headers"].as_array().expect("pairs").iter().filter(|pair| pair[0] == "x-twice");
        assert_eq!(twice.map(|pair| pair[1].clone()).collect::<Vec<_>>(), ["1", "2"]);
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    for upstream in [Upstream::Unverified, Upstream::Plain] {
        let stack = Stack::plan().upstream(upstream).start_edges().await;
        let token = token_of(&stack).await;
        let url = stack.edge().url();
        let host = url.trim_start_matches("http://");
        for path in ["/page", "/sse?every_ms=1&count=3"] {
            let cookie = format!("zenzefi_access_token={}", token.text);
            let mut wire = Wire::connect(url).await.expect("a connection");
            let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
            wire.send(request).await.expect("sent");
            let answer = wire.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.header("transfer-encoding")), (200, ""), "{path}");
            let ends = if path == "/page" { "</html>\n" } else { "\"tick\":3}\n\n" };
            assert!(answer.body.ends_with(ends.as_bytes()), "{}", answer.body.escape_ascii());
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_self_signed_upstream_is_trusted_only_where_its_certificate_is_pinned() {
    let pinned = Stack::plan().upstream(Upstream::Pinned).start_edges().await;
    let token = token_of(&pinned).await;
    assert_eq!(pinned.edge().status_for(&token, "/users/currentUser").await, 200);
    pinned.finish().await;

    let mut verified = Stack::plan().upstream(Upstream::Verified).start_edges().await;
    let token = token_of(&verified).await;
    verified.announce(502);
    assert_eq!(verified.edge().status_for(&token, "/users/currentUser").await, 502);
    assert_eq!(verified.standin.seen("/users/currentUser").requests, 0);
    verified.finish().await;
}

#[tokio::test]
async fn an_upstream_that_asks_gets_a_certificate_and_the_next_one_once_it_is_replaced() {
    let (authority, other) = (Authority::create().expect("keys"), Authority::create().expect("keys"));
    let standin = Standin::start_for_clients_of(&authority).await.expect("a stand-in");
    let folder = Folder::temporary().expect("a folder");
    let [certificate, key] = ["client.pem", "client.key"].map(|name| folder.path().join(name));
    let give = |(certificate_pem, key_pem)| {
        fs::write(&certificate, certificate_pem as String).expect("written");
        fs::write(&key, key_pem as String).expect("written");
    };
    give(other.vouches_for("edge.test").expect("a certificate"));
    let mut stack = Stack::plan()
        .edge_env("ZENZEFI_URL", &standin.url())
        .edge_env("ZENZEFI_CLIENT_CERT_FILE", &certificate.to_string_lossy())
        .edge_env("ZENZEFI_CLIENT_KEY_FILE", &key.to_string_lossy())
        .start_edges()
        .await;
    stack.announce(502);
    let token = token_of(&stack).await;
    assert_eq!(stack.edge().status_for(&token, "/users/currentUser").await, 502);
    give(authority.vouches_for("edge.test").expect("a certificate"));
    eventually!(stack.edge().status_for(&token, "/users/currentUser").await, |status| *status == 200);
    let mut socket = Socket::idle(stack.edge(), &token, None).await.expect("a WebSocket");
    assert!(socket.is_open().await);
    assert_eq!(stack.edge().status_for(&token, "/users/currentUser").await, 200);
    drop(socket);
    stack.finish().await;
}

#[tokio::test]
async fn the_edge_serves_tls_itself_and_marks_its_cookie_secure_then() {
    let folder = Folder::temporary().expect("a folder");
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let [certificate, key] = ["edge.pem", "edge.key"].map(|name| folder.path().join(name));
    fs::write(&certificate, certified.cert.pem()).expect("written");
    fs::write(&key, certified.signing_key.serialize_pem()).expect("written");
    let listen = format!("127.0.0.1:{}", free_port().expect("a port"));
    let stack = Stack::plan()
        .edge_env("EDGE_TLS_LISTEN", &listen)
        .edge_env("EDGE_TLS_CERT_FILE", &certificate.to_string_lossy())
        .edge_env("EDGE_TLS_KEY_FILE", &key.to_string_lossy())
        .edge_env("PUBLIC_ORIGIN", &format!("https://{listen}"))
        .start_edges()
        .await;
    let token = token_of(&stack).await;
    for (version, library) in [("HTTP/1.1", client().http1_only()), ("HTTP/2.0", client())] {
        let library = library.build().expect("a client");
        let request = library.get(format!("https://{listen}/echo")).header("X-Access-Token", &token.text);
        let answer = request.send().await.expect("an answer");
        assert_eq!(format!("{:?}", answer.version()), version);
        let echo: serde_json::Value = answer.json().await.expect("JSON");
        let proto = echo["headers"].as_array().expect("pairs").iter().find(|pair| pair[0] == "x-forwarded-proto");
        assert_eq!(proto.map(|pair| &pair[1]), Some(&json!("https")));
        let sign_in = library.post(format!("https://{listen}/api/v1/proxy/authenticate"));
        let signed_in = sign_in.json(&json!({ "token": token.text })).answer().await;
        assert!(signed_in.header("set-cookie").contains("; Secure"), "{:?}", signed_in.headers);
    }
    stack.finish().await;
}
