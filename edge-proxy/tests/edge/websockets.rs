//! WebSockets through the edge's own tunnel: opened like any request, ended with a reason.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Method, header};
use serde_json::json;
use testbed::{
    clients::{http::Ask, raw_http::Wire},
    eventually,
    people::Token,
    stack::{EdgeStack, Stack},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request, protocol::Role},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A request to upgrade; ticks come once an hour unless the query says otherwise, so that echoes
/// come alone.
fn upgrade(stack: &EdgeStack, query: &str) -> Request {
    let address = format!("{}/ws/info?{query}", stack.edge().url().replace("http:", "ws:"));
    address.into_client_request().expect("an address")
}

fn with_cookie(mut request: Request, token: &Token) -> Request {
    let cookie = format!("zenzefi_access_token={}", token.text);
    request.headers_mut().insert(header::COOKIE, cookie.parse().expect("a value"));
    request
}

async fn next(socket: &mut Socket) -> Message {
    let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a message in time");
    message.expect("a message").expect("a whole message")
}

async fn next_close(socket: &mut Socket) -> (u16, String) {
    loop {
        if let Message::Close(frame) = next(socket).await {
            let frame = frame.expect("a reason");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

async fn refused_with(request: Request) -> u16 {
    match connect_async(request).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

async fn stack_with_token() -> (EdgeStack, Token) {
    let stack = Stack::start_edges().await;
    let token = stack.token().await;
    (stack, token)
}

#[tokio::test]
async fn a_websocket_ticks_and_echoes_by_cookie_and_by_query() {
    let (stack, token) = stack_with_token().await;
    let by_query = upgrade(&stack, &format!("every_ms=20&token={}", token.text));
    for request in [with_cookie(upgrade(&stack, "every_ms=20"), &token), by_query] {
        let (mut socket, answer) = connect_async(request).await.expect("an upgrade");
        assert_eq!(answer.status(), 101);
        let mut ticks = 0;
        while ticks < 3 {
            let Message::Text(text) = next(&mut socket).await else { panic!("no text") };
            ticks += 1;
            assert_eq!(text.as_str(), json!({ "tick": ticks }).to_string());
        }
        socket.close(None).await.expect("a close");
    }
    let mut quiet = with_cookie(upgrade(&stack, "every_ms=600000"), &token);
    quiet.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, "v1.zenzefi".parse().expect("a value"));
    let (mut socket, answer) = connect_async(quiet).await.expect("an upgrade");
    assert_eq!(answer.headers()[header::SEC_WEBSOCKET_PROTOCOL], "v1.zenzefi");
    next(&mut socket).await;
    let long = "x".repeat(3 * 1024 * 1024);
    for message in [Message::text("hällo"), Message::binary(vec![0, 255, 1]), Message::text(long)] {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(next(&mut socket).await, message);
    }
    socket.close(None).await.expect("a close");
    drop(socket);
    eventually!(stack.standin.sockets(), |sockets| sockets.opened == 3 && sockets.open == 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_refused_upgrade_answers_a_status_and_never_a_redirect() {
    let (stack, token) = stack_with_token().await;
    assert_eq!(refused_with(upgrade(&stack, "")).await, 401);
    let mut foreign = with_cookie(upgrade(&stack, ""), &token);
    foreign.headers_mut().insert(header::ORIGIN, "https://evil.example".parse().expect("a value"));
    assert_eq!(refused_with(foreign).await, 403);
    let address = format!("{}/users/currentUser", stack.edge().url().replace("http:", "ws:"));
    let not_a_socket = with_cookie(address.into_client_request().expect("an address"), &token);
    assert_eq!(refused_with(not_a_socket).await, 200);
    assert_eq!(stack.standin.sockets().opened, 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_half_hearted_upgrade_is_a_plain_get() {
    let (stack, token) = stack_with_token().await;
    let mut wire = Wire::connect(stack.edge().url()).await.expect("a connection");
    let host = stack.edge().url().trim_start_matches("http://");
    // As the desktop client sends it: no `Connection: upgrade`.
    let head = format!(
        "GET /api/v1/proxy/ws/info HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nX-Access-Token: {}\r\n\r\n",
        token.text
    );
    wire.send(head).await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 426);
    stack.finish().await;
}

#[tokio::test]
async fn a_revoked_token_ends_its_websocket_with_4003_and_the_upstreams_side_with_1001() {
    let (stack, token) = stack_with_token().await;
    let (mut socket, _) = connect_async(with_cookie(upgrade(&stack, "every_ms=20"), &token)).await.expect("an upgrade");
    next(&mut socket).await;
    stack.revoke(&token).await;
    assert_eq!(next_close(&mut socket).await, (4003, "token revoked".to_owned()));
    eventually!(stack.standin.sockets(), |sockets| sockets.open == 0 && sockets.last_close == Some(1001));
    stack.finish().await;
}

#[tokio::test]
async fn a_stopping_edge_ends_its_websockets_with_1001() {
    let (mut stack, token) = stack_with_token().await;
    let (mut socket, _) = connect_async(with_cookie(upgrade(&stack, "every_ms=20"), &token)).await.expect("an upgrade");
    next(&mut socket).await;
    let (stopped, (code, _)) = tokio::join!(stack.edge_planes[0].stop(), next_close(&mut socket));
    assert!(stopped.expect("a graceful stop").success());
    assert_eq!(code, 1001);
    stack.finish().await;
}

#[tokio::test]
async fn a_websocket_counts_as_the_first_use_of_its_token() {
    let (stack, token) = stack_with_token().await;
    let (mut socket, _) = connect_async(with_cookie(upgrade(&stack, ""), &token)).await.expect("an upgrade");
    next(&mut socket).await;
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
    assert_eq!(status["status"], "active");
    drop(socket);
    stack.finish().await;
}

/// A frame of text as a client sends it, under a mask that changes nothing.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a medium one").to_be_bytes();
    [&[0x81, 0x80 | 126][..], &length, &[0; 4], text.as_bytes()].concat()
}

#[tokio::test]
async fn frames_that_come_with_the_upgrade_arrive_once_each() {
    let (stack, token) = stack_with_token().await;
    let host = stack.edge().url().trim_start_matches("http://");
    let head = format!(
        "GET /ws/info?every_ms=3600000 HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token.text
    );
    let texts = ["at once".repeat(30), "x".repeat(60_000), "y".repeat(300)];
    let frames: Vec<u8> = texts.iter().flat_map(|text| text_frame(text)).collect();
    // Whole frames, and one of which the rest comes after the answer.
    for sent_at_once in [text_frame(&texts[0]).len(), 1_000, frames.len()] {
        let mut stream = TcpStream::connect(host).await.expect("a connection");
        stream.write_all(&[head.as_bytes(), &frames[..sent_at_once]].concat()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
        stream.write_all(&frames[sent_at_once..]).await.expect("sent");
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut heard = Vec::new();
        while heard.len() < texts.len() {
            match socket.next().await.expect("a message").expect("a whole message") {
                Message::Text(text) if text.contains("tick") => {}
                Message::Text(text) => heard.push(text.to_string()),
                message => panic!("{message:?}"),
            }
        }
        assert_eq!(heard, texts);
    }
    eventually!(stack.standin.sockets(), |sockets| sockets.opened == 3 && sockets.open == 0);
    stack.finish().await;
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_reads_on_does_not_stop_the_other_direction() {
    let (stack, token) = stack_with_token().await;
    let request = with_cookie(upgrade(&stack, "every_ms=3600000"), &token);
    let (socket, _) = connect_async(request).await.expect("an upgrade");
    let (mut sender, mut receiver) = socket.split();
    // More than all buffers on the way hold, sent and read at the same time.
    let message = Message::binary(vec![7; 256 * 1024]);
    const MESSAGES: usize = 200;
    let send = async {
        for _ in 0..MESSAGES {
            sender.send(message.clone()).await.expect("a send");
        }
    };
    let receive = async {
        let mut echoed = 0;
        while echoed < MESSAGES {
            if let Some(Ok(Message::Binary(bytes))) = receiver.next().await {
                assert_eq!(bytes.len(), 256 * 1024);
                echoed += 1;
            }
        }
    };
    let both = async { tokio::join!(send, receive) };
    tokio::time::timeout(Duration::from_secs(120), both).await.expect("both directions in time");
    stack.finish().await;
}
