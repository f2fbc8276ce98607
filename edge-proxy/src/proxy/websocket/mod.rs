//! The WebSocket: passed on byte for byte in both directions, and ended with a close frame between
//! two frames when its grant ends or the edge shuts down. Pingora's own way with upgrades loses
//! some of them (cloudflare/pingora#946), so this speaks to the upstream itself, in
//! `request_filter`.
//!
//! Most WebSockets are silent most of the time. So an open one is a task of its own, which has both
//! connections, and of the request what is logged at its end; all that Pingora holds for a
//! request is given back by then. Nor has a silent one any buffer.

pub mod frames;
pub mod pipe;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};
use pingora::{
    http::RequestHeader,
    protocols::{
        Stream,
        http::{HttpTask, v1::client::HttpSession as UpstreamSession},
    },
    proxy::Session,
};
use prometheus::IntGauge;
use uuid::Uuid;

use crate::{
    admission::{facts::Facts, permit::Permit},
    connection::http1,
    edge::Edge,
    origin::Origin,
    proxy::{
        context::RequestCtx,
        exchange::{self, Failure},
        headers,
        target::Admitted,
        websocket::frames::FrameTracker,
    },
    rejection::{EndReason, Rejection},
};
use pipe::{Pipe, PipeEnd};

/// How long a peer may take to let a tunnel end gently; it gets this twice at most, within the
/// second that a cut may take.
pub const CLOSE_WITHIN: Duration = Duration::from_millis(400);
/// How long what an upstream said before it went may take to reach the client.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// What a close frame says.
#[derive(Clone, Copy)]
struct Close {
    code: u16,
    reason: &'static str,
}

impl Close {
    const GOING_AWAY: Self = Self { code: 1001, reason: "going away" };

    fn of(ending: EndReason) -> Self {
        match ending {
            EndReason::Expired => Self { code: 4001, reason: "token expired" },
            EndReason::Revoked => Self { code: 4003, reason: "token revoked" },
            EndReason::Suspended => Self { code: 4004, reason: "account suspended" },
            EndReason::NetworkNotAllowed => Self { code: 4005, reason: "address not allowed" },
            EndReason::TakenOver => Self { code: 4008, reason: "device taken over" },
            EndReason::EndedByAdministrator => Self { code: 4009, reason: "session ended by administrator" },
            EndReason::RedisUnavailable => Self { code: 1013, reason: "try again later" },
        }
    }
}

/// Opens the WebSocket at the upstream, and leaves it to a task that carries it until either side,
/// its grant or the edge ends it.
pub async fn run(edge: &Arc<Edge>, session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    let (request, admitted) = match (&ctx.facts, ctx.admitted()) {
        (Some(request), Some(admitted)) => (Arc::clone(request), admitted.clone()),
        _ => return Err(Rejection::Fault.into()),
    };
    let mut upstream = exchange::connect(edge, ctx).await?;
    let origin = ctx.attempt.origin().ok_or(Rejection::Fault)?;
    let head = handshake(session.req_header(), &request, &admitted, origin, edge);
    let mut head = head.map_err(|_| Rejection::Fault)?;
    ctx.sends(&mut head).map_err(|_| Rejection::Fault)?;
    admitted.permit.sent();
    let written = upstream.write_request_header(Box::new(head)).await;
    written.map_err(|_| exchange::broken(ctx, Rejection::UpstreamUnreachable))?;
    let status = exchange::answer(edge, session, &mut upstream, ctx).await?;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return exchange::pass_body(edge, session, &mut upstream, ctx).await;
    }
    let early = early_bytes(&mut upstream);
    let client = http1::take_over(session).ok_or(Failure::CutOff)?;
    let mut tunnel = Tunnel {
        client: client.stream,
        upstream: upstream.into_inner(),
        to_upstream: Pipe::default(),
        to_client: Pipe::default(),
        ctx: ctx.hand_over(),
    };
    tunnel.begin(client.came.freeze(), early);
    edge.lifecycle.websockets.spawn(tunnel.run(Arc::clone(edge), admitted.permit));
    Ok(())
}

fn handshake(
    head: &RequestHeader,
    request: &Facts,
    admitted: &Admitted,
    origin: &Origin,
    edge: &Edge,
) -> pingora::Result<RequestHeader> {
    let mut head = head.clone();
    headers::strip_hop_by_hop(&mut head);
    head.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header(header::UPGRADE, HeaderValue::from_static("websocket"))?;
    headers::to_upstream(&mut head, request, admitted, origin, edge)?;
    Ok(head)
}

/// The first frames, where they came together with the head of the answer. Looks once and does not
/// wait.
fn early_bytes(upstream: &mut UpstreamSession) -> Bytes {
    upstream.maybe_upgrade_body_writer();
    match upstream.read_response_task().now_or_never() {
        Some(Ok(HttpTask::UpgradedBody(bytes, _) | HttpTask::Body(bytes, _))) => bytes.unwrap_or_default(),
        _ => Bytes::new(),
    }
}

