//! Releases leases and claims in Redis, in the background, once a request's outcome is known.

use shared::redis::calls::LeaseOutcome;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::redis::{AdmissionOutcome, Taking};

/// How many outcomes may wait; what does not fit expires by itself, within minutes.
const QUEUED: usize = 10_000;

/// Where outcomes of admissions wait for their worker.
#[derive(Clone, Debug)]
pub struct OutcomeQueue(mpsc::Sender<AdmissionOutcome>);

impl OutcomeQueue {
    /// The queue, and its other end.
    pub fn new() -> (Self, mpsc::Receiver<AdmissionOutcome>) {
        let (queue, queued) = mpsc::channel(QUEUED);
        (Self(queue), queued)
    }

    /// Queues one.
    pub fn push(&self, outcome: AdmissionOutcome) {
        let token_id = outcome.token_id;
        if self.0.try_send(outcome).is_err() {
            tracing::warn!(%token_id, "the lease-release queue is full: this lease will expire by its timeout");
        }
    }
}

/// What Redis was asked to hold for a request that has not begun yet. It is given back when this is
/// dropped, as where the client hangs up or the answer never comes.
#[derive(Debug)]
pub struct AdmissionGuard {
    outcome: Option<AdmissionOutcome>,
    outcomes: OutcomeQueue,
}

impl AdmissionGuard {
    /// For an admission that is asked for: its session as it is proposed, and its claim.
    pub fn new(outcomes: &OutcomeQueue, token_id: Uuid, taking: &Taking<'_>) -> Self {
        let outcome = AdmissionOutcome {
            token_id,
            device: taking.device.clone(),
            session_id: taking.session_id,
            claim: Some(taking.claim),
            is_fault: false,
            lease: LeaseOutcome::Release,
        };
        Self { outcome: Some(outcome), outcomes: outcomes.clone() }
    }

    /// Takes in which session it was admitted to.
    pub fn admitted_to(&mut self, session_id: Uuid) {
        self.outcome.iter_mut().for_each(|outcome| outcome.session_id = session_id);
    }

    /// Names the claim.
    pub fn claim(&self) -> Option<Uuid> {
        self.outcome.as_ref()?.claim
    }

    /// It is used, or nothing was held.
    pub fn ended(mut self) {
        self.outcome = None;
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.outcomes.push(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::token::device::Device;

    use super::*;

    #[test]
    fn what_no_request_used_is_given_back() {
        let (outcomes, mut queued) = OutcomeQueue::new();
        let taken = || {
            let device = Device::known("a-device");
            let (session_id, claim) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let taking = Taking { device: &device, scopes: &[], address: None, session_id, claim };
            AdmissionGuard::new(&outcomes, Uuid::nil(), &taking)
        };
        taken().ended();
        assert!(queued.try_recv().is_err());
        let mut unused = taken();
        unused.admitted_to(Uuid::from_u128(3));
        drop(unused);
        let outcome = queued.try_recv().expect("it is given back");
        assert_eq!((outcome.session_id, outcome.claim), (Uuid::from_u128(3), Some(Uuid::from_u128(2))));
        assert_eq!(outcome.lease, LeaseOutcome::Release);
    }
}
