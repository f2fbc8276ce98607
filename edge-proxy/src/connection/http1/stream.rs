//! A connection behind the gate: what Pingora reads of it.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
    raw_connect::ProxyDigest,
    tls::{SslDigest, TlsRef},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use super::{framing::Framing, head, settings::Settings, turn::RequestTurn};
use crate::rejection::Rejection;

/// How HTTP/2 begins without TLS (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const READ_BYTES: usize = 4096;
/// What is read of a request whose turn has not come.
const AHEAD_BYTES: usize = 64 * 1024;
/// How long a client that was refused may take to read why, before the connection goes.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Stands for the rest of a chunked body that is malformed: a size that no reader takes.
const NO_CHUNK: &[u8] = b"\rX";

pub struct ValidatingStream {
    source: Source,
    turn: Arc<RequestTurn>,
    rules: Arc<Settings>,
    state: State,
    /// Judged, and to be read next.
    passed: BytesMut,
    /// How long the client may take: over a head, or over reading a refusal.
    timer: Pin<Box<Sleep>>,
}

/// What comes of the client.
struct Source {
    stream: Stream,
    /// Not judged yet.
    came: BytesMut,
    /// Nothing more comes.
    has_ended: bool,
}

impl Source {
    /// Reads more; `false` if there is none.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.has_ended {
            return Poll::Ready(Ok(false));
        }
        self.came.reserve(READ_BYTES);
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.came);
        if self.came.is_empty() {
            // Gives the memory back: most connections are idle most of the time.
            self.came = BytesMut::new();
        }
        self.has_ended = ready!(read)? == 0;
        Poll::Ready(Ok(!self.has_ended))
    }
}

/// A client's connection without the gate.
pub struct Raw {
    pub stream: Stream,
    /// What came of it already.
    pub came: BytesMut,
}

enum State {
    /// Whether it is HTTP/1 is not known yet; the bytes that have passed.
    HandshakeTimeout(usize),
    /// Before a head, or in it; for the first of a connection the time runs from the start.
    Head {
        is_timed: bool,
    },
    Body(Framing),
    /// What HTTP/1 does not frame.
    Raw,
    /// An answer of our own goes out.
    Refused(Bytes),
    Over,
}

impl ValidatingStream {
    pub fn new(stream: Stream, turn: Arc<RequestTurn>, rules: Arc<Settings>) -> Self {
        let timer = Box::pin(sleep(rules.patience.head));
        let source = Source { stream, came: BytesMut::new(), has_ended: false };
        Self { source, turn, rules, state: State::HandshakeTimeout(0), passed: BytesMut::new(), timer }
    }

    /// The connection, with whatever Pingora has not read of it.
    pub fn into_raw(self) -> Raw {
        let Self { source, mut passed, .. } = self;
        passed.unsplit(source.came);
        Raw { stream: source.stream, came: passed }
    }

