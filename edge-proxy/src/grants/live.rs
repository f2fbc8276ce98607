//! A grant as requests hold it: what one token opens for one device, for how long, and the channel
//! by which an end reaches everyone who holds it. Code that learns something of a token finds its
//! grants in the [`Index`].

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    redis::{
        calls::Renewal,
        feed::StreamId,
        replies::{Cut, CutReason, Grant, Lease},
    },
    token::{credential::Digest, device::Device, scope::Scope},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    assertion::CachedAssertion,
    grants::{
        index::Index,
        lease_use::LeaseUse,
        release::AdmissionGuard,
        state::{Ended, GrantState},
    },
    rejection::EndReason,
};

/// Under which a grant is kept: a credential on a device; without a device it only tells the
/// token's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantKey {
    pub digest: Digest,
    pub device: Option<Device>,
}

/// A grant as requests hold it. It is the channel too: what ends it wakes everyone who waits in
/// [`LiveGrant::ended_from`].
#[derive(Debug)]
pub struct LiveGrant {
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub scope: Scope,
    pub key: GrantKey,
    pub generation: i64,
    /// The lease that it was admitted with; `None` without a device.
    pub lease: Option<Lease>,
    /// Names the claim of a token that was ready; `None` if it was not.
    claim: Option<Uuid>,
    /// How often what is open on the token had been cut when it was admitted, and since then
    /// without it.
    cut_generation: AtomicI64,
    term: watch::Sender<GrantState>,
    pub uses: LeaseUse,
    /// Goes with it, and ends with it at the latest.
    pub assertion: CachedAssertion,
    index: Arc<Index<LiveGrant>>,
}

impl LiveGrant {
    /// What Redis, `asked` then, said that a credential opens, and what was taken for it; found in
    /// `index` from here on.
    pub fn new(
        key: GrantKey,
        generation: i64,
        taken: Option<AdmissionGuard>,
        asked: Instant,
        grant: &Grant,
        index: &Arc<Index<LiveGrant>>,
    ) -> Arc<Self> {
        let claim = taken.as_ref().and_then(AdmissionGuard::claim);
        let live = Arc::new(Self {
            token_id: grant.token_id,
            user_id: grant.user_id,
            scope: grant.scope,
            key,
            generation,
            lease: grant.lease,
            claim: claim.filter(|_| grant.activated_at_ms.is_none()),
            cut_generation: AtomicI64::new(grant.cut.generation),
            term: watch::Sender::new(GrantState::of(asked, grant)),
            uses: LeaseUse::of(grant.lease.as_ref(), taken),
            assertion: CachedAssertion::default(),
            index: Arc::clone(index),
        });
        index.add(live.token_id, &live);
        live
    }

    /// How often the token was cut, as far as this grant went on through it.
    pub fn cut_generation(&self) -> i64 {
        self.cut_generation.load(Ordering::Relaxed)
    }

    /// When Redis was asked for what is known of it.
    pub fn asked(&self) -> Instant {
        self.term.borrow().asked
    }

    /// What is left of it: the whole duration while it is ready.
    pub fn left(&self, now: Instant) -> Duration {
        let term = self.term.borrow();
        if term.activated_at_ms.is_none() { term.duration } else { term.deadline.saturating_duration_since(now) }
    }

    /// What was bought, in all.
    pub fn duration(&self) -> Duration {
        self.term.borrow().duration
    }

    /// When its clock started, in milliseconds of Redis' clock since 1970.
    pub fn activated_at_ms(&self) -> Option<i64> {
        self.term.borrow().activated_at_ms
    }

    /// When it ends, in milliseconds of Redis' clock since 1970; for showing.
    pub fn expires_at_ms(&self) -> Option<i64> {
        let term = self.term.borrow();
        Some(term.activated_at_ms? + i64::try_from(term.duration.as_millis()).ok()?)
    }

    /// Why it has ended, if it has.
    pub fn ending(&self, now: Instant) -> Option<EndReason> {
        self.term.borrow().ended(now).map(|ended| ended.ending)
    }

    /// Why it has ended for requests from there, if it has.
    pub fn ending_from(&self, address: Option<IpAddr>, now: Instant) -> Option<EndReason> {
        self.term.borrow().ended_from(address, now).map(|ended| ended.ending)
    }

    /// Whether it may be used from there.
    pub fn may_be_used_from(&self, address: Option<IpAddr>) -> bool {
        self.term.borrow().network_policy.may_use(address)
    }

