//! The permit of a request that was admitted: what it holds until it is known what became of it, and how that is settled.
//!
//! A token's clock starts with its first answer that is no `5xx`. Nobody dodges it by leaving early: once a byte of a first
//! request has gone out, only a failure of the upstream's own leaves the token ready. So a permit keeps account of how far its
//! request came, and its `Drop`, which a cut and a client that hangs up come to as well, hands what follows to the [`OutcomeWorker`].

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::StatusCode;
use shared::redis::calls::LeaseOutcome;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::{
    admission::concurrency::Slot,
    clock::Clock,
    grants::{
        Grants,
        evaluate::GrantError,
        live::{Ended, LiveGrant},
        release::Settlements,
    },
    redis::{AdmissionOutcome, Redis},
    rejection::{EndReason, InvalidCredential, Rejection},
    sync::{Mutex, MutexGuard},
    usage::{OpenRequest, UsageMeter},
};

/// How many are made at once.
const AT_ONCE: usize = 256;
/// How long to wait before an activation that could not be recorded is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

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
    pub held: Arc<LiveGrant>,
    /// The client's.
    pub address: Option<IpAddr>,
    /// Where what passes is counted, once it is clear that something may.
    open: Option<OpenRequest>,
    /// What of its token's is open until then.
    place: Option<Slot>,
    stage: AtomicU8,
    settler: Arc<OutcomeWorker>,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("token_id", &self.held.token_id).finish_non_exhaustive()
    }
}

impl Permit {
    /// For a grant whose use was begun by [`Grants::admit`]: dropped as it is, what was taken for it is given back.
    pub fn new(held: Arc<LiveGrant>, address: Option<IpAddr>, settler: Arc<OutcomeWorker>) -> Self {
        Self { held, address, open: None, place: None, stage: AtomicU8::new(Stage::Admitted as u8), settler }
    }

    /// Waits until it has ended, and says why. Safe to drop at any point.
    pub async fn ended(&self) -> Ended {
        self.held.ended_from(self.address).await
    }

    /// Why it has ended, if it has.
    pub fn ending(&self) -> Option<EndReason> {
        self.held.ending_from(self.address, Instant::now())
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
        if self.held.uses.reach() {
            self.settler.settle(&self.held, None, false, LeaseOutcome::Keep);
        }
    }

    /// The upstream could not be reached, or broke off, or was silent for too long.
    pub fn failed(&self, was_silent: bool) {
        if was_silent && self.is(Stage::Sent) {
            self.settle_fault();
        }
        self.set(Stage::Failed);
    }

    /// The upstream answers: starts the token's clock if this is its first answer, before that answer goes out.
    pub async fn answered(&self, status: StatusCode) -> Result<(), Rejection> {
        if status.is_server_error() {
            self.settle_fault();
            self.set(Stage::Failed);
            return Ok(());
        }
        if self.held.activated_at_ms().is_none() {
            let grants = &self.settler.grants;
            // Boxed, so that answers that start no clock do not carry room for one.
            let activated = Box::pin(grants.activate(&self.held, None)).await;
            let activated = activated.map_err(|unfit| match unfit {
                GrantError::Unavailable => Rejection::Unavailable,
                GrantError::Invalid(bad) => Rejection::BadCredential(bad),
                GrantError::Refused(_) => Rejection::BadCredential(InvalidCredential::Revoked),
            });
            // A client that is refused instead got nothing.
            self.set(Stage::Failed);
            self.settler.meter.activated(self.held.token_id, activated?);
            grants.keep(&self.held);
        }
        self.set(Stage::Answered);
        Ok(())
    }

    fn settle_fault(&self) {
        if self.held.activated_at_ms().is_none() {
            self.settler.settle(&self.held, None, true, LeaseOutcome::Unsettled);
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
        let held = &self.held;
        let is_ready = held.activated_at_ms().is_none();
        if is_ready && self.is(Stage::Sent) {
            self.settler.owe_activation(Arc::clone(held));
        }
        let leaving = held.uses.leave();
        let lease = if leaving.lets_go { LeaseOutcome::Release } else { LeaseOutcome::Unsettled };
        if leaving.lets_go {
            self.settler.grants.forget(held);
        }
        let claim = held.open_claim().filter(|_| leaving.is_last);
        if leaving.lets_go || claim.is_some() {
            self.settler.settle(held, claim, false, lease);
        }
    }
}

/// An activation that a request left behind: of which grant, and when by Redis' clock.
struct Owed {
    held: Arc<LiveGrant>,
    used_at_ms: Option<i64>,
}

/// Settles in the background what requests leave behind.
pub struct OutcomeWorker {
    grants: Arc<Grants>,
    meter: Arc<UsageMeter>,
    clock: Arc<Clock>,
    settlements: Settlements,
    /// At most one for each token that is ready, the earliest.
    owed: Mutex<HashMap<Uuid, Owed>>,
    is_owing: Notify,
}

impl OutcomeWorker {
    /// Nothing is owed yet.
    pub fn new(grants: Arc<Grants>, meter: Arc<UsageMeter>, clock: Arc<Clock>, settlements: Settlements) -> Self {
        Self { grants, meter, clock, settlements, owed: Mutex::default(), is_owing: Notify::new() }
    }

    /// Works off what is queued, and records what is owed, until dropped.
    pub async fn run(&self, redis: &Redis, mut queued: mpsc::Receiver<AdmissionOutcome>) {
        let settling = async {
            let mut batch = Vec::new();
            while queued.recv_many(&mut batch, AT_ONCE).await > 0 {
                let settled = join_all(batch.iter().map(|settlement| redis.settle(settlement))).await;
                let failures = settled.iter().filter(|settled| settled.is_err()).count();
                if failures > 0 {
                    tracing::warn!(failures, "leases and claims of requests that ended were left to lapse");
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
        let owed: Vec<_> = self.lock_owed().values().map(|owed| (Arc::clone(&owed.held), owed.used_at_ms)).collect();
        for some in owed.chunks(AT_ONCE) {
            join_all(some.iter().map(|(held, used_at_ms)| self.activate(held, *used_at_ms))).await;
        }
        self.lock_owed().len()
    }

    async fn activate(&self, held: &LiveGrant, used_at_ms: Option<i64>) {
        match self.grants.activate(held, used_at_ms).await {
            Ok(at_ms) => self.meter.activated(held.token_id, at_ms),
            // Over, refunded or revoked: nothing is owed any more.
            Err(GrantError::Invalid(_) | GrantError::Refused(_)) => {}
            Err(GrantError::Unavailable) => return,
        }
        self.lock_owed().remove(&held.token_id);
    }

    fn owe_activation(&self, held: Arc<LiveGrant>) {
        let used_at_ms = self.clock.now_ms();
        self.lock_owed().entry(held.token_id).or_insert(Owed { held, used_at_ms });
        self.is_owing.notify_one();
    }

    fn settle(&self, held: &LiveGrant, claim: Option<Uuid>, is_fault: bool, lease: LeaseOutcome) {
        let (Some(device), Some(session)) = (&held.key.device, held.lease) else { return };
        // What an owed activation needs stands until it is recorded, which ends it too.
        let claim = claim.filter(|_| !self.lock_owed().contains_key(&held.token_id));
        let device = device.clone();
        let session_id = session.session_id;
        self.settlements.push(AdmissionOutcome { token_id: held.token_id, device, session_id, claim, is_fault, lease });
    }

    fn lock_owed(&self) -> MutexGuard<'_, HashMap<Uuid, Owed>> {
        self.owed.lock()
    }
}