    /// Opens for the next request, if its turn has come.
    fn take_turn(&mut self) {
        if !self.turn.take() {
            return;
        }
        self.state = match self.state {
            State::HandshakeTimeout(_) => State::Head { is_timed: true },
            State::Raw | State::Body(Framing::NONE | Framing::DONE) => {
                self.timer.as_mut().reset(Instant::now() + self.rules.patience.idle);
                State::Head { is_timed: false }
            }
            // A request begins where one has ended, and nowhere else.
            _ => State::Over,
        };
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, is_timed: bool) -> Poll<io::Result<()>> {
        if !self.source.came.is_empty() {
            match head::read(&self.source.came, &self.rules.limits) {
                Ok(Some(head)) => {
                    self.passed = self.source.came.split_to(head.length);
                    self.state =
                        if head.may_upgrade && head.framing.is_done() { State::Raw } else { State::Body(head.framing) };
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
                Err(rejection) => {
                    self.refuse(&rejection);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if !is_timed && !self.source.came.is_empty() {
            self.timer.as_mut().reset(Instant::now() + self.rules.patience.head);
            self.state = State::Head { is_timed: true };
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            match self.source.came.is_empty() {
                true => self.state = State::Over,
                false => self.refuse(&Rejection::HeadTimeout),
            }
            return Poll::Ready(Ok(()));
        }
        if !ready!(self.source.poll_more(cx))? {
            self.state = State::Over;
        }
        Poll::Ready(Ok(()))
    }

    fn refuse(&mut self, rejection: &Rejection) {
        self.source.came = BytesMut::new();
        self.timer.as_mut().reset(Instant::now() + REFUSED_FOR);
        self.state = State::Refused(self.rules.refuse(rejection).into());
    }

    /// Writes the answer, then reads on for a moment: to close on bytes that nobody read would take
    /// the answer back.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let State::Refused(answer) = &mut self.state else { return Poll::Ready(()) };
        while !answer.is_empty() {
            match ready!(Pin::new(&mut self.source.stream).poll_write(cx, answer)) {
                Ok(written) if written > 0 => answer.advance(written),
                _ => return Poll::Ready(()),
            }
        }
        if ready!(Pin::new(&mut self.source.stream).poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        while let Ok(true) = ready!(self.source.poll_more(cx)) {
            self.source.came.clear();
        }
        Poll::Ready(())
    }

    /// Reads of a body what belongs to it.
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>, mut framing: Framing) -> Poll<io::Result<()>> {
        if framing.is_done() {
            // Only to notice a client that leaves; what it says already waits for its turn.
            while self.source.came.len() < AHEAD_BYTES {
                if !ready!(self.source.poll_more(cx))? {
                    self.state = State::Over;
                    return Poll::Ready(Ok(()));
                }
            }
            return Poll::Pending;
        }
        if self.source.came.is_empty() {
            let is_all_of_it = framing.sure_of() >= out.remaining() as u64;
            if !is_all_of_it {
                if !ready!(self.source.poll_more(cx))? {
                    self.state = State::Over;
                }
                return Poll::Ready(Ok(()));
            }
            let before = out.filled().len();
            ready!(Pin::new(&mut self.source.stream).poll_read(cx, out))?;
            let (_, followed) = framing.follow(&out.filled()[before..]);
            self.source.has_ended = out.filled().len() == before;
            self.state = if self.source.has_ended || followed.is_err() { State::Over } else { State::Body(framing) };
            return Poll::Ready(Ok(()));
        }
        let (taken, followed) = framing.follow(&self.source.came);
        self.passed = self.source.came.split_to(taken);
        self.state = State::Body(framing);
        if followed.is_err() {
            self.passed.extend_from_slice(NO_CHUNK);
            self.state = State::Over;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands on what has passed; whether there was any.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let bytes = self.passed.len().min(out.remaining());
        out.put_slice(&self.passed[..bytes]);
        self.passed.advance(bytes);
        if self.passed.is_empty() {
            self.passed = BytesMut::new();
        }
        bytes > 0
    }
}

impl AsyncRead for ValidatingStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        gate.take_turn();
        let before = out.filled().len();
        // Until something was read or nothing more can be.
        while out.filled().len() == before && out.remaining() > 0 {
            if gate.hand_on(out) {
                break;
            }
            match gate.state {
                State::HandshakeTimeout(passed) => {
                    if !gate.source.came.is_empty() {
                        gate.passed = std::mem::take(&mut gate.source.came);
                        gate.state = State::HandshakeTimeout(passed + gate.passed.len());
                        continue;
                    }
                    if passed >= PREFACE.len() {
                        gate.state = State::Raw;
                    } else if gate.timer.as_mut().poll(cx).is_ready() || !ready!(gate.source.poll_more(cx))? {
                        gate.state = State::Over;
                    }
                }
                State::Head { is_timed } => ready!(gate.poll_head(cx, is_timed))?,
                State::Body(framing) => ready!(gate.poll_body(cx, out, framing))?,
                State::Raw if gate.source.came.is_empty() => {
                    return Pin::new(&mut gate.source.stream).poll_read(cx, out);
                }
                State::Raw => gate.passed = std::mem::take(&mut gate.source.came),
                State::Refused(_) => {
                    ready!(gate.poll_refused(cx));
                    gate.state = State::Over;
                }
                State::Over => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ValidatingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.source.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.source.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.source.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.source.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.source.stream.is_write_vectored()
    }
}

#[async_trait]
impl Peek for ValidatingStream {
    /// Unlike Pingora's own it does not wait for as many bytes as HTTP/2 begins with: a request can
    /// be shorter than that.
    async fn try_peek(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        while self.source.came.len() < bytes.len() && PREFACE.starts_with(&self.source.came) {
            let more = tokio::select! {
                more = poll_fn(|cx| self.source.poll_more(cx)) => more?,
                () = &mut self.timer => return Err(io::ErrorKind::TimedOut.into()),
            };
            if !more {
                break;
            }
        }
        let seen = self.source.came.len().min(bytes.len());
        bytes[..seen].copy_from_slice(&self.source.came[..seen]);
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for ValidatingStream {
    async fn shutdown(&mut self) {
        self.source.stream.shutdown().await;
    }
}

impl UniqueID for ValidatingStream {
    fn id(&self) -> UniqueIDType {
        self.source.stream.id()
    }
}

impl Ssl for ValidatingStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.source.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.source.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.source.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for ValidatingStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.source.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.source.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.source.stream.get_write_pending_time()
    }
}

impl GetProxyDigest for ValidatingStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.source.stream.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.source.stream.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for ValidatingStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.source.stream.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.source.stream.set_socket_digest(digest);
    }
}

impl fmt::Debug for ValidatingStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what came: it holds credentials.
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