    /// Waits until it has ended for requests from there, and says why. Safe to drop at any point.
    pub async fn ended_from(&self, address: Option<IpAddr>) -> Ended {
        let mut changes = self.term.subscribe();
        loop {
            let deadline = {
                let term = changes.borrow_and_update();
                if let Some(ended) = term.ended_from(address, Instant::now()) {
                    return ended;
                }
                // A ready token has no deadline yet.
                term.activated_at_ms.map(|_| term.deadline)
            };
            let expiry = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expiry => {}
                changed = changes.changed() => changed.expect("the sender lives as long as this grant"),
            }
        }
    }

    /// Ends it, for everyone who holds it; the first reason stays.
    pub fn end(&self, ending: EndReason, announced_at_ms: Option<u64>) {
        self.term.send_modify(|term| term.ended = term.ended.or(Some(Ended { ending, announced_at_ms })));
    }

    /// Applies a newer answer from Redis. `asked` is when the query was sent; older answers are
    /// ignored. `announced_at_ms` is when the change was published, in milliseconds of Redis' clock
    /// since 1970.
    pub fn renew(&self, asked: Instant, grant: &Grant, announced_at_ms: Option<u64>) {
        self.cut_generation.fetch_max(grant.cut.generation, Ordering::Relaxed);
        self.term.send_if_modified(|term| {
            // An answer that was overtaken by a later question's says nothing new.
            let is_newer = asked >= term.asked;
            if is_newer {
                *term = term.renewed(asked, grant, announced_at_ms);
            }
            is_newer
        });
    }

    /// Marks the grant as stale: it must be revalidated before its next use, unless the mark is
    /// taken back.
    pub fn mark_stale(&self) -> StaleMark {
        let at = Instant::now();
        let mut before = None;
        self.term.send_modify(|term| before = term.stale_since.replace(at));
        StaleMark { at, before }
    }

    /// Takes back a mark, unless there is a later one or the grant was revalidated.
    pub fn unmark_stale(&self, mark: StaleMark) {
        self.term.send_if_modified(|term| {
            if term.stale_since == Some(mark.at) {
                term.stale_since = mark.before;
            }
            // It wakes nobody, for it ends nothing.
            false
        });
    }

    /// When a change was told that no answer has taken in yet.
    pub fn stale_since(&self) -> Option<Instant> {
        self.term.borrow().stale_since
    }

    /// Redis is being asked to start its clock, until what this gives is dropped.
    pub fn begin_activation(&self) -> PendingActivation<'_> {
        self.term.send_if_modified(|term| {
            term.start.get_or_insert_default().asking += 1;
            false
        });
        PendingActivation { live: self, asked: Instant::now(), outcome: None }
    }

    /// Whether this feed entry is the echo of our own activation (`None` while its reply is
    /// pending).
    pub fn is_own_activation(&self, change: StreamId) -> Option<bool> {
        self.term.borrow().is_own_activation(change)
    }

    /// The same, once it can be said: as soon as Redis has answered, or is not waited for any more.
    pub async fn is_own_activation_once_known(&self, change: StreamId) -> bool {
        let mut terms = self.term.subscribe();
        let term = terms.wait_for(|term| term.is_own_activation(change).is_some()).await;
        term.expect("the sender lives as long as this grant").is_own_activation(change) == Some(true)
    }

    /// Forgets by which change a start from here was told: that was heard, or never will be.
    pub fn forget_activation(&self) {
        self.term.send_if_modified(|term| {
            term.start = term.start.take().filter(|start| start.asking > 0);
            false
        });
    }

    /// What keeps its lease; `None` without a device.
    pub fn renewal(&self) -> Option<Renewal<'_>> {
        let (device, lease) = (self.key.device.as_ref()?, self.lease?);
        Some(Renewal {
            device,
            session_id: lease.session_id,
            started_at_ms: lease.started_at_ms,
            claim: self.open_claim(),
            cut_generation: self.cut_generation(),
            has_reached: self.uses.has_reached(),
        })
    }

    /// Names the claim for as long as it matters: until the token's clock runs.
    pub fn open_claim(&self) -> Option<Uuid> {
        self.claim.filter(|_| self.activated_at_ms().is_none())
    }

    /// Whether what Redis says now cuts what was admitted then.
    pub fn cut_by(&self, grant: &Grant) -> Option<EndReason> {
        let Cut { generation, reason, device } = &grant.cut;
        let missed = generation - self.cut_generation();
        // Where several cuts were missed, one of them may have named this device.
        let is_met = missed > 1 || missed == 1 && (device.is_none() || *device == self.key.device);
        if is_met && self.key.device.is_some() {
            return Some(match reason {
                Some(CutReason::EndedByAdministrator) => EndReason::EndedByAdministrator,
                Some(CutReason::TakenOver) | None => EndReason::TakenOver,
            });
        }
        let is_released = self.lease.is_some_and(|lease| grant.released == Some(lease.session_id));
        is_released.then_some(EndReason::TakenOver)
    }
}

