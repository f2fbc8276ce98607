//! The WebSocket: passed on byte for byte in both directions, and ended with a close frame between two frames when its grant
//! ends or the edge shuts down. Pingora's own way with upgrades loses some of them (cloudflare/pingora#946), so this takes the
//! connection over in `request_filter` and speaks to the upstream itself.
//!
//! What goes to the upstream is written by a task of its own, behind a queue of one: an upstream that reads no further before
//! it is read itself must not stop the other direction.

use std::{future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
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
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
};
use tokio_util::io::poll_read_buf;
use uuid::Uuid;

use crate::{
    Edge,
    admit::Denied,
    exchange::{self, Failure},
    forward,
    frames::{self, Boundary},
    origin::Origin,
    request::{Admitted, Request, RequestCtx},
    verdict::Ending,
};

/// How long a peer may take to let a tunnel end gently; it gets this twice at most, within the second that a cut may take.
pub const CLOSE_WITHIN: Duration = Duration::from_millis(400);
/// How long what an upstream said before it went may take to reach the client.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// How much is read from the upstream at once.
const READ_BYTES: usize = 16 * 1024;

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
            Ending::KeptOut => Self { code: 4005, reason: "address not allowed" },
            Ending::TakenOver => Self { code: 4008, reason: "device taken over" },
            Ending::EndedByAdministrator => Self { code: 4009, reason: "session ended by administrator" },
            Ending::RedisAway => Self { code: 1013, reason: "try again later" },
        }
    }
}

/// Opens the WebSocket at the upstream and carries it until either side, its grant or the edge ends it.
pub async fn run(edge: &Edge, session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    let (request, admitted) = match (&ctx.request, ctx.admitted()) {
        (Some(request), Some(admitted)) => (Arc::clone(request), admitted.clone()),
        _ => return Err(Denied::Fault.into()),
    };
    let mut upstream = exchange::connect(edge, ctx).await?;
    let origin = ctx.journey.origin().ok_or(Denied::Fault)?;
    let head = handshake(session.req_header(), &request, &admitted, origin, edge);
    let mut head = head.map_err(|_| Denied::Fault)?;
    ctx.sends(&mut head).map_err(|_| Denied::Fault)?;
    admitted.permit.sent();
    let written = upstream.write_request_header(Box::new(head)).await;
    written.map_err(|_| exchange::broken(ctx, Denied::UpstreamUnreachable))?;
    let status = exchange::answer(edge, session, &mut upstream, ctx).await?;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return exchange::pass_body(edge, session, &mut upstream, ctx).await;
    }
    session.set_read_timeout(None);
    let _open = Counted::new(&edge.metrics.open_websockets);
    let early = take_early_bytes(&mut upstream).await;
    let (from_upstream, to_upstream) = tokio::io::split(upstream.into_inner());
    let (queue, queued) = mpsc::channel(1);
    let mut tunnel =
        Tunnel { session, from_upstream, queue, ctx, to_client: Boundary::default(), to_upstream: Boundary::default() };
    let write = write_to_upstream(to_upstream, queued);
    tokio::pin!(write);
    tokio::select! {
        () = tunnel.carry(edge, &admitted, early) => {}
        () = &mut write => return Ok(()),
    }
    // What is queued, a close frame perhaps, still goes out; an upstream that does not read is cut.
    drop(tunnel);
    let _ = tokio::time::timeout(CLOSE_WITHIN, write).await;
    Ok(())
}

fn handshake(
    head: &RequestHeader,
    request: &Request,
    admitted: &Admitted,
    origin: &Origin,
    edge: &Edge,
) -> pingora::Result<RequestHeader> {
    let mut head = head.clone();
    forward::strip_hop_by_hop(&mut head);
    head.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header(header::UPGRADE, HeaderValue::from_static("websocket"))?;
    forward::to_upstream(&mut head, request, admitted, origin, edge)?;
    Ok(head)
}

/// The first frames, where they came together with the head of the answer. Looks once and does not wait.
async fn take_early_bytes(upstream: &mut UpstreamSession) -> Option<Bytes> {
    upstream.maybe_upgrade_body_writer();
    match tokio::time::timeout(Duration::ZERO, upstream.read_response_task()).await {
        Ok(Ok(HttpTask::UpgradedBody(bytes, _) | HttpTask::Body(bytes, _))) => bytes,
        _ => None,
    }
}

