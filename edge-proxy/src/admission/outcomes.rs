//! What requests leave behind: admissions that end, and activations that could not be recorded
//! yet.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use shared::redis::calls::LeaseOutcome;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::{
    clock::Clock,
    grants::{Grants, evaluate::GrantError, live::LiveGrant, release::OutcomeQueue},
    redis::{AdmissionOutcome, Redis},
    sync::{Mutex, MutexGuard},
    usage::UsageMeter,
};

/// How many are made at once.
const AT_ONCE: usize = 256;
/// How long to wait before an activation that could not be recorded is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// An activation that a request left behind: of which grant, and when by Redis' clock.
struct Owed {
    grant: Arc<LiveGrant>,
    used_at_ms: Option<i64>,
}

/// Works off in the background what requests leave behind.
pub struct OutcomeWorker {
    grants: Arc<Grants>,
    usage: Arc<UsageMeter>,
    clock: Arc<Clock>,
    outcomes: OutcomeQueue,
    /// Taken by the one run.
    queued: Mutex<Option<mpsc::Receiver<AdmissionOutcome>>>,
    /// At most one for each token that is ready, the earliest.
    owed: Mutex<HashMap<Uuid, Owed>>,
    is_owing: Notify,
}

impl OutcomeWorker {
    /// Nothing is owed yet.
    pub fn new(
        grants: Arc<Grants>,
        usage: Arc<UsageMeter>,
        clock: Arc<Clock>,
        outcomes: OutcomeQueue,
        queued: mpsc::Receiver<AdmissionOutcome>,
    ) -> Self {
        let queued = Mutex::new(Some(queued));
        Self { grants, usage, clock, outcomes, queued, owed: Mutex::default(), is_owing: Notify::new() }
    }

    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    pub fn usage(&self) -> &UsageMeter {
        &self.usage
    }

    /// Works off what is queued, and records what is owed, until dropped. It may run once.
    pub async fn run(&self, redis: &Redis) {
        let mut queued = self.queued.lock().take().expect("outcomes are worked off by one task");
        let settling = async {
            let mut batch = Vec::new();
            while queued.recv_many(&mut batch, AT_ONCE).await > 0 {
                let ended = join_all(batch.iter().map(|outcome| redis.end_admission(outcome))).await;
                let failures = ended.iter().filter(|ended| ended.is_err()).count();
                if failures > 0 {
                    tracing::warn!(failures, "cannot end admissions in Redis; their leases and claims will expire");
                }
                batch.clear();
            }
        };
        let activating = async {
            loop {
                self.is_owing.notified().await;
                while self.activate_owed().await > 0 {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        };
        tokio::join!(settling, activating);
    }

    /// Records what is owed; how much still is.
    pub async fn activate_owed(&self) -> usize {
        let owed: Vec<_> = self.lock_owed().values().map(|owed| (Arc::clone(&owed.grant), owed.used_at_ms)).collect();
        for some in owed.chunks(AT_ONCE) {
            join_all(some.iter().map(|(grant, used_at_ms)| self.activate(grant, *used_at_ms))).await;
        }
        self.lock_owed().len()
    }

    async fn activate(&self, grant: &LiveGrant, used_at_ms: Option<i64>) {
        match self.grants.activate(grant, used_at_ms).await {
            Ok(at_ms) => self.usage.activated(grant.token_id, at_ms),
            // Over, refunded or revoked: nothing is owed any more.
            Err(GrantError::Invalid(_) | GrantError::Refused(_)) => {}
            Err(GrantError::Unavailable) => return,
        }
        self.lock_owed().remove(&grant.token_id);
    }

    /// Notes that a request of this ready token may have been used, and that its clock must start.
    pub fn owe_activation(&self, grant: Arc<LiveGrant>) {
        let used_at_ms = self.clock.now_ms();
        self.lock_owed().entry(grant.token_id).or_insert(Owed { grant, used_at_ms });
        self.is_owing.notify_one();
    }

    /// Queues the end of an admission: the claim that ends, whether the upstream failed a request
    /// for nothing, and what becomes of the lease.
    pub fn end_admission(&self, grant: &LiveGrant, claim: Option<Uuid>, is_fault: bool, lease: LeaseOutcome) {
        let (Some(device), Some(session)) = (&grant.key.device, grant.lease) else { return };
        // What an owed activation needs stands until it is recorded, which ends it too.
        let claim = claim.filter(|_| !self.lock_owed().contains_key(&grant.token_id));
        let device = device.clone();
        let session_id = session.session_id;
        self.outcomes.push(AdmissionOutcome { token_id: grant.token_id, device, session_id, claim, is_fault, lease });
    }

    fn lock_owed(&self) -> MutexGuard<'_, HashMap<Uuid, Owed>> {
        self.owed.lock()
    }
}