/// A mark of staleness, and the one that it replaced.
#[derive(Clone, Copy, Debug)]
pub struct StaleMark {
    at: Instant,
    before: Option<Instant>,
}

/// The question to Redis to start the clock of a grant.
pub struct PendingActivation<'a> {
    live: &'a LiveGrant,
    asked: Instant,
    outcome: Option<Started>,
}

/// What Redis says of it: since when the clock runs, what is left, and by which change the edges
/// were told, if it was started just now.
struct Started {
    activated_at_ms: i64,
    left: Duration,
    told_by: Option<StreamId>,
}

impl PendingActivation<'_> {
    /// Takes in that the clock runs. Of all else this answer says nothing.
    pub fn started(mut self, activated_at_ms: i64, left: Duration, told_by: Option<StreamId>) {
        self.outcome = Some(Started { activated_at_ms, left, told_by });
    }
}

impl Drop for PendingActivation<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome.take();
        self.live.term.send_modify(|term| {
            let mut start = term.start.take().unwrap_or_default();
            start.asking = start.asking.saturating_sub(1);
            if let Some(Started { activated_at_ms, left, told_by }) = outcome {
                let (deadline, start_asked) = (self.asked + left, Some(self.asked));
                start.told_by = told_by.or(start.told_by);
                *term = GrantState { deadline, activated_at_ms: Some(activated_at_ms), start_asked, ..term.clone() };
            }
            term.start = Some(start).filter(|start| start.asking > 0 || start.told_by.is_some());
        });
    }
}

impl Drop for LiveGrant {
    fn drop(&mut self) {
        self.index.forget(self.token_id);
    }
}

#[cfg(test)]
mod tests {
    use shared::redis::replies::Lookup;

    use super::*;
    use crate::grants::evaluate::Evaluation;

    const HOUR: Duration = Duration::from_secs(3600);

    fn grant(is_tentative: bool) -> Grant {
        Grant {
            token_id: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            scope: Scope::Full,
            duration: HOUR,
            activated_at_ms: None,
            left: HOUR,
            network_policy: Arc::default(),
            cut: Cut::default(),
            released: None,
            lease: Some(Lease { session_id: Uuid::from_u128(3), started_at_ms: 0, is_tentative }),
        }
    }

    fn live(grant: &Grant, index: &Arc<Index<LiveGrant>>) -> Arc<LiveGrant> {
        let key = GrantKey { digest: Digest::of(b"a secret"), device: Some(Device::known("a-device")) };
        LiveGrant::new(key, 1, None, Instant::now(), grant, index)
    }

    #[tokio::test]
    async fn a_grant_ends_when_its_time_is_up_and_a_ready_one_has_all_of_it() {
        let live = live(&grant(false), &Arc::default());
        assert_eq!(live.left(Instant::now() + HOUR * 2), HOUR);
        live.begin_activation().started(0, Duration::from_millis(20), None);
        assert_eq!(live.ending(Instant::now() + Duration::from_millis(20)), Some(EndReason::Expired));
        live.end(EndReason::Suspended, None);
        assert_eq!(live.ended_from(None).await.ending, EndReason::Suspended);
    }

    #[test]
    fn cuts_of_other_devices_do_not_add_up_to_one_of_ours() {
        let live = live(&grant(false), &Arc::default());
        let cut = |generation| {
            let cut = Cut { generation, reason: None, device: Some(Device::known("another-device")) };
            Grant { cut, ..grant(false) }
        };
        for generation in 1..4 {
            let Evaluation::Live(grant) = Evaluation::of(Lookup::Live(cut(generation)), Some(&live)) else {
                panic!("cut by number {generation}")
            };
            live.renew(Instant::now(), &grant, None);
        }
    }

    #[tokio::test]
    async fn an_own_activation_is_known_by_its_change_once_redis_answered_and_no_other_is() {
        let live = live(&grant(false), &Arc::default());
        let change = |at_ms| StreamId { at_ms, sequence: 0 };
        assert_eq!(live.is_own_activation(change(1)), Some(false), "nobody here has started it");
        let starting = live.begin_activation();
        assert_eq!(live.is_own_activation(change(1)), None);
        let (waiting, another) =
            (live.is_own_activation_once_known(change(1)), live.is_own_activation_once_known(change(2)));
        tokio::pin!(waiting, another);
        assert!(
            futures_util::poll!(waiting.as_mut()).is_pending() && futures_util::poll!(another.as_mut()).is_pending()
        );
        starting.started(0, HOUR, Some(change(1)));
        assert!(waiting.await && !another.await);
        // One that comes to a clock that runs tells nobody anything.
        live.begin_activation().started(0, HOUR, None);
        assert_eq!((live.is_own_activation(change(1)), live.is_own_activation(change(2))), (Some(true), Some(false)));
        live.forget_activation();
        assert_eq!(live.is_own_activation(change(1)), Some(false));
    }

