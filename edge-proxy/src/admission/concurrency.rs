//! Bounds how many requests and WebSockets a token has open at once, here, so that no one token
//! takes what all of them share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use uuid::Uuid;

use crate::sync::{Mutex, MutexGuard};

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Request,
    WebSocket,
}

/// How much a token has open.
#[derive(Default)]
struct Open {
    requests: u32,
    websockets: u32,
}

impl Open {
    fn of(&mut self, kind: RequestKind) -> &mut u32 {
        match kind {
            RequestKind::Request => &mut self.requests,
            RequestKind::WebSocket => &mut self.websockets,
        }
    }
}

/// How much tokens have open, and may have.
pub struct Concurrency {
    /// Of one token; 0 for any number.
    most_requests: AtomicU32,
    most_websockets: AtomicU32,
    /// Those that have something open.
    tokens: Mutex<HashMap<Uuid, Open>>,
}

impl Concurrency {
    /// The limits per token; 0: unlimited.
    pub fn new(most_requests: u32, most_websockets: u32) -> Self {
        Self { most_requests: most_requests.into(), most_websockets: most_websockets.into(), tokens: Mutex::default() }
    }

    /// Sets the limits (0: unlimited). They apply to new requests.
    pub fn limit(&self, most_requests: u32, most_websockets: u32) {
        self.most_requests.store(most_requests, Ordering::Relaxed);
        self.most_websockets.store(most_websockets, Ordering::Relaxed);
    }

    /// A place for one more of this token's, until it is dropped; `None` if all are taken.
    pub fn take(self: &Arc<Self>, token_id: Uuid, kind: RequestKind) -> Option<Slot> {
        let most = match kind {
            RequestKind::Request => &self.most_requests,
            RequestKind::WebSocket => &self.most_websockets,
        };
        let most = most.load(Ordering::Relaxed);
        let mut tokens = self.lock();
        let open = tokens.entry(token_id).or_default().of(kind);
        if most > 0 && *open >= most {
            return None;
        }
        *open += 1;
        Some(Slot { concurrency: Arc::clone(self), token_id, kind })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Open>> {
        self.tokens.lock()
    }
}

/// What a token has open, given back however that ends.
pub struct Slot {
    concurrency: Arc<Concurrency>,
    token_id: Uuid,
    kind: RequestKind,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut tokens = self.concurrency.lock();
        let Some(open) = tokens.get_mut(&self.token_id) else { return };
        *open.of(self.kind) -= 1;
        if open.requests == 0 && open.websockets == 0 {
            tokens.remove(&self.token_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_token_has_so_many_open_of_each_kind_and_what_ends_makes_room() {
        let concurrency = Arc::new(Concurrency::new(2, 1));
        let take = |kind| concurrency.take(TOKEN, kind);
        let (first, _second) = (take(RequestKind::Request), take(RequestKind::Request));
        let socket = take(RequestKind::WebSocket);
        assert!(first.is_some() && socket.is_some());
        assert!(take(RequestKind::Request).is_none() && take(RequestKind::WebSocket).is_none());
        assert!(concurrency.take(Uuid::from_u128(2), RequestKind::Request).is_some(), "another token's");
        drop(first);
        assert!(take(RequestKind::Request).is_some());
    }

    #[test]
    fn nothing_is_kept_of_a_token_that_has_nothing_open() {
        let concurrency = Arc::new(Concurrency::new(0, 0));
        let open: Vec<_> = (0..1_000).map(|_| concurrency.take(TOKEN, RequestKind::Request)).collect();
        assert!(open.iter().all(Option::is_some), "no limit");
        drop(open);
        assert!(concurrency.lock().is_empty());
    }
}
