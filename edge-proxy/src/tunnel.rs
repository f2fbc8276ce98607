//! The WebSocket: passed on byte for byte in both directions, and ended with a close frame between two frames when its grant
//! ends or the edge shuts down. Pingora's own way with upgrades loses some of them (cloudflare/pingora#946), so this takes the
//! connection over in `request_filter` and speaks to the upstream itself.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::{
    http::RequestHeader,
    protocols::http::{HttpTask, v1::client::HttpSession as UpstreamSession},
    proxy::Session,
};
use uuid::Uuid;

use crate::{
    Edge,
    admit::Denied,
    exchange, forward,
    frames::{self, Boundary},
    held::Ending,
    request::{Admitted, Request, RequestCtx},
};

/// How long a peer may take to let a tunnel end gently.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a close frame says.
#[derive(Clone, Copy)]
struct Close {
    code: u16,
    reason: &'static str,
}

impl Close {
    const GOING_AWAY: Self = Self { code: 1001, reason: "going away" };

    fn of(ending: Ending) -> Self {
        match ending {
            Ending::Expired => Self { code: 4001, reason: "token expired" },
            Ending::Revoked => Self { code: 4003, reason: "token revoked" },
            Ending::Suspended => Self { code: 4004, reason: "account suspended" },
        }
    }
}

/// Opens the WebSocket at the upstream and carries it until either side, its grant or the edge ends it. `Err` only while the
/// client can still be answered.
pub async fn run(edge: &Edge, session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Denied> {
    let (request, admitted) = match (&ctx.request, ctx.admitted()) {
        (Some(request), Some(admitted)) => (request.clone(), admitted.clone()),
        _ => return Err(Denied::Fault),
    };
    let mut upstream = exchange::connect(edge).await?;
    let head = handshake(session.req_header(), &request, &admitted, edge).map_err(|_| Denied::Fault)?;
    upstream.write_request_header(Box::new(head)).await.map_err(|_| Denied::UpstreamUnreachable)?;
    let status = exchange::answer(edge, session, &mut upstream, ctx).await?;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        exchange::pass_body(session, &mut upstream, ctx).await;
        return Ok(());
    }
    upstream.maybe_upgrade_body_writer();
    session.set_read_timeout(None);
    edge.metrics.open_websockets.inc();
    let tunnel = Tunnel { session, upstream, ctx, to_client: Boundary::default(), to_upstream: Boundary::default() };
    tunnel.carry(edge, &admitted).await;
    edge.metrics.open_websockets.dec();
    Ok(())
}

fn handshake(
    head: &RequestHeader,
    request: &Request,
    admitted: &Admitted,
    edge: &Edge,
) -> pingora::Result<RequestHeader> {
    let mut head = head.clone();
    forward::strip_hop_by_hop(&mut head);
    head.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header(header::UPGRADE, HeaderValue::from_static("websocket"))?;
    forward::to_upstream(&mut head, request, admitted, &edge.config)?;
    Ok(head)
}

struct Tunnel<'a> {
    session: &'a mut Session,
    upstream: UpstreamSession,
    ctx: &'a mut RequestCtx,
    to_client: Boundary,
    to_upstream: Boundary,
}

impl Tunnel<'_> {
    async fn carry(mut self, edge: &Edge, admitted: &Admitted) {
        let close = loop {
            tokio::select! {
                // An end comes before whatever else is ready.
                biased;
                ending = admitted.held.ended() => {
                    edge.metrics.cuts.with_label_values(&[ending.as_str()]).inc();
                    break Close::of(ending);
                }
                () = edge.draining_ended.cancelled() => break Close::GOING_AWAY,
                from_client = self.session.read_request_body() => match from_client {
                    Ok(Some(bytes)) => if !self.pass_to_upstream(&bytes).await { return },
                    _ => return,
                },
                from_upstream = self.upstream.read_response_task() => match payload(from_upstream) {
                    Some(bytes) => if !self.pass_to_client(bytes).await { return },
                    None => return,
                },
            }
        };
        // A peer that does not let it end gently is cut.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.close(close)).await;
    }

    /// Finishes the frame that is under way in each direction, puts a close frame behind it, and waits for the client to say
    /// the same: closing a socket with bytes unread could take the close frame back. The upstream is not waited for.
    async fn close(&mut self, close: Close) {
        while !(self.to_client.is_between_frames() && self.to_upstream.is_between_frames()) {
            let from_client_misses = !self.to_upstream.is_between_frames();
            let from_upstream_misses = !self.to_client.is_between_frames();
            let passed = tokio::select! {
                from_client = self.session.read_request_body(), if from_client_misses => match from_client {
                    Ok(Some(bytes)) => self.pass_to_upstream(&bytes).await,
                    _ => false,
                },
                from_upstream = self.upstream.read_response_task(), if from_upstream_misses => match payload(from_upstream) {
                    Some(bytes) => self.pass_to_client(bytes).await,
                    None => false,
                },
            };
            if !passed {
                return;
            }
        }
        let random = Uuid::new_v4().into_bytes();
        let mask = [random[0], random[1], random[2], random[3]];
        let farewell = frames::client_close(Close::GOING_AWAY.code, Close::GOING_AWAY.reason, mask);
        let to_client = Bytes::from(frames::server_close(close.code, close.reason));
        let mut upstream_is_open = self.upstream.write_body(&farewell).await.is_ok();
        let mut client_is_open = self.session.write_response_body(Some(to_client), false).await.is_ok();
        while client_is_open {
            tokio::select! {
                from_client = self.session.read_request_body() => match from_client {
                    Ok(Some(bytes)) => {
                        self.to_upstream.feed(&bytes);
                        client_is_open = !self.to_upstream.has_closed();
                    }
                    _ => client_is_open = false,
                },
                from_upstream = self.upstream.read_response_task(), if upstream_is_open => match payload(from_upstream) {
                    Some(_) => {}
                    None => upstream_is_open = false,
                },
            }
        }
    }

    async fn pass_to_upstream(&mut self, bytes: &[u8]) -> bool {
        self.ctx.bytes_in += bytes.len() as u64;
        self.to_upstream.feed(bytes);
        self.upstream.write_body(bytes).await.is_ok()
    }

    async fn pass_to_client(&mut self, bytes: Bytes) -> bool {
        self.ctx.bytes_out += bytes.len() as u64;
        self.to_client.feed(&bytes);
        self.session.write_response_body(Some(bytes), false).await.is_ok()
    }
}

/// The bytes of the open tunnel that the upstream sent; `None` once it ended.
fn payload(task: pingora::Result<HttpTask>) -> Option<Bytes> {
    match task {
        Ok(HttpTask::UpgradedBody(Some(bytes), false) | HttpTask::Body(Some(bytes), false)) => Some(bytes),
        _ => None,
    }
}
