//! The permit of a request that was admitted: what it holds until it is known what became of it,
//! and what Redis is told then.
//!
//! A token's clock starts with its first response that is no `5xx`. Once a byte was sent upstream,
//! hanging up still activates the token; only an upstream failure does not. So a permit records how
//! far its request came, and its `Drop`, which runs on a cut and on a hang-up too, hands the rest
//! to the [`OutcomeWorker`].

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use http::StatusCode;
use shared::redis::calls::LeaseOutcome;

use crate::{
    admission::{concurrency::Slot, outcomes::OutcomeWorker},
    grants::{evaluate::GrantError, live::LiveGrant, state::Ended},
    rejection::{EndReason, InvalidCredential, Rejection},
    usage::OpenRequest,
};

/// How far a request came.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Admitted,
    /// Bytes of it may have reached the upstream.
    Sent,
    /// The upstream failed it.
    Failed,
    Answered,
}

/// A request's right to pass, until it is dropped.
pub struct Permit {
    pub grant: Arc<LiveGrant>,
    /// The client's.
    pub address: Option<IpAddr>,
    /// Where what passes is counted, once it is clear that something may.
    open: Option<OpenRequest>,
    /// What of its token's is open until then.
    place: Option<Slot>,
    stage: AtomicU8,
    outcomes: Arc<OutcomeWorker>,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("token_id", &self.grant.token_id).finish_non_exhaustive()
    }
}

impl Permit {
    /// For a grant whose use was begun by [`Grants::admit`](crate::grants::Grants::admit): dropped
    /// as it is, what was taken for it is given back.
    pub fn new(grant: Arc<LiveGrant>, address: Option<IpAddr>, outcomes: Arc<OutcomeWorker>) -> Self {
        Self { grant, address, open: None, place: None, stage: AtomicU8::new(Stage::Admitted as u8), outcomes }
    }

    /// Waits until it has ended, and says why. Safe to drop at any point.
    pub async fn ended(&self) -> Ended {
        self.grant.ended_from(self.address).await
    }

    /// Why it has ended, if it has.
    pub fn ending(&self) -> Option<EndReason> {
        self.grant.ending_from(self.address, Instant::now())
    }

    /// Counts the request, and what passes from now on; it keeps this place.
    pub fn counted(mut self, open: OpenRequest, place: Slot) -> Self {
        (self.open, self.place) = (Some(open), Some(place));
        self
    }

    /// Counts bytes of a body towards the upstream.
    pub fn count_in(&self, bytes: u64) {
        self.open.iter().for_each(|open| open.add_in(bytes));
    }

    /// Counts bytes of a body towards the client.
    pub fn count_out(&self, bytes: u64) {
        self.open.iter().for_each(|open| open.add_out(bytes));
    }

    /// The upstream is connected, and gets the request now.
    pub fn sent(&self) {
        self.set(Stage::Sent);
        if self.grant.uses.reach() {
            self.outcomes.end_admission(&self.grant, None, false, LeaseOutcome::Keep);
        }
    }

    /// The upstream could not be reached, or broke off, or was silent for too long.
    pub fn failed(&self, was_silent: bool) {
        if was_silent && self.is(Stage::Sent) {
            self.end_claim_as_fault();
        }
        self.set(Stage::Failed);
    }

    /// The upstream answers: starts the token's clock if this is its first answer, before that
    /// answer goes out.
    pub async fn answered(&self, status: StatusCode) -> Result<(), Rejection> {
        if status.is_server_error() {
            self.end_claim_as_fault();
            self.set(Stage::Failed);
            return Ok(());
        }
        if self.grant.activated_at_ms().is_none() {
            let grants = self.outcomes.grants();
            // Boxed, so that answers that start no clock do not carry room for one.
            let activated = Box::pin(grants.activate(&self.grant, None)).await;
            let activated = activated.map_err(|error| match error {
                GrantError::Unavailable => Rejection::Unavailable,
                GrantError::Invalid(bad) => Rejection::BadCredential(bad),
                GrantError::Refused(_) => Rejection::BadCredential(InvalidCredential::Revoked),
            });
            // A client that is refused instead got nothing.
            self.set(Stage::Failed);
            self.outcomes.usage().activated(self.grant.token_id, activated?);
            grants.keep(&self.grant);
        }
        self.set(Stage::Answered);
        Ok(())
    }

    fn end_claim_as_fault(&self) {
        if self.grant.activated_at_ms().is_none() {
            self.outcomes.end_admission(&self.grant, None, true, LeaseOutcome::Undecided);
        }
    }

    fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let grant = &self.grant;
        let is_ready = grant.activated_at_ms().is_none();
        if is_ready && self.is(Stage::Sent) {
            self.outcomes.owe_activation(Arc::clone(grant));
        }
        let leaving = grant.uses.leave();
        let lease = if leaving.releases_lease { LeaseOutcome::Release } else { LeaseOutcome::Undecided };
        if leaving.releases_lease {
            self.outcomes.grants().forget(grant);
        }
        let claim = grant.open_claim().filter(|_| leaving.is_last);
        if leaving.releases_lease || claim.is_some() {
            self.outcomes.end_admission(grant, claim, false, lease);
        }
    }
}
