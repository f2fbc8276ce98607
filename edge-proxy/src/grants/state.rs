//! What is known of a grant, and how a newer answer of Redis changes that. Pure.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    net::address::NetworkPolicy,
    redis::{feed::StreamId, replies::Grant},
};

use crate::rejection::EndReason;

/// How long a grant lasts, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct GrantState {
    /// When Redis was asked for it.
    pub(super) asked: Instant,
    /// The monotonic instant at which its time is up.
    pub(super) deadline: Instant,
    pub(super) duration: Duration,
    pub(super) activated_at_ms: Option<i64>,
    /// When Redis was asked to start its clock here: an answer to an earlier question does not know
    /// of it.
    pub(super) start_asked: Option<Instant>,
    /// From where it may be used, and when that was told to the edges, in milliseconds of Redis'
    /// clock since 1970.
    pub(super) network_policy: Arc<NetworkPolicy>,
    pub(super) announced_at_ms: Option<u64>,
    /// What starting its clock here has to do with what the edges are told; `None` where nobody
    /// here has, or the edges were told.
    pub(super) start: Option<Box<OwnActivation>>,
    /// When a change was told that no answer has taken in yet.
    pub(super) stale_since: Option<Instant>,
    pub(super) ended: Option<Ended>,
}

/// A start of the clock from here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnActivation {
    /// How often Redis is being asked for it now.
    pub(super) asking: u32,
    /// By which entry of the change feed it was told, if it was.
    pub(super) told_by: Option<StreamId>,
}

/// Why it ended, and when that was told to the edges, in milliseconds of Redis' clock since 1970;
/// expiry is not told.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub ending: EndReason,
    pub announced_at_ms: Option<u64>,
}

impl GrantState {
    pub(super) fn of(asked: Instant, grant: &Grant) -> Self {
        Self {
            asked,
            deadline: asked + grant.left,
            duration: grant.duration,
            activated_at_ms: grant.activated_at_ms,
            start_asked: None,
            network_policy: Arc::clone(&grant.network_policy),
            announced_at_ms: None,
            start: None,
            stale_since: None,
            ended: None,
        }
    }

    /// The same after a later question.
    pub(super) fn renewed(&self, asked: Instant, grant: &Grant, announced_at_ms: Option<u64>) -> Self {
        let new = Self::of(asked, grant);
        let is_same = new.activated_at_ms == self.activated_at_ms && new.duration == self.duration;
        // An answer takes its time to come, so each deadline is early by that: the later of two is
        // the better.
        let deadline = if is_same { new.deadline.max(self.deadline) } else { new.deadline };
        let stale_since = self.stale_since.filter(|&stale_since| stale_since > asked);
        let renewed =
            Self { deadline, stale_since, announced_at_ms, start: self.start.clone(), ended: self.ended, ..new };
        // Which question came to Redis first, their instants do not tell for sure: an answer that
        // knows of no start is from before it.
        let is_from_before = |&start_asked: &Instant| start_asked > asked || new.activated_at_ms.is_none();
        match self.start_asked.filter(is_from_before) {
            None => renewed,
            start_asked => {
                Self { deadline: self.deadline, activated_at_ms: self.activated_at_ms, start_asked, ..renewed }
            }
        }
    }

    /// See [`LiveGrant::is_own_activation`](super::live::LiveGrant::is_own_activation).
    pub(super) fn is_own_activation(&self, change: StreamId) -> Option<bool> {
        match &self.start {
            None => Some(false),
            Some(start) if start.told_by == Some(change) => Some(true),
            Some(start) if start.asking > 0 => None,
            Some(_) => Some(false),
        }
    }

    pub(super) fn ended(&self, now: Instant) -> Option<Ended> {
        let is_over = now >= self.deadline && self.activated_at_ms.is_some();
        self.ended.or(is_over.then_some(Ended { ending: EndReason::Expired, announced_at_ms: None }))
    }

    /// The same for a request from there.
    pub(super) fn ended_from(&self, address: Option<IpAddr>, now: Instant) -> Option<Ended> {
        let is_blocked = !self.network_policy.may_use(address);
        let blocked =
            is_blocked.then_some(Ended { ending: EndReason::NetworkNotAllowed, announced_at_ms: self.announced_at_ms });
        self.ended(now).or(blocked)
    }
}
