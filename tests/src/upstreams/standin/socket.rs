//! `/ws/info`: a WebSocket that sends a tick at a steady pace and whatever it is sent.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{
    answer::{self, Answer},
    asked::Query,
    bodies::tick_interval,
    seen::Log,
    state::State,
};

const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Accepts an upgrade, and the first subprotocol that it offers.
pub fn answer(state: &State, head: &Parts, upgrade: OnUpgrade, query: &Query<'_>) -> Answer {
    let asks = |name, wanted: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY);
    let is_upgrade = asks(header::CONNECTION, "upgrade") && asks(header::UPGRADE, "websocket");
    let (true, Some(key)) = (is_upgrade, key) else {
        return answer::of(StatusCode::UPGRADE_REQUIRED, "text/plain; charset=utf-8", "This is a WebSocket");
    };
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let offered = head.headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.to_str().ok());
    if let Some(first) = offered.and_then(|offered| offered.split(',').next()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(first.trim()).expect("part of a header"));
    }
    let conversation = converse(state.seen.clone(), upgrade, tick_interval(query));
    let stopped = state.stopped.clone();
    state.tasks.spawn(async move { stopped.run_until_cancelled(conversation).await });
    answer
}

async fn converse(seen: Log, upgrade: OnUpgrade, every: Duration) {
    let Ok(stream) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
    seen.socket_opened();
    let (mut ticks, mut tick) = (tokio::time::interval(every), 0);
    let mut close = None;
    loop {
        let reply = tokio::select! {
            _ = ticks.tick() => {
                tick += 1;
                Message::text(json!({ "tick": tick }).to_string())
            }
            received = socket.next() => match received {
                Some(Ok(Message::Close(frame))) => {
                    close = frame.map(|frame| frame.code.into());
                    // The reply goes out with the next read.
                    let _ = timeout(CLOSES_WITHIN, socket.next()).await;
                    break;
                }
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
                // Pings are answered while reading.
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => break,
            },
        };
        if socket.send(reply).await.is_err() {
            break;
        }
    }
    seen.socket_closed(close);
}
