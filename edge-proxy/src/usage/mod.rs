//! Adds up what passes, per session, and tells it to the control plane: cumulative figures, so that
//! telling one twice changes nothing and one that is lost is made good by the next. Counting
//! happens where the bytes pass and in `Drop`, so that what is cut or aborted is counted to the
//! byte.

pub mod session;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use shared::redis::events::{SessionFigures, Usage};
use uuid::Uuid;

pub use self::session::{OpenRequest, SessionInfo, SessionUsage, agent_told};
use crate::{
    clock::Clock,
    redis::{Error, Redis},
    sync::{Mutex, MutexGuard},
};

/// How long the figures of a session are kept after its lease has lapsed: a Redis that lost them is
/// told again.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// How long an activation is kept to be told again.
const ACTIVATION_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many activations are kept; the oldest go first.
const ACTIVATIONS_KEPT: usize = 200_000;
/// How many events are told at once.
const BATCH: usize = 500;
/// How many entries may wait in Redis before figures wait here instead: a stream that nobody reads
/// must not fill Redis.
const MAX_BACKLOG: u64 = 200_000;

/// What this edge has counted of every session.
#[derive(Debug)]
pub struct UsageMeter {
    clock: Arc<Clock>,
    lease: Duration,
    sessions: Mutex<Sessions>,
    activations: Mutex<Activations>,
    /// One telling at a time: the last one waits for what another has under way.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Sessions {
    /// What the figures are told under. Drawn anew when a session is forgotten: one that comes back
    /// begins at nothing, and that must not hide behind the higher figures of before.
    instance_id: Uuid,
    tallies: HashMap<Uuid, Arc<SessionUsage>>,
}

/// Activations that Redis was told of, oldest first.
#[derive(Debug, Default)]
struct Activations {
    noted: VecDeque<(Instant, Uuid)>,
    at_ms: HashMap<Uuid, i64>,
    /// Another Redis has not heard of them.
    are_untold: bool,
}

impl UsageMeter {
    /// A meter that reckons by this clock, where a device holds a token for `lease` after its last
    /// request.
    pub fn new(clock: Arc<Clock>, lease: Duration) -> Self {
        let sessions = Sessions { instance_id: Uuid::new_v4(), tallies: HashMap::new() };
        let (sessions, telling) = (Mutex::new(sessions), tokio::sync::Mutex::default());
        Self { clock, lease, sessions, activations: Mutex::default(), telling }
    }

    /// What is counted of a session, from its first request here on; `who` is asked for that one
    /// alone.
    pub fn session(&self, session_id: Uuid, who: impl FnOnce() -> SessionInfo) -> Arc<SessionUsage> {
        let mut sessions = self.lock_sessions();
        let instance_id = sessions.instance_id;
        let tally =
            sessions.tallies.entry(session_id).or_insert_with(|| Arc::new(SessionUsage::new(instance_id, who())));
        Arc::clone(tally)
    }

    /// The figures of each session that changed since they were last taken, and of those with a
    /// connection open every so often even so: they are alive. None while Redis' clock is unknown.
    pub fn take_changed(&self) -> Vec<SessionFigures> {
        self.take_changed_at(Instant::now())
    }

    fn take_changed_at(&self, now: Instant) -> Vec<SessionFigures> {
        // A fifth of the lease, as often as leases are renewed: a session whose figures come so
        // often does not count as idle.
        let report_every = self.lease / 5;
        self.tallies().iter().filter_map(|tally| tally.take(&self.clock, now, report_every)).collect()
    }

    /// Takes back figures that could not be told.
    pub fn put_back(&self, figures: &[SessionFigures]) {
        let sessions = self.lock_sessions();
        for figures in figures {
            if let Some(tally) = sessions.tallies.get(&figures.session_id) {
                tally.put_back();
            }
        }
    }

    /// Takes in that Redis is another one, or has lost what it held: all that is kept is to be told
    /// again.
    pub fn retell(&self) {
        for tally in self.tallies() {
            tally.put_back();
        }
        self.lock_activations().are_untold = true;
    }