/// Writes what is queued until the queue's other end is dropped.
async fn write_to_upstream(mut upstream: WriteHalf<Stream>, mut queued: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = queued.recv().await {
        let written = async {
            upstream.write_all(&bytes).await?;
            upstream.flush().await
        };
        if written.await.is_err() {
            // Its last words may still be on their way to the client.
            return tokio::time::sleep(LAST_WORDS_WITHIN).await;
        }
    }
}

/// Reads what comes, nothing at its end, into memory that is held only while there is something to read: most WebSockets idle.
async fn read(from: &mut ReadHalf<Stream>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        poll_read_buf(Pin::new(&mut *from), cx, &mut bytes).map_ok(|_| bytes.freeze())
    })
    .await
}

/// Counts one thing for as long as it lives, however it ends.
struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Tunnel<'a> {
    session: &'a mut Session,
    from_upstream: ReadHalf<Stream>,
    queue: mpsc::Sender<Bytes>,
    ctx: &'a mut RequestCtx,
    to_client: Boundary,
    to_upstream: Boundary,
}

/// What one wait of a tunnel brought.
enum Moved {
    FromClient(Bytes),
    FromUpstream(Bytes),
    /// One side is gone.
    Gone,
}

impl Tunnel<'_> {
    async fn carry(&mut self, edge: &Edge, admitted: &Admitted, early: Option<Bytes>) {
        if let Some(early) = early
            && !self.pass(Moved::FromUpstream(early)).await
        {
            return;
        }
        let close = loop {
            tokio::select! {
                ended = admitted.permit.ended() => {
                    edge.cuts.note(ended);
                    break Close::of(ended.ending);
                }
                () = edge.draining_ended.cancelled() => break Close::GOING_AWAY,
                moved = self.wait(true, true) => if !self.pass(moved).await { return },
            }
        };
        // A peer that does not let it end gently is cut.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.close(close)).await;
    }

    /// Waits for bytes of either side, as far as they are wanted; of the client only while the queue has room. Safe to drop.
    async fn wait(&mut self, of_client: bool, of_upstream: bool) -> Moved {
        let Self { session, from_upstream, queue, .. } = self;
        let from_client = async {
            let _room = queue.reserve().await;
            session.read_request_body().await
        };
        tokio::select! {
            read = from_client, if of_client => match read {
                Ok(Some(bytes)) => Moved::FromClient(bytes),
                _ => Moved::Gone,
            },
            read = read(from_upstream), if of_upstream => match read {
                Ok(bytes) if !bytes.is_empty() => Moved::FromUpstream(bytes),
                _ => Moved::Gone,
            },
        }
    }

    /// Passes on what came; `false` if that is the end.
    async fn pass(&mut self, moved: Moved) -> bool {
        match moved {
            Moved::FromClient(bytes) => {
                self.ctx.count_in(bytes.len() as u64);
                self.to_upstream.feed(&bytes);
                self.queue.send(bytes).await.is_ok()
            }
            Moved::FromUpstream(bytes) => {
                self.ctx.count_out(bytes.len() as u64);
                self.to_client.feed(&bytes);
                self.session.write_response_body(Some(bytes), false).await.is_ok()
            }
            Moved::Gone => false,
        }
    }

    /// Finishes the frame that is under way in each direction, puts a close frame behind it, and waits for the client to say
    /// the same: closing a socket with bytes unread could take the close frame back. Neither side waits for the other's frame.
    async fn close(&mut self, close: Close) {
        while !self.to_client.is_between_frames() {
            let moved = self.wait(!self.to_upstream.is_between_frames(), true).await;
            if !self.pass(moved).await {
                return;
            }
        }
        let to_client = Bytes::from(frames::server_close(close.code, close.reason));
        if self.session.write_response_body(Some(to_client), false).await.is_err() {
            return;
        }
        while !self.to_upstream.is_between_frames() {
            let moved = self.wait(true, false).await;
            if !self.pass(moved).await {
                return;
            }
        }
        if !self.to_upstream.has_closed() {
            let random = Uuid::new_v4().into_bytes();
            let mask = [random[0], random[1], random[2], random[3]];
            let farewell = frames::client_close(Close::GOING_AWAY.code, Close::GOING_AWAY.reason, mask);
            // An upstream that does not read is cut.
            let _ = self.queue.try_send(Bytes::from(farewell));
        }
        while !self.to_upstream.has_closed() {
            let Ok(Some(bytes)) = self.session.read_request_body().await else { return };
            self.to_upstream.feed(&bytes);
        }
    }
}
