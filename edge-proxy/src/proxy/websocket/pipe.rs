//! One direction of a tunnel: what is read of one connection is written to the other, and nothing
//! is held between but what that does not take.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::websocket::frames::FrameTracker;

/// How much is read at once, and how often before the other direction, and what ends the tunnel,
/// have their turn.
const READ_BYTES: usize = 16 * 1024;
const READS_AT_ONCE: usize = 8;

/// One direction of a tunnel.
#[derive(Default)]
pub struct Pipe {
    /// Read, and not taken yet by whom it is for.
    rest: Bytes,
    /// Whether some of what was taken may stand in a buffer.
    is_unflushed: bool,
    /// How far it was read.
    boundary: FrameTracker,
}

/// Why a direction passes nothing on any more.
pub enum PipeEnd {
    /// All that was wanted.
    Enough,
    /// Nothing more comes.
    NothingComes,
    /// Nothing more is taken.
    NothingIsTaken,
}

impl Pipe {
    /// With what was read before.
    pub fn beginning_with(bytes: Bytes) -> Self {
        let mut way = Self { rest: bytes, ..Self::default() };
        way.boundary.feed(&way.rest);
        way
    }

    /// Whether a close frame has come.
    pub fn has_closed(&self) -> bool {
        self.boundary.has_closed()
    }

    /// Passes on what comes, for as long as that is wanted.
    pub fn poll_pass(
        &mut self,
        (from, to): (&mut Stream, &mut Stream),
        cx: &mut Context<'_>,
        is_wanted: fn(&FrameTracker) -> bool,
        mut count: impl FnMut(u64),
    ) -> Poll<PipeEnd> {
        for _ in 0..READS_AT_ONCE {
            if ready!(self.poll_write(to, cx)).is_err() {
                return Poll::Ready(PipeEnd::NothingIsTaken);
            }
            if !is_wanted(&self.boundary) {
                return Poll::Ready(PipeEnd::Enough);
            }
            // Not on the heap: nothing is held for a peer that says nothing.
            let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            if ready!(Pin::new(&mut *from).poll_read(cx, &mut read)).is_err() || read.filled().is_empty() {
                return Poll::Ready(PipeEnd::NothingComes);
            }
            let bytes = read.filled();
            count(bytes.len() as u64);
            self.boundary.feed(bytes);
            let written = match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(_)) => return Poll::Ready(PipeEnd::NothingIsTaken),
                Poll::Pending => 0,
            };
            self.is_unflushed = true;
            self.rest = Bytes::copy_from_slice(&bytes[written..]);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is left.
    pub fn poll_write(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            self.is_unflushed = true;
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.rest.advance(written),
            }
        }
        self.rest = Bytes::new();
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What comes after all that was read.
    pub fn add(&mut self, frame: Vec<u8>) {
        self.rest = [&self.rest[..], &frame].concat().into();
    }

    /// Reads on, and passes nothing on, until a close frame has come, or nothing more does.
    pub fn poll_skip_to_close(&mut self, from: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_closed() {
            let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            if ready!(Pin::new(&mut *from).poll_read(cx, &mut read)).is_err() || read.filled().is_empty() {
                break;
            }
            self.boundary.feed(read.filled());
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        task::{Wake, Waker},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const MANY_BYTES: usize = 3 * READS_AT_ONCE * READ_BYTES;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_sends_without_a_pause_leaves_the_other_direction_its_turn_and_loses_nothing() {
        let (mut sender, from) = duplex(MANY_BYTES);
        let (mut receiver, to) = duplex(MANY_BYTES);
        let (mut from, mut to): (Stream, Stream) = (Box::new(from), Box::new(to));
        let sent: Vec<u8> = (0..=250).cycle().take(MANY_BYTES).collect();
        sender.write_all(&sent).await.expect("sent");
        drop(sender);
        let (mut way, mut counted, mut turns) = (Pipe::default(), 0, 0);
        let passed = loop {
            let woken = Arc::<Woken>::default();
            let waker = Waker::from(Arc::clone(&woken));
            let mut cx = Context::from_waker(&waker);
            match way.poll_pass((&mut from, &mut to), &mut cx, |_| true, |bytes| counted += bytes) {
                Poll::Pending => turns += 1,
                Poll::Ready(passed) => break passed,
            }
            assert!(woken.0.load(Ordering::Relaxed), "it stands still though there is more");
        };
        assert!(matches!(passed, PipeEnd::NothingComes));
        assert_eq!((turns, counted), (3, MANY_BYTES as u64));
        drop(to);
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).await.expect("received");
        assert!(received == sent);
    }

    #[tokio::test]
    async fn what_is_not_taken_at_once_is_kept_and_nothing_more_is_read_until_it_is() {
        let (mut sender, from) = duplex(MANY_BYTES);
        let (mut receiver, to) = duplex(10);
        let (mut from, mut to): (Stream, Stream) = (Box::new(from), Box::new(to));
        sender.write_all(&[7; 2 * READ_BYTES]).await.expect("sent");
        let (mut way, mut counted) = (Pipe::default(), 0);
        let mut pass = |way: &mut Pipe| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(way.poll_pass((&mut from, &mut to), &mut cx, |_| true, |bytes| counted += bytes).is_pending());
            counted
        };
        assert_eq!(pass(&mut way), READ_BYTES as u64);
        receiver.read_exact(&mut [0; 10]).await.expect("received");
        assert_eq!(pass(&mut way), READ_BYTES as u64);
        assert_eq!(way.rest.len(), READ_BYTES - 20);
    }
}
