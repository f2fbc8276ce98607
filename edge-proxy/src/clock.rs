//! Redis' clock as this edge reckons it: the one clock that both planes go by. It runs on from the
//! last answer by the monotonic clock, so that an edge whose wall clock is wrong still tells the
//! right times.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What stands for a time of Redis' clock that is not known yet.
const UNKNOWN: i64 = i64::MIN;

/// An estimate of Redis' clock, as good as half the time that its last answer took.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    /// Redis' clock at `origin`, in milliseconds since 1970.
    origin_ms: AtomicI64,
}

impl Clock {
    /// A clock that does not know the time yet.
    pub fn new() -> Self {
        Self { origin: Instant::now(), origin_ms: AtomicI64::new(UNKNOWN) }
    }

    /// Takes in that Redis, `asked` then and answering now, had this time, in milliseconds since
    /// 1970: as of halfway between.
    pub fn sync(&self, asked: Instant, now_ms: i64) {
        self.sync_at(asked + asked.elapsed() / 2, now_ms);
    }

    fn sync_at(&self, instant: Instant, now_ms: i64) {
        self.origin_ms.store(now_ms - millis(instant.saturating_duration_since(self.origin)), Ordering::Relaxed);
    }

    /// Redis' time now, in milliseconds since 1970; `None` until it was told once.
    pub fn now_ms(&self) -> Option<i64> {
        self.at(Instant::now())
    }

    /// The same in seconds.
    pub fn now_seconds(&self) -> Option<i64> {
        self.now_ms().map(|now_ms| now_ms / 1_000)
    }

    /// Redis' time now, in milliseconds since 1970, or until it was told once this machine's: for
    /// telling others a time that nothing here rests on.
    pub fn told_ms(&self) -> i64 {
        self.now_ms().unwrap_or_else(wall_ms)
    }

    /// Redis' time at an instant since this clock was made, in milliseconds since 1970; `None`
    /// until it was told once.
    pub fn at(&self, instant: Instant) -> Option<i64> {
        let origin_ms = self.origin_ms.load(Ordering::Relaxed);
        (origin_ms != UNKNOWN).then(|| origin_ms + millis(instant.saturating_duration_since(self.origin)))
    }

    /// How far this machine's wall clock is ahead of Redis' clock; for showing, since no decision
    /// reads a wall clock. 0 until Redis' clock is known.
    pub fn offset_seconds(&self) -> f64 {
        let offset_ms = self.now_ms().map_or(0, |now_ms| wall_ms() - now_ms);
        Duration::from_millis(offset_ms.unsigned_abs()).as_secs_f64() * if offset_ms < 0 { -1.0 } else { 1.0 }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).expect("no process lives for millions of years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_on_from_what_redis_said_last() {
        let clock = Clock::new();
        assert_eq!(clock.now_ms(), None);
        let later = clock.origin + Duration::from_secs(10);
        clock.sync_at(later, 1_700_000_000_000);
        assert_eq!(clock.at(later), Some(1_700_000_000_000));
        assert_eq!(clock.at(later + Duration::from_millis(1_500)), Some(1_700_000_001_500));
        assert_eq!(clock.at(clock.origin), Some(1_699_999_990_000));
    }

    #[test]
    fn an_answer_counts_as_given_halfway() {
        let asked = Instant::now() - Duration::from_secs(4);
        let clock = Clock { origin: asked, ..Clock::new() };
        clock.sync(asked, 100_000);
        let ahead = clock.now_ms().expect("it was told") - 100_000;
        assert!((1_990..60_000).contains(&ahead), "{ahead}");
    }

    #[test]
    fn a_wall_clock_that_is_off_shows_and_changes_nothing() {
        let clock = Clock::new();
        assert!(clock.offset_seconds().abs() < f64::EPSILON);
        clock.sync(Instant::now(), wall_ms() + 3_600_000);
        assert!((-3_601.0..-3_540.0).contains(&clock.offset_seconds()), "{}", clock.offset_seconds());
    }
}
