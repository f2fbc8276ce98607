//! What is sent arrives as it was sent: byte for byte in the target, line for line in the head, to
//! the end of the trailers.

use std::convert::Infallible;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Body, Frame},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use testbed::{
    clients::{
        http::{Ask, client},
        raw_http::{Wire, WireAnswer},
    },
    people::Token,
    stack::{EdgeStack, Stack},
    upstreams::standin::received,
};
use tokio::net::TcpStream;

struct Sender {
    stack: EdgeStack,
    token: Token,
}

impl Sender {
    async fn start() -> Self {
        let stack = Stack::start_edges().await;
        let token = stack.token().await;
        Self { stack, token }
    }

    /// Sends a request head, with what it needs to be let through, and a body, on a connection of
    /// its own.
    async fn sends(&self, request_line: &str, head: &str, body: &str) -> WireAnswer {
        let edge = self.stack.edge().url();
        let mut wire = Wire::connect(edge).await.expect("a connection");
        let (host, token) = (edge.trim_start_matches("http://"), &self.token.text);
        let request = format!("{request_line} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {token}\r\n{head}\r\n{body}");
        wire.send(request).await.expect("sent");
        wire.answer().await.expect("an answer")
    }

    /// Opens a connection that speaks HTTP/2 at once; its second half must be polled along.
    async fn connects_by_http_2<B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static>(
        &self,
    ) -> (SendRequest<B>, impl Future<Output = hyper::Result<()>>) {
        let authority = self.stack.edge().url().trim_start_matches("http://");
        let tcp = TcpStream::connect(authority).await.expect("a connection");
        http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.expect("HTTP/2")
    }

    async fn echoes(&self, request_line: &str, head: &str, body: &str) -> Value {
        let answer = self.sends(request_line, head, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

#[tokio::test]
async fn paths_and_queries_arrive_byte_for_byte() {
    let sender = Sender::start().await;
    for (path, query) in [
        ("/echo/a%2Fb;c=1/%C3%A4%20x", Some("x=1&x=2&empty=&novalue&y=%20+%2B&%C3%BC=a%26b")),
        ("/echo//double///slashes/", Some("?a=?&b=/../")),
        ("/echo/certificates.js.map", Some("")),
        ("/echo/%zz%", Some("q=%zz&&&=")),
        ("/echo/a%5Cb+c!$'()*,@:~", None),
    ] {
        let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
        let echo = sender.echoes(&format!("GET {target}"), "", "").await;
        assert_eq!(echo["path"], path, "{target}");
        assert_eq!(echo["query"], json!(query), "{target}");
    }
    let below = sender.echoes("GET /api/v1/proxy/echo/a%2Fb?x=%20", "", "").await;
    assert_eq!((&below["path"], &below["query"]), (&json!("/echo/a%2Fb"), &json!("x=%20")));
    sender.stack.finish().await;
}

#[tokio::test]
async fn repeated_headers_arrive_each_in_order() {
    let sender = Sender::start().await;
    let head = "X-Twice: one\r\nX-Other: between\r\nX-Twice: two\r\nX-Twice: one\r\nX-Empty:\r\n";
    let echo = sender.echoes("GET /echo", head, "").await;
    assert_eq!(received(&echo, "x-twice"), ["one", "two", "one"]);
    assert_eq!(received(&echo, "x-other"), ["between"]);
    assert_eq!(received(&echo, "x-empty"), [""]);
    sender.stack.finish().await;
}

#[tokio::test]
async fn every_method_arrives_as_itself() {
    let sender = Sender::start().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let echo = sender.echoes(&format!("{method} /echo"), "Content-Length: 0\r\n", "").await;
        assert_eq!(echo["method"], method);
    }
    let head = sender.stack.edge().with(&sender.token, Method::HEAD, "/download/4096").answer().await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "4096", 0));
    sender.stack.finish().await;
}