    /// Drops the sessions that have nothing open, nothing untold and no request for so long that no
    /// lease and no Redis can bring them back.
    pub fn forget_old(&self) {
        self.forget_old_at(Instant::now());
    }

    fn forget_old_at(&self, now: Instant) {
        let mut sessions = self.lock_sessions();
        let before = sessions.tallies.len();
        // Every holder of a tally has a request open, or is about to; there is no new holder while
        // this lock is held.
        sessions.tallies.retain(|_, tally| {
            let idle_for = now.saturating_duration_since(tally.last_activity());
            Arc::strong_count(tally) > 1 || tally.has_news() || idle_for < self.lease + KEPT_FOR
        });
        if sessions.tallies.len() < before {
            sessions.instance_id = Uuid::new_v4();
        }
        drop(sessions);
        self.lock_activations().forget_old(now);
    }

    /// How many sessions have figures that were not taken yet.
    pub fn pending(&self) -> usize {
        self.tallies().iter().filter(|tally| tally.has_news()).count()
    }

    /// How many connections are open in all.
    pub fn open_connections(&self) -> u64 {
        self.tallies().iter().map(|tally| tally.open_connections()).sum()
    }

    /// Keeps an activation that Redis knows of (in milliseconds of its clock since 1970), in case
    /// that it loses it.
    pub fn activated(&self, token_id: Uuid, at_ms: i64) {
        self.lock_activations().note(Instant::now(), token_id, at_ms);
    }

    /// Every activation that is kept, once after each [`UsageMeter::retell`].
    pub fn activations_to_retell(&self) -> Vec<Usage> {
        let mut activations = self.lock_activations();
        if !std::mem::take(&mut activations.are_untold) {
            return Vec::new();
        }
        activations.at_ms.iter().map(|(&token_id, &at_ms)| Usage::Activated { token_id, at_ms }).collect()
    }

    /// Tells what is new, activations first. Figures wait where too much lies unread in Redis,
    /// unless this `is_last`: what this edge does not tell now is lost. What could not be told is
    /// kept for the next time, also where this is dropped half-way.
    pub async fn flush(&self, redis: &Redis, is_last: bool) -> Result<(), Error> {
        let _telling = self.telling.lock().await;
        let activations = self.activations_to_retell();
        let mut untold = PutBack { meter: self, figures: &[], with_activations: !activations.is_empty() };
        for batch in activations.chunks(BATCH) {
            redis.report_all(batch).await?;
        }
        untold.with_activations = false;
        if !is_last && redis.usage_backlog().await? > MAX_BACKLOG {
            return Ok(());
        }
        let figures = self.take_changed();
        let mut untold = PutBack { meter: self, figures: &figures, with_activations: false };
        while !untold.figures.is_empty() {
            let (batch, rest) = untold.figures.split_at(untold.figures.len().min(BATCH));
            let events: Vec<Usage> = batch.iter().cloned().map(Usage::Session).collect();
            redis.report_all(&events).await?;
            untold.figures = rest;
        }
        Ok(())
    }

    fn tallies(&self) -> Vec<Arc<SessionUsage>> {
        self.lock_sessions().tallies.values().cloned().collect()
    }

    fn lock_sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock()
    }

    fn lock_activations(&self) -> MutexGuard<'_, Activations> {
        self.activations.lock()
    }
}

/// Puts back what was taken and not told.
struct PutBack<'a> {
    meter: &'a UsageMeter,
    figures: &'a [SessionFigures],
    with_activations: bool,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        self.meter.put_back(self.figures);
        if self.with_activations {
            self.meter.lock_activations().are_untold = true;
        }
    }
}

