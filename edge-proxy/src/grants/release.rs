//! Releases leases and claims in Redis, in the background, once a request's outcome is known.

use shared::redis::calls::LeaseOutcome;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::redis::{AdmissionOutcome, Taking};

/// How many settlements may wait; what does not fit lapses by itself, within minutes.
const QUEUED: usize = 10_000;

/// Where settlements wait for their worker.
#[derive(Clone, Debug)]
pub struct Settlements(mpsc::Sender<AdmissionOutcome>);

impl Settlements {
    /// The queue, and its other end.
    pub fn new() -> (Self, mpsc::Receiver<AdmissionOutcome>) {
        let (queue, queued) = mpsc::channel(QUEUED);
        (Self(queue), queued)
    }

    /// Has this settled soon.
    pub fn push(&self, settlement: AdmissionOutcome) {
        let token_id = settlement.token_id;
        if self.0.try_send(settlement).is_err() {
            tracing::warn!(%token_id, "the lease-release queue is full: this lease will expire by its timeout");
        }
    }
}

/// What Redis was asked to hold for a request that has not begun yet. It is given back when this is
/// dropped, as where the client hangs up or the answer never comes.
#[derive(Debug)]
pub struct AdmissionGuard {
    settlement: Option<AdmissionOutcome>,
    settlements: Settlements,
}

impl AdmissionGuard {
    /// For an admission that is asked for: its session as it is proposed, and its claim.
    pub fn new(settlements: &Settlements, token_id: Uuid, taking: &Taking<'_>) -> Self {
        let settlement = AdmissionOutcome {
            token_id,
            device: taking.device.clone(),
            session_id: taking.session_id,
            claim: Some(taking.claim),
            is_fault: false,
            lease: LeaseOutcome::Release,
        };
        Self { settlement: Some(settlement), settlements: settlements.clone() }
    }

    /// Takes in which session it was admitted to.
    pub fn admitted_to(&mut self, session_id: Uuid) {
        self.settlement.iter_mut().for_each(|settlement| settlement.session_id = session_id);
    }

    /// Names the claim.
    pub fn claim(&self) -> Option<Uuid> {
        self.settlement.as_ref()?.claim
    }

    /// It is used, or nothing was held.
    pub fn settled(mut self) {
        self.settlement = None;
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        if let Some(settlement) = self.settlement.take() {
            self.settlements.push(settlement);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::token::device::Device;

    use super::*;

    #[test]
    fn what_no_request_used_is_given_back() {
        let (settlements, mut queued) = Settlements::new();
        let taken = || {
            let device = Device::known("a-device");
            let (session_id, claim) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let taking = Taking { device: &device, scopes: &[], address: None, session_id, claim };
            AdmissionGuard::new(&settlements, Uuid::nil(), &taking)
        };
        taken().settled();
        assert!(queued.try_recv().is_err());
        let mut unused = taken();
        unused.admitted_to(Uuid::from_u128(3));
        drop(unused);
        let settlement = queued.try_recv().expect("it is given back");
        assert_eq!((settlement.session_id, settlement.claim), (Uuid::from_u128(3), Some(Uuid::from_u128(2))));
        assert_eq!(settlement.lease, LeaseOutcome::Release);
    }
}