#[tokio::test]
async fn empty_bodies_stay_empty_whichever_way_they_are_announced() {
    let sender = Sender::start().await;
    for (line, head, body) in [
        ("POST /echo", "Content-Length: 0\r\n", ""),
        ("POST /echo", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        // What the desktop client makes of every GET.
        ("GET /echo", "Content-Length: 0\r\nContent-Type: application/octet-stream\r\n", ""),
    ] {
        let echo = sender.echoes(line, head, body).await;
        assert_eq!(echo["body_bytes"], 0, "{line} {head}");
    }
    let typed = sender.echoes("POST /echo", "Content-Length: 3\r\nContent-Type: text/x-odd\r\n", "a\0b").await;
    assert_eq!(typed["body"], "a\0b");
    assert_eq!(received(&typed, "content-type"), ["text/x-odd"]);
    sender.stack.finish().await;
}

#[tokio::test]
async fn trailers_cross_in_both_directions() {
    let sender = Sender::start().await;
    let head = "Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n";
    let echo = sender.echoes("POST /echo", head, "5\r\nhello\r\n0\r\nX-Trailer: after\r\n\r\n").await;
    assert_eq!(echo["body"], "hello");
    assert_eq!(echo["trailers"], json!([["x-trailer", "after"]]));

    let request = Request::get(format!("{}/trailers", sender.stack.edge().url()));
    let request = request.header("x-access-token", &sender.token.text).body(Full::<Bytes>::default());
    let (mut library, connection) = sender.connects_by_http_2().await;
    let answer = async move {
        let answer = library.send_request(request.expect("a request")).await.expect("an answer");
        answer.into_body().collect().await.expect("a whole body")
    };
    let (answer, _) = tokio::join!(answer, connection);
    assert_eq!(answer.trailers().expect("trailers")["x-trailer"], "after the body");
    assert_eq!(answer.to_bytes(), "one two three");
    sender.stack.finish().await;
}

#[tokio::test]
async fn http_2_without_tls_is_served_as_well() {
    let sender = Sender::start().await;
    let library = client().http2_prior_knowledge().build().expect("a client");
    let ask = |method, path: &str| {
        let request = library.request(method, format!("{}{path}", sender.stack.edge().url()));
        request.header("X-Access-Token", &sender.token.text)
    };
    let echo = ask(Method::POST, "/echo/a%2Fb?x=1&x=2").body("hello").answer().await.expect(200);
    assert_eq!((&echo["path"], &echo["query"]), (&json!("/echo/a%2Fb"), &json!("x=1&x=2")));
    assert_eq!(echo["body_base64"], STANDARD.encode("hello"));
    assert_eq!(ask(Method::GET, "/users/currentUser").answer().await.status, 200);
    let refused = library.get(format!("{}/", sender.stack.edge().url())).answer().await;
    assert_eq!(refused.status, 401);
    assert_eq!(ask(Method::GET, "/users/currentUser").answer().await.status, 200);
    sender.stack.finish().await;
}

#[tokio::test]
async fn an_empty_last_frame_of_http_2_leaves_the_next_request_alone() {
    let sender = Sender::start().await;
    let edge = sender.stack.edge().url();
    let (mut library, connection) = sender.connects_by_http_2().await;
    let conversation = async {
        for number in 0..20 {
            let frames = ["hello ", "world", ""].map(|data| Ok::<_, Infallible>(Frame::data(Bytes::from(data))));
            let request = Request::post(format!("{edge}/echo?n={number}"))
                .header("x-access-token", &sender.token.text)
                .body(StreamBody::new(stream::iter(frames)))
                .expect("a request");
            let answer = library.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
            let echo: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((&echo["body"], &echo["query"]), (&json!("hello world"), &json!(format!("n={number}"))));
        }
        drop(library);
    };
    let ((), connection) = tokio::join!(conversation, connection);
    connection.expect("a clean end");
    sender.stack.finish().await;
}
