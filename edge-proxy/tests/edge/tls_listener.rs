//! TLS at the edge itself: the certificate for the name, replaced while it is used, and who is sent
//! to https.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use http::Method;
use reqwest::{Client, ClientBuilder, tls::Version};
use testbed::{
    clients::{
        http::{Ask, client, shown_certificate},
        load::Load,
        websocket::{Socket, upgrade},
    },
    eventually,
    people::{Edge, Token},
    processes::{folder::Folder, process::free_port},
    stack::{EdgeStack, Plan, Stack},
    upstreams::standin::Standin,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// Pairs of files with certificates that vouch for themselves.
struct Pairs {
    folder: Folder,
    names: Vec<&'static str>,
}

impl Pairs {
    /// One certificate for each of these names.
    fn of(names: &[&'static str]) -> Self {
        let pairs = Self { folder: Folder::temporary().expect("a folder"), names: names.to_vec() };
        (0..names.len()).for_each(|index| drop(pairs.renew(index)));
        pairs
    }

    fn files(&self, index: usize) -> [PathBuf; 2] {
        ["pem", "key"].map(|kind| self.folder.path().join(format!("{index}.{kind}")))
    }

    /// Replaces a certificate and then its key, as tools do; the certificate.
    fn renew(&self, index: usize) -> Vec<u8> {
        let certified = rcgen::generate_simple_self_signed([self.names[index].to_owned()]).expect("a certificate");
        let [certificate, key] = self.files(index);
        fs::write(certificate, certified.cert.pem()).expect("written");
        fs::write(key, certified.signing_key.serialize_pem()).expect("written");
        certified.cert.der().to_vec()
    }

    /// A stack whose edge shows them at this address, and calls itself by these origins.
    fn plan(&self, listen: SocketAddr, origins: &[String]) -> Plan {
        let paths = |kind: usize| {
            let paths = (0..self.names.len()).map(|index| self.files(index)[kind].to_string_lossy().into_owned());
            paths.collect::<Vec<_>>().join(",")
        };
        Stack::plan()
            .edge_env("EDGE_TLS_LISTEN", &listen.to_string())
            .edge_env("EDGE_TLS_CERT_FILE", &paths(0))
            .edge_env("EDGE_TLS_KEY_FILE", &paths(1))
            .edge_env("PUBLIC_ORIGIN", &origins.join(","))
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port")))
}

async fn shown(listen: SocketAddr, host: &str, builder: ClientBuilder) -> Vec<u8> {
    shown_certificate(listen, host, builder).await.expect("a connection")
}

fn without_pool() -> Client {
    client().http1_only().pool_max_idle_per_host(0).build().expect("a client")
}

async fn token_of(stack: &EdgeStack) -> Token {
    stack.token().await
}

#[tokio::test]
async fn each_host_name_gets_its_own_certificate_by_tls_1_2_and_1_3() {
    let pairs = Pairs::of(&["first.test", "*.second.test", "special.second.test"]);
    let certificates: Vec<Vec<u8>> = (0..3).map(|index| pairs.renew(index)).collect();
    let listen = free_address();
    let stack = pairs.plan(listen, &[format!("https://first.test:{}", listen.port())]).start_edges().await;
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        for (host, index) in [
            ("first.test", 0),
            ("a.second.test", 1),
            ("A.SECOND.test", 1),
            ("special.second.test", 2),
            ("a.b.second.test", 0),
            ("second.test", 0),
            ("other.test", 0),
        ] {
            let builder = client().min_tls_version(version).max_tls_version(version);
            assert!(shown(listen, host, builder).await == certificates[index], "{host}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn certificates_are_replaced_under_load_and_no_request_or_connection_is_lost() {
    let pairs = Pairs::of(&["first.test", "second.test"]);
    let listen = free_address();
    let url = format!("https://{listen}");
    let stack = pairs.plan(listen, std::slice::from_ref(&url)).start_edges().await;
    let tokens: Arc<[Token]> = stack.tokens(4).await.into();
    let kept: [Edge; 1] = [stack.edge().by(&url, client().build().expect("a client"))];
    let anew: [Edge; 1] = [stack.edge().by(&url, without_pool())];
    let mut ticks = kept[0].with(&tokens[0], Method::GET, "/sse?every_ms=50").send().await.expect("a stream");
    let loads = [Load::start(&kept, &tokens, 4, 2), Load::start(&anew, &tokens, 4, 2)];
    for _ in 0..3 {
        let renewed = [pairs.renew(0), pairs.renew(1)];
        for (host, certificate) in ["first.test", "second.test"].into_iter().zip(&renewed) {
            eventually!(shown(listen, host, client()).await, |shown| shown == certificate);
        }
    }
    // Bad ones, in each of the ways in which they can be, leave what was there.
    let good = pairs.renew(0);
    eventually!(shown(listen, "first.test", client()).await, |shown| *shown == good);
    let [certificate, key] = pairs.files(0);
    let log = || fs::read_to_string(stack.edge_planes[0].process().log()).expect("a log");
    let told = || log().matches("the one before it is kept").count();
    for (path, text) in [(&certificate, "no certificate"), (&key, "no key"), (&certificate, "")] {
        let before = told();
        fs::write(path, text).expect("written");
        eventually!(told(), |told| *told > before);
        assert!(shown(listen, "first.test", client()).await == good);
    }
    let renewed = pairs.renew(0);
    eventually!(shown(listen, "first.test", client()).await, |shown| *shown == renewed);
    for load in loads {
        let tally = load.stop().await;
        assert_eq!(tally.total(), tally.of(200), "{tally:?}");
    }
    assert!(ticks.chunk().await.expect("the stream goes on").is_some());
    drop(ticks);
    stack.finish().await;
}

#[tokio::test]
async fn a_websocket_by_tls_carries_long_messages_and_ends_with_a_reason() {
    let pairs = Pairs::of(&["localhost"]);
    let listen = free_address();
    let url = format!("https://{listen}");
    let stack = pairs.plan(listen, std::slice::from_ref(&url)).start_edges().await;
    let token = stack.token().await;
    let secure = stack.edge().by(&url, without_pool());
    let mut asked = secure.with(&token, Method::GET, "/ws/info?every_ms=3600000");
    for (name, value) in [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        asked = asked.header(name, value);
    }
    let opened = asked.send().await.expect("an answer").upgrade().await.expect("an upgrade");
    let mut socket = WebSocketStream::from_raw_socket(opened, Role::Client, None).await;
    socket.next().await.expect("a tick").expect("a whole tick");
    for message in ["short".to_owned(), "long".repeat(1024 * 1024), "short again".to_owned()].map(Message::text) {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(socket.next().await.expect("a message").expect("a whole message"), message);
    }
    stack.revoke(&token).await;
    let Message::Close(Some(close)) = socket.next().await.expect("an end").expect("a close frame") else {
        panic!("something else comes")
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4003, "token revoked"));
    eventually!(stack.standin.sockets(), |sockets| sockets.open == 0 && sockets.last_close == Some(1001));
    stack.finish().await;
}

#[tokio::test]
async fn who_comes_without_tls_is_sent_to_https_but_for_health_and_the_challenges_of_acme() {
    let pairs = Pairs::of(&["localhost"]);
    let listen = free_address();
    let origin = format!("https://{listen}");
    let control = Standin::start_on_free_ports().await.expect("ports");
    let plan = pairs.plan(listen, std::slice::from_ref(&origin)).edge_env("HTTPS_REDIRECT", "true");
    let plan = plan.edge_env("CONTROL_API_URL", &control.http_url()).edge_env("CONSOLE_HOST", "console.test");
    let stack = plan.edge_env("HSTS_SECONDS", "31536000").start_edges().await;
    let token = token_of(&stack).await;
    let plain = stack.edge();
    for (method, path) in
        [(Method::GET, "/a%20b?x=1&y=%2F"), (Method::POST, "/api/v1/proxy/authenticate"), (Method::GET, "/")]
    {
        let answer = plain.with(&token, method, path).answer().await;
        assert_eq!((answer.status, answer.header("location")), (308, format!("{origin}{path}").as_str()));
        assert_eq!(answer.header("strict-transport-security"), "");
    }
    let stranger = plain.get("/").header("Host", "elsewhere.test").answer().await;
    assert_eq!(stranger.status, 421);
    let refused = Socket::open(upgrade(plain, &token, None, "")).await.expect_err("refused");
    assert_eq!(refused, 426);
    // By the host that it serves, as on the ports of the two schemes.
    let health = plain.get("/health").header("Host", listen.to_string()).answer().await;
    assert_eq!(health.status, 200);
    let console = plain.get("/health").header("Host", "console.test").answer().await;
    assert_eq!((console.status, console.header("location")), (308, "https://console.test/health"));
    let challenge = plain.get("/.well-known/acme-challenge/x").header("Host", listen.to_string()).answer().await;
    assert_ne!(challenge.status, 308);

    for (version, library) in [("HTTP/1.1", client().http1_only()), ("HTTP/2.0", client())] {
        let secure = plain.by(&origin, library.build().expect("a client"));
        let answer = secure.with(&token, Method::GET, "/echo").send().await.expect("an answer");
        assert_eq!((format!("{:?}", answer.version()).as_str(), answer.status().as_u16()), (version, 200));
        for path in ["/status/200?header=Strict-Transport-Security:max-age=1", "/health", "/nothing%2f.."] {
            let answer = secure.with(&token, Method::GET, path).answer().await;
            assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        }
    }
    let library = client().http1_only().build().expect("a client");
    let console = plain.by(&origin, library).get("/openapi.json").header("Host", "console.test").answer().await;
    assert_eq!(console.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(control.seen("/openapi.json").requests, 1);
    stack.finish().await;
}