impl Activations {
    fn note(&mut self, now: Instant, token_id: Uuid, at_ms: i64) {
        if let Some(known) = self.at_ms.get_mut(&token_id) {
            *known = at_ms.min(*known);
            return;
        }
        self.at_ms.insert(token_id, at_ms);
        self.noted.push_back((now, token_id));
        if self.noted.len() > ACTIVATIONS_KEPT {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.noted.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > ACTIVATION_KEPT_FOR) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, token_id)) = self.noted.pop_front() {
            self.at_ms.remove(&token_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::token::device::Device;

    use super::*;

    const LEASE: Duration = Duration::from_secs(300);

    fn meter() -> UsageMeter {
        let clock = Arc::new(Clock::new());
        clock.sync(Instant::now(), 1_700_000_000_000);
        UsageMeter::new(clock, LEASE)
    }

    fn tally_of(meter: &UsageMeter, who: SessionInfo) -> Arc<SessionUsage> {
        meter.session(who.session_id, || who)
    }

    fn who(session: u128) -> SessionInfo {
        SessionInfo {
            session_id: Uuid::from_u128(session),
            token_id: Uuid::from_u128(100 + session),
            user_id: Uuid::from_u128(200),
            device: Device::known("a-device"),
            started_at_ms: 1_700_000_000_000,
            address: "192.0.2.7".parse().ok(),
            agent: Some("a client".into()),
        }
    }

    #[test]
    fn figures_add_up_over_the_requests_of_a_session_and_are_told_when_they_change() {
        let meter = meter();
        let first = tally_of(&meter, who(1)).open();
        first.add_in(10);
        let second = tally_of(&meter, SessionInfo { address: None, agent: None, ..who(1) }).open();
        second.add_out(7);
        assert_eq!(meter.pending(), 1);
        let taken = meter.take_changed();
        assert_eq!(taken.len(), 1);
        let figures = &taken[0];
        assert_eq!((figures.requests, figures.bytes_in, figures.bytes_out, figures.open_connections), (2, 10, 7, 2));
        assert_eq!((figures.address, figures.agent.as_deref()), (who(1).address, Some("a client")));
        assert!(figures.started_at_ms <= figures.last_activity_ms);
        assert!(figures.last_activity_ms <= figures.reported_at_ms);
        assert_eq!((meter.take_changed(), meter.pending()), (vec![], 0));

        second.add_out(1);
        let again = meter.take_changed().remove(0);
        assert_eq!((again.requests, again.bytes_in, again.bytes_out), (2, 10, 8));
        assert_eq!(again.instance_id, figures.instance_id);
    }

    #[test]
    fn what_is_cut_is_counted_to_the_byte() {
        let meter = meter();
        let open = tally_of(&meter, who(1)).open();
        open.add_out(65_536);
        open.add_out(1);
        drop(open);
        let figures = meter.take_changed().remove(0);
        assert_eq!((figures.bytes_out, figures.open_connections), (65_537, 0));
    }

    #[test]
    fn a_session_without_a_request_is_not_told() {
        let meter = meter();
        let _tally = tally_of(&meter, who(1));
        assert_eq!((meter.take_changed(), meter.pending()), (vec![], 0));
    }

    #[test]
    fn an_open_connection_is_told_now_and_again_though_no_byte_moves() {
        let meter = meter();
        let open = tally_of(&meter, who(1)).open();
        let now = Instant::now();
        assert_eq!(meter.take_changed_at(now).len(), 1);
        assert_eq!(meter.take_changed_at(now + LEASE / 6).len(), 0);
        assert_eq!(meter.take_changed_at(now + LEASE / 5).len(), 1);
        assert_eq!(meter.take_changed_at(now + LEASE / 4).len(), 0);
        drop(open);
        assert_eq!(meter.take_changed_at(now + LEASE / 4).len(), 1);
        assert_eq!(meter.take_changed_at(now + LEASE).len(), 0);
    }

    #[test]
    fn figures_that_could_not_be_told_are_taken_again() {
        let meter = meter();
        for session in 1..=3 {
            drop(tally_of(&meter, who(session)).open());
        }
        let taken = meter.take_changed();
        assert_eq!(taken.len(), 3);
        meter.put_back(&taken[1..]);
        assert_eq!(meter.pending(), 2);
        let mut again: Vec<Uuid> = meter.take_changed().iter().map(|figures| figures.session_id).collect();
        let mut untold: Vec<Uuid> = taken[1..].iter().map(|figures| figures.session_id).collect();
        again.sort();
        untold.sort();
        assert_eq!(again, untold);
    }

    #[test]
    fn nothing_is_taken_before_the_time_is_known() {
        let meter = UsageMeter::new(Arc::default(), LEASE);
        drop(tally_of(&meter, who(1)).open());
        assert_eq!((meter.take_changed(), meter.pending()), (vec![], 1));
        meter.clock.sync(Instant::now(), 1_700_000_000_000);
        assert_eq!(meter.take_changed().len(), 1);
    }

    #[test]
    fn what_is_told_later_says_so_though_redis_clock_was_set_back() {
        let meter = meter();
        let open = tally_of(&meter, who(1)).open();
        let before = meter.take_changed().remove(0);
        meter.clock.sync(Instant::now(), 1_600_000_000_000);
        open.add_out(1);
        let after = meter.take_changed().remove(0);
        assert!(after.reported_at_ms > before.reported_at_ms);
    }

    #[test]
    fn a_session_is_forgotten_once_it_is_over_told_and_old() {
        let meter = meter();
        let open = tally_of(&meter, who(1)).open();
        meter.take_changed();
        let old = Instant::now() + LEASE + KEPT_FOR + Duration::from_secs(1);
        let kept = || meter.tallies().len();
        meter.forget_old_at(old);
        assert_eq!(kept(), 1, "it is open");
        drop(open);
        meter.forget_old_at(old);
        assert_eq!(kept(), 1, "its end was not told");
        meter.take_changed();
        meter.forget_old_at(old - Duration::from_secs(60));
        assert_eq!(kept(), 1, "it is not old");
        let held = tally_of(&meter, who(1));
        meter.forget_old_at(old);
        assert_eq!(kept(), 1, "a request is about to count");
        drop(held);
        meter.forget_old_at(old);
        assert_eq!(kept(), 0);
    }

    #[test]
    fn a_session_that_comes_back_after_it_was_forgotten_is_counted_apart() {
        let meter = meter();
        drop(tally_of(&meter, who(1)).open());
        let before = meter.take_changed().remove(0);
        meter.forget_old_at(Instant::now() + LEASE + KEPT_FOR + Duration::from_secs(1));
        drop(tally_of(&meter, who(1)).open());
        let after = meter.take_changed().remove(0);
        assert_eq!((before.requests, after.requests), (1, 1));
        assert_ne!(before.instance_id, after.instance_id);
    }

    #[test]
    fn another_redis_is_told_all_that_is_kept_once() {
        let meter = meter();
        drop(tally_of(&meter, who(1)).open());
        meter.activated(Uuid::from_u128(7), 2_000);
        meter.activated(Uuid::from_u128(7), 1_000);
        meter.activated(Uuid::from_u128(7), 3_000);
        let told = meter.take_changed();
        assert_eq!(meter.activations_to_retell(), vec![]);
        meter.retell();
        let again = meter.take_changed();
        assert_eq!((again[0].session_id, again[0].requests), (told[0].session_id, told[0].requests));
        let activated = Usage::Activated { token_id: Uuid::from_u128(7), at_ms: 1_000 };
        assert_eq!(meter.activations_to_retell(), vec![activated]);
        assert_eq!((meter.activations_to_retell(), meter.take_changed()), (vec![], vec![]));
    }

    #[test]
    fn activations_are_kept_for_a_day_and_only_so_many() {
        let mut activations = Activations::default();
        let now = Instant::now();
        for token in 0..=ACTIVATIONS_KEPT {
            activations.note(now, Uuid::from_u128(token as u128), 0);
        }
        assert_eq!((activations.noted.len(), activations.at_ms.len()), (ACTIVATIONS_KEPT, ACTIVATIONS_KEPT));
        assert!(!activations.at_ms.contains_key(&Uuid::from_u128(0)), "the oldest goes");
        activations.note(now + Duration::from_secs(1), Uuid::from_u128(u128::MAX), 0);
        activations.forget_old(now + ACTIVATION_KEPT_FOR);
        assert_eq!(activations.at_ms.len(), ACTIVATIONS_KEPT);
        activations.forget_old(now + ACTIVATION_KEPT_FOR + Duration::from_millis(1));
        assert_eq!((activations.noted.len(), activations.at_ms.len()), (1, 1));
    }
}
