//! What has reached the stand-in, so that a test can assert that something never did.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde::Serialize;

/// Paths that are told apart; what comes on others after that is not recorded.
const MOST_PATHS: usize = 10_000;

/// What has reached one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub requests: u64,
    /// Bodies that arrived to their end.
    pub bodies: u64,
    pub body_bytes: u64,
}

/// What has become of WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketsSeen {
    pub opened: u64,
    pub open: u64,
    /// The code of the close frame that ended the last one that ended; `None` where none came.
    pub last_close: Option<u16>,
}

#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    paths: BTreeMap<String, Seen>,
    sockets: SocketsSeen,
}

impl Log {
    pub fn at(&self, path: &str) -> Seen {
        self.recorded().paths.get(path).copied().unwrap_or_default()
    }

    pub fn sockets(&self) -> SocketsSeen {
        self.recorded().sockets
    }

    pub fn socket_opened(&self) {
        let sockets = &mut self.recorded().sockets;
        sockets.opened += 1;
        sockets.open += 1;
    }

    pub fn socket_closed(&self, code: Option<u16>) {
        let sockets = &mut self.recorded().sockets;
        sockets.open -= 1;
        sockets.last_close = code;
    }

    /// Counts a request, and its body as it is read.
    pub fn counting(&self, path: &str, body: Incoming) -> Counted {
        self.change(path, |seen| seen.requests += 1);
        let mut counted = Counted { body, log: self.clone(), path: path.to_owned(), ended: false };
        counted.end_if_over();
        counted
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Seen)) {
        let mut recorded = self.recorded();
        if let Some(seen) = recorded.paths.get_mut(path) {
            change(seen);
        } else if recorded.paths.len() < MOST_PATHS {
            change(recorded.paths.entry(path.to_owned()).or_default());
        }
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body that is counted while it is read.
pub struct Counted {
    body: Incoming,
    log: Log,
    path: String,
    ended: bool,
}

impl Counted {
    fn end_if_over(&mut self) {
        if !self.ended && self.body.is_end_stream() {
            self.ended = true;
            self.log.change(&self.path, |seen| seen.bodies += 1);
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let path = self.path.clone();
                self.log.change(&path, |seen| seen.body_bytes += length as u64);
                self.end_if_over();
            }
            Poll::Ready(None) if !self.ended => {
                self.ended = true;
                let path = self.path.clone();
                self.log.change(&path, |seen| seen.bodies += 1);
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