/// Counts one thing for as long as it lives, however it ends.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// An open WebSocket.
struct Tunnel {
    client: Stream,
    upstream: Stream,
    to_upstream: Pipe,
    to_client: Pipe,
    /// Tells of the request once both connections are closed.
    ctx: RequestCtx,
}

impl Tunnel {
    /// Takes in what came of either side before it was open.
    fn begin(&mut self, of_client: Bytes, of_upstream: Bytes) {
        self.ctx.count_in(of_client.len() as u64);
        self.ctx.count_out(of_upstream.len() as u64);
        self.to_upstream = Pipe::beginning_with(of_client);
        self.to_client = Pipe::beginning_with(of_upstream);
    }

    async fn run(mut self, edge: Arc<Edge>, permit: Arc<Permit>) {
        let _open = Counted::new(&edge.metrics.open_websockets);
        let close = tokio::select! {
            // Before what would go on for as long as something comes.
            biased;
            ended = permit.ended() => {
                edge.cutoffs.note(ended);
                Some(Close::of(ended.ending))
            }
            () = edge.lifecycle.draining_ended.cancelled() => Some(Close::GOING_AWAY),
            () = self.carry() => None,
        };
        if let Some(close) = close {
            // A peer that does not let it end gently is cut.
            let _ = tokio::time::timeout(CLOSE_WITHIN, self.close(close)).await;
        }
        let finish = async {
            // A close frame perhaps; an upstream that does not read is cut.
            let _ = poll_fn(|cx| self.to_upstream.poll_write(&mut self.upstream, cx)).await;
            self.client.shutdown().await;
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, finish).await;
    }

    /// Passes on both ways until one side is gone.
    async fn carry(&mut self) {
        let ended = poll_fn(|cx| match self.poll_to_upstream(cx, |_| true) {
            Poll::Pending => self.poll_to_client(cx, |_| true).map(|_| PipeEnd::NothingComes),
            ended => ended,
        });
        if let PipeEnd::NothingIsTaken = ended.await {
            // The upstream's last words may still be on their way to the client.
            let last_words = poll_fn(|cx| self.poll_to_client(cx, |_| true));
            let _ = tokio::time::timeout(LAST_WORDS_WITHIN, last_words).await;
        }
    }

    fn poll_to_upstream(&mut self, cx: &mut Context<'_>, is_wanted: fn(&FrameTracker) -> bool) -> Poll<PipeEnd> {
        let Self { client, upstream, to_upstream, ctx, .. } = self;
        to_upstream.poll_pass((client, upstream), cx, is_wanted, |bytes| ctx.count_in(bytes))
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>, is_wanted: fn(&FrameTracker) -> bool) -> Poll<PipeEnd> {
        let Self { client, upstream, to_client, ctx, .. } = self;
        to_client.poll_pass((upstream, client), cx, is_wanted, |bytes| ctx.count_out(bytes))
    }

    /// Finishes the frame that is under way in each direction, puts a close frame behind it, and
    /// waits for the client to say the same: closing a socket with bytes unread could take the
    /// close frame back. Neither side waits for the other's frame.
    async fn close(&mut self, close: Close) {
        let is_within_frame = |boundary: &FrameTracker| !boundary.is_between_frames();
        let finished = poll_fn(|cx| {
            if let Poll::Ready(PipeEnd::NothingComes) = self.poll_to_upstream(cx, is_within_frame) {
                return Poll::Ready(PipeEnd::NothingComes);
            }
            self.poll_to_client(cx, is_within_frame)
        });
        let PipeEnd::Enough = finished.await else { return };
        self.to_client.add(frames::server_close(close.code, close.reason));
        if poll_fn(|cx| self.to_client.poll_write(&mut self.client, cx)).await.is_err() {
            return;
        }
        if let PipeEnd::NothingComes = poll_fn(|cx| self.poll_to_upstream(cx, is_within_frame)).await {
            return;
        }
        if !self.to_upstream.has_closed() {
            let random = Uuid::new_v4().into_bytes();
            let mask = [random[0], random[1], random[2], random[3]];
            self.to_upstream.add(frames::client_close(Close::GOING_AWAY.code, Close::GOING_AWAY.reason, mask));
        }
        poll_fn(|cx| self.poll_farewell(cx)).await;
    }

    /// Writes what is left for the upstream, and waits until the client has closed too, or is gone.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { client, upstream, to_upstream, .. } = self;
        // An upstream that takes nothing is cut.
        let _ = to_upstream.poll_write(upstream, cx);
        to_upstream.poll_skip_to_close(client, cx)
    }
}
