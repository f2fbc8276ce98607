//! A WebSocket as a client of the gateway holds it, and how and when it ended.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request},
};

use crate::people::{Edge, Token};

const HEARS_WITHIN: Duration = Duration::from_secs(20);
/// Longer than any token of a test that waits for its end.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// A request of an API client for the stand-in's `/ws/info`, which ticks once at once and then as
/// the query says; a device names itself.
pub fn upgrade(edge: &Edge, token: &Token, device: Option<&str>, query: &str) -> Request {
    let address = format!("{}/ws/info?{query}", edge.url().replace("http:", "ws:"));
    let mut request = address.into_client_request().expect("an address");
    let named = [("x-access-token", Some(token.text.as_str())), ("x-device-id", device)];
    for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    request
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens one; the status where it is refused.
    pub async fn open(request: Request) -> Result<Self, u16> {
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("neither opened nor refused: {error}"),
        }
    }

    /// Opens one that is silent after its first tick.
    pub async fn idle(edge: &Edge, token: &Token, device: Option<&str>) -> anyhow::Result<Self> {
        let opened = Self::open(upgrade(edge, token, device, "every_ms=3600000")).await;
        let mut socket = opened.map_err(|status| anyhow::anyhow!("a WebSocket is refused with {status}"))?;
        socket.next().await;
        Ok(socket)
    }

    /// Whether it still carries messages both ways.
    pub async fn is_open(&mut self) -> bool {
        let text = Message::text("still here");
        self.send(text.clone()).await;
        loop {
            match self.next().await {
                Message::Close(_) => return false,
                message if message == text => return true,
                // A tick that was due meanwhile.
                _ => {}
            }
        }
    }

    /// The next message.
    pub async fn next(&mut self) -> Message {
        let message = tokio::time::timeout(HEARS_WITHIN, self.0.next()).await.expect("a message in time");
        message.expect("a message").expect("a whole message")
    }

    /// The code and the reason of the close frame that ends it.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                let frame = frame.expect("a reason");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.expect("sent");
    }

    /// Reads on until the connection itself is closed, and says how that came.
    pub async fn ended(mut self) -> Ending {
        let (mut close, mut messages) = (None, 0);
        loop {
            match tokio::time::timeout(ENDS_WITHIN, self.0.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(frame))) => {
                    close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => messages += 1,
                // The library answers the close frame while it reads on.
                Some(Err(_)) | None => return Ending { close, at: Instant::now(), messages },
            }
        }
    }
}

/// How a WebSocket ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The code and reason of the close frame; `None` where none came.
    pub close: Option<(u16, String)>,
    /// When the connection was closed.
    pub at: Instant,
    /// Messages that came before.
    pub messages: u64,
}

impl Ending {
    /// Checks with which code and reason it ended.
    #[track_caller]
    pub fn expect(&self, code: u16, reason: &str) {
        assert_eq!(self.close, Some((code, reason.to_owned())), "{self:?}");
    }
}
