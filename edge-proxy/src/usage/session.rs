//! What is counted of one session. Bytes are counted as they pass and a connection's end in `Drop`,
//! by atomics alone: no request waits for another, nor for a reader of the figures.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use shared::{redis::events::SessionFigures, token::device::Device};
use uuid::Uuid;

use crate::{
    clock::Clock,
    sync::{Mutex, MutexGuard},
};

/// How much of a client's `User-Agent` is reported.
const AGENT_BYTES: usize = 512;

/// Whose session it is, from the first request that this edge saw of it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub session_id: Uuid,
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub device: Device,
    /// In milliseconds of Redis' clock since 1970.
    pub started_at_ms: i64,
    pub address: Option<IpAddr>,
    /// See [`agent_told`].
    pub agent: Option<String>,
}

/// A client's `User-Agent`, as it is reported to the control plane.
pub fn agent_told(agent: &HeaderValue) -> String {
    let mut told = String::from_utf8_lossy(agent.as_bytes()).into_owned();
    told.truncate(told.floor_char_boundary(AGENT_BYTES));
    told
}

/// What this edge has counted of one session.
#[derive(Debug)]
pub struct SessionUsage {
    instance_id: Uuid,
    who: SessionInfo,
    made: Instant,
    requests: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Milliseconds from `made` to the last activity.
    last_activity_ms: AtomicU64,
    /// Leaving by each connection that closes, and acquired first by the reader: a closing that
    /// is seen brings along all that the connection counted.
    open: AtomicU32,
    taken: Mutex<Taken>,
}

/// What was taken last.
#[derive(Debug, Default)]
struct Taken {
    /// What, and when; `None` if the control plane may not know of it.
    counts: Option<(Counts, Instant)>,
    /// By Redis' clock, and always rising, though that may be set back: the control plane keeps
    /// what was reported last.
    reported_at_ms: i64,
}

/// What says that there is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    open: u32,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl SessionUsage {
    pub(super) fn new(instance_id: Uuid, who: SessionInfo) -> Self {
        Self {
            instance_id,
            who,
            made: Instant::now(),
            requests: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            last_activity_ms: AtomicU64::default(),
            open: AtomicU32::default(),
            taken: Mutex::default(),
        }
    }

    /// Counts a request, and its connection as open until what this gives is dropped.
    pub fn open(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.note_activity();
        OpenRequest(Arc::clone(self))
    }

    fn note_activity(&self) {
        let at_ms = u64::try_from(self.made.elapsed().as_millis()).expect("no process lives for millions of years");
        self.last_activity_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    pub(super) fn last_activity(&self) -> Instant {
        self.made + Duration::from_millis(self.last_activity_ms.load(Ordering::Relaxed))
    }

    pub(super) fn open_connections(&self) -> u64 {
        u64::from(self.open.load(Ordering::Acquire))
    }

    fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Ordering::Acquire),
            requests: self.requests.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }

    /// Whether something was counted that was not taken.
    pub(super) fn has_news(&self) -> bool {
        let counts = self.counts();
        counts.requests > 0 && self.lock_taken().counts.is_none_or(|(taken, _)| taken != counts)
    }

    /// The figures, if they changed since they were taken last, or a connection is open and they
    /// were not taken for so long.
    pub(super) fn take(&self, clock: &Clock, now: Instant, report_every: Duration) -> Option<SessionFigures> {
        let counts = self.counts();
        let last_activity_ms = clock.at(self.last_activity())?.max(self.who.started_at_ms);
        let reported_at_ms = clock.at(now)?;
        let mut taken = self.lock_taken();
        let is_due = match taken.counts {
            None => counts.requests > 0,
            Some((told, at)) => told != counts || counts.open > 0 && now.saturating_duration_since(at) >= report_every,
        };
        if !is_due {
            return None;
        }
        *taken = Taken { counts: Some((counts, now)), reported_at_ms: reported_at_ms.max(taken.reported_at_ms + 1) };
        Some(SessionFigures {
            session_id: self.who.session_id,
            instance_id: self.instance_id,
            token_id: self.who.token_id,
            user_id: self.who.user_id,
            device: self.who.device.to_string(),
            address: self.who.address,
            agent: self.who.agent.clone(),
            started_at_ms: self.who.started_at_ms,
            last_activity_ms,
            reported_at_ms: taken.reported_at_ms,
            requests: counts.requests,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            open_connections: counts.open,
        })
    }

    /// Takes back what was taken: the control plane may not know of it.
    pub(super) fn put_back(&self) {
        self.lock_taken().counts = None;
    }

    fn lock_taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

/// One request that is under way; closed when dropped.
#[derive(Debug)]
pub struct OpenRequest(Arc<SessionUsage>);

impl OpenRequest {
    /// Counts bytes of a body towards the upstream.
    pub fn add_in(&self, bytes: u64) {
        self.0.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.0.note_activity();
    }

    /// Counts bytes of a body towards the client.
    pub fn add_out(&self, bytes: u64) {
        self.0.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.0.note_activity();
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.note_activity();
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_cut_between_two_characters() {
        let told = |agent: &str| agent_told(&HeaderValue::from_str(agent).expect("an agent"));
        assert_eq!(told("a client"), "a client");
        assert_eq!(told(&("ж".repeat(300) + "x")), "ж".repeat(256));
        assert_eq!(told(&("x".to_owned() + &"ж".repeat(300))), "x".to_owned() + &"ж".repeat(255));
    }
}