    #[tokio::test]
    async fn a_start_that_is_not_answered_is_no_change_of_ours() {
        let live = live(&grant(false), &Arc::default());
        let (one, other) = (live.begin_activation(), live.begin_activation());
        let change = StreamId { at_ms: 1, sequence: 0 };
        let waiting = live.is_own_activation_once_known(change);
        tokio::pin!(waiting);
        drop(one);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "the other may have made it");
        drop(other);
        assert!(!waiting.await);
        assert_eq!(live.activated_at_ms(), None);
    }

    #[test]
    fn an_answer_that_knows_of_no_start_does_not_take_it_back() {
        let live = live(&grant(false), &Arc::default());
        live.begin_activation().started(7, HOUR, None);
        live.renew(Instant::now(), &grant(false), None);
        assert_eq!(live.activated_at_ms(), Some(7));
        live.renew(Instant::now(), &Grant { activated_at_ms: Some(5), ..grant(false) }, None);
        assert_eq!(live.activated_at_ms(), Some(5), "the earliest that anybody told");
    }

    #[test]
    fn a_doubt_that_is_taken_back_leaves_those_before_and_after_it() {
        let live = live(&grant(false), &Arc::default());
        let only = live.mark_stale();
        live.unmark_stale(only);
        assert_eq!(live.stale_since(), None);
        live.mark_stale();
        let before = live.stale_since();
        let later = live.mark_stale();
        live.unmark_stale(later);
        assert_eq!(live.stale_since(), before);
        let earlier = live.mark_stale();
        live.mark_stale();
        live.unmark_stale(earlier);
        assert!(live.stale_since() > before);
        let marked = live.mark_stale();
        live.renew(Instant::now(), &grant(false), None);
        live.unmark_stale(marked);
        assert_eq!(live.stale_since(), None);
    }

    #[tokio::test]
    async fn an_end_reaches_every_request_that_waits_already() {
        let live = live(&grant(false), &Arc::default());
        let waiting = live.ended_from(None);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        live.end(EndReason::Revoked, None);
        live.end(EndReason::Expired, None);
        assert_eq!(waiting.await.ending, EndReason::Revoked);
    }

    #[tokio::test]
    async fn a_change_of_networks_ends_it_for_those_whom_they_keep_out_and_for_nobody_else() {
        let live = live(&grant(false), &Arc::default());
        let address = |text: &str| Some(text.parse().expect("an address"));
        let (inside, outside) = (address("192.0.2.1"), address("198.51.100.1"));
        let (waiting, staying) = (live.ended_from(outside), live.ended_from(inside));
        tokio::pin!(waiting, staying);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let network_policy = Arc::new(r#"{"token":{"allowed":["192.0.2.0/24"]}}"#.parse().expect("networks"));
        live.renew(Instant::now(), &Grant { network_policy, ..grant(false) }, Some(7));
        let ended = waiting.await;
        assert_eq!((ended.ending, ended.announced_at_ms), (EndReason::NetworkNotAllowed, Some(7)));
        assert!(futures_util::poll!(staying.as_mut()).is_pending());
        assert!(live.may_be_used_from(inside) && !live.may_be_used_from(outside) && !live.may_be_used_from(None));
    }

    #[test]
    fn the_index_finds_a_grant_for_as_long_as_anybody_holds_it() {
        let index = Arc::<Index<LiveGrant>>::default();
        let (one, other) = (live(&grant(false), &index), live(&grant(false), &index));
        assert_eq!(index.of(one.token_id).len(), 2);
        drop(other);
        assert_eq!(index.of(one.token_id).len(), 1);
        drop(one);
        assert!(index.all().is_empty());
    }

    #[test]
    fn a_cut_meets_the_device_that_it_names_and_everyone_where_one_was_missed() {
        let live = live(&grant(false), &Arc::default());
        let ending = |generation, device: Option<&str>| {
            let reason = Some(CutReason::EndedByAdministrator);
            let cut = Cut { generation, reason, device: device.map(Device::known) };
            match Evaluation::of(Lookup::Live(Grant { cut, ..grant(false) }), Some(&live)) {
                Evaluation::Ended(ending) => Some(ending),
                _ => None,
            }
        };
        assert_eq!(ending(0, Some("a-device")), None);
        assert_eq!(ending(1, Some("another-device")), None);
        for (generation, device) in [(1, Some("a-device")), (1, None), (2, Some("another-device"))] {
            assert_eq!(ending(generation, device), Some(EndReason::EndedByAdministrator));
        }
    }
}
