//! How many failed logins are too many. Pure: what is remembered and the time come in, what is to
//! be remembered goes out; times are milliseconds since 1970.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// After how many failures an account is locked for one address, and for how long. Each that
/// follows the last of them locks it for as long again.
const LADDER: [(u32, i64); 5] =
    [(7, MINUTE_MS), (10, 10 * MINUTE_MS), (15, 15 * MINUTE_MS), (20, HOUR_MS), (25, DAY_MS)];
/// How long a ladder stands after its last failure, and after the end of its last lock.
const LADDER_KEPT_MS: i64 = DAY_MS;
/// From how many failures in an hour, from wherever, an account is tried no more often than once in
/// [`SLOW_MS`]. It is never locked as a whole: otherwise a stranger could lock its owner out.
const SLOWED_FROM: u32 = 7;
const SLOW_MS: i64 = 5 * SECOND_MS;
/// A try whose outcome was not told for so long has failed: its process died.
const OUTCOME_WITHIN_MS: i64 = 10 * SECOND_MS;

/// Failures in the hour that begins with the first of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Hour {
    failures: u32,
    since_ms: i64,
}

impl Hour {
    fn age(&mut self, now_ms: i64) {
        if self.ends_ms() <= now_ms {
            *self = Self::default();
        }
    }

    fn count(&mut self, now_ms: i64) {
        if self.failures == 0 {
            self.since_ms = now_ms;
        }
        self.failures = self.failures.saturating_add(1);
    }

    fn ends_ms(&self) -> i64 {
        self.since_ms + HOUR_MS
    }
}

/// Tries whose outcome is not known yet: until when it must be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct UnderWay(Vec<i64>);

impl UnderWay {
    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn end(&mut self, attempt: Attempt) {
        if let Some(position) = self.0.iter().position(|&until_ms| until_ms == attempt.until_ms) {
            self.0.swap_remove(position);
        }
    }

    /// Takes those away whose time is over, and tells how many there were.
    fn take_overdue(&mut self, now_ms: i64) -> usize {
        let before = self.0.len();
        self.0.retain(|&until_ms| until_ms > now_ms);
        before - self.0.len()
    }

    fn last_ms(&self) -> i64 {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

/// What is remembered of one address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Address {
    hour: Hour,
    under_way: UnderWay,
}

/// What is remembered of one account tried from one address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Ladder {
    failures: u32,
    begun_ms: i64,
    last_ms: i64,
    locked_until_ms: i64,
    under_way: UnderWay,
}

impl Ladder {
    fn ends_ms(&self) -> i64 {
        self.last_ms.max(self.locked_until_ms) + LADDER_KEPT_MS
    }

    /// Counts a failure; for how long that locks the account.
    fn fail(&mut self, now_ms: i64) -> Option<i64> {
        self.failures = self.failures.saturating_add(1);
        self.last_ms = now_ms;
        let (last, longest_ms) = LADDER[LADDER.len() - 1];
        let rung = LADDER.iter().find(|(failures, _)| *failures == self.failures).map(|(_, lock_ms)| *lock_ms);
        let lock_ms = if self.failures > last { Some(longest_ms) } else { rung }?;
        self.locked_until_ms = now_ms + lock_ms;
        Some(lock_ms)
    }

    /// How many more may fail before that locks the account.
    fn until_lock(&self) -> u32 {
        let next = LADDER.iter().map(|(failures, _)| *failures).find(|failures| *failures > self.failures);
        next.map_or(1, |next| next - self.failures)
    }
}

/// What is remembered of one account, tried from wherever.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Account {
    hour: Hour,
    /// When it may be tried again while it is slowed.
    next_ms: i64,
    /// When its ladders were cleared: those that had begun by then do not count.
    cleared_ms: i64,
}

impl Account {
    fn ends_ms(&self) -> i64 {
        let longest_ladder_ms = DAY_MS + LADDER_KEPT_MS;
        let hour_ms = if self.hour.failures > 0 { self.hour.ends_ms() } else { 0 };
        let cleared_ms = if self.cleared_ms > 0 { self.cleared_ms + longest_ladder_ms } else { 0 };
        hour_ms.max(self.next_ms).max(cleared_ms)
    }
}

/// All that is remembered of a client that tries to log in.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    address: Address,
    ladder: Ladder,
    account: Account,
}

/// Why a login may not be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many failed. How long that lasts.
    Locked(Duration),
    /// As many are under way as may fail.
    UnderWay,
}

/// A login that is being tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    until_ms: i64,
}

/// A failure was one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub failures: u32,
    pub lasts: Duration,
}

/// A part of a [`Standing`] as it is kept: its text, and for how long; `None` where nothing is to
/// be remembered.
pub type Kept = Option<(String, Duration)>;

impl Standing {
    /// Reads what was kept, of the address, of account and address together, and of the account;
    /// what cannot be read, as after a change of this program, counts as nothing.
    pub fn read(kept: &[Option<String>; 3], now_ms: i64) -> Self {
        fn part<T: DeserializeOwned + Default>(kept: Option<&String>) -> T {
            kept.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        }
        let [address, ladder, account] = kept.each_ref().map(Option::as_ref);
        let mut standing = Self { address: part(address), ladder: part(ladder), account: part(account) };
        standing.age(now_ms);
        standing
    }

    /// What is to be kept, in the same order.
    pub fn kept(&self, now_ms: i64) -> [Kept; 3] {
        fn part(part: &impl Serialize, ends_ms: i64, now_ms: i64) -> Kept {
            let left = u64::try_from(ends_ms - now_ms).ok().filter(|left| *left > 0)?;
            Some((serde_json::to_string(part).expect("numbers make JSON"), Duration::from_millis(left)))
        }
        // What is under way when a process dies is counted later.
        let Address { hour, under_way } = &self.address;
        let hour_ms = if hour.failures > 0 { hour.ends_ms() } else { 0 };
        let under_way_ms = if under_way.0.is_empty() { 0 } else { under_way.last_ms() + HOUR_MS };
        [
            part(&self.address, hour_ms.max(under_way_ms), now_ms),
            part(&self.ladder, if self.ladder.begun_ms > 0 { self.ladder.ends_ms() } else { 0 }, now_ms),
            part(&self.account, self.account.ends_ms(), now_ms),
        ]
    }

    fn age(&mut self, now_ms: i64) {
        self.address.hour.age(now_ms);
        self.account.hour.age(now_ms);
        if self.ladder.begun_ms <= self.account.cleared_ms || self.ladder.ends_ms() <= now_ms {
            self.ladder = Ladder::default();
        }
        for _ in 0..self.address.under_way.take_overdue(now_ms) {
            self.address.hour.count(now_ms);
        }
        for _ in 0..self.ladder.under_way.take_overdue(now_ms) {
            self.ladder.fail(now_ms);
            self.account.hour.count(now_ms);
        }
    }

    /// Whether a login may be tried; `per_hour` is how many may fail from one address, 0 for any
    /// number.
    pub fn look(&self, per_hour: u32, now_ms: i64) -> Result<(), Refusal> {
        let Self { address, ladder, account } = self;
        let per_hour = if per_hour == 0 { u32::MAX } else { per_hour };
        let mut until_ms = ladder.locked_until_ms;
        if address.hour.failures >= per_hour {
            until_ms = until_ms.max(address.hour.ends_ms());
        }
        if account.hour.failures >= SLOWED_FROM {
            until_ms = until_ms.max(account.next_ms);
        }
        if let Ok(wait @ 1..) = u64::try_from(until_ms - now_ms) {
            return Err(Refusal::Locked(Duration::from_millis(wait)));
        }
        let fits = ladder.under_way.count() < ladder.until_lock()
            && address.under_way.count() < per_hour.saturating_sub(address.hour.failures);
        if fits { Ok(()) } else { Err(Refusal::UnderWay) }
    }

    /// Starts a try: from now on it counts, so that no number of tries at once slips through.
    pub fn start(&mut self, per_hour: u32, now_ms: i64) -> Result<Attempt, Refusal> {
        self.look(per_hour, now_ms)?;
        let attempt = Attempt { until_ms: now_ms + OUTCOME_WITHIN_MS };
        self.address.under_way.0.push(attempt.until_ms);
        if self.ladder.begun_ms == 0 {
            self.ladder.begun_ms = now_ms;
        }
        self.ladder.last_ms = now_ms;
        self.ladder.under_way.0.push(attempt.until_ms);
        if self.account.hour.failures >= SLOWED_FROM {
            self.account.next_ms = now_ms + SLOW_MS;
        }
        Ok(attempt)
    }

    /// Ends a try that failed; tells where that locks anything.
    pub fn fail(&mut self, attempt: Attempt, per_hour: u32, now_ms: i64) -> Option<Lock> {
        self.end(attempt);
        self.account.hour.count(now_ms);
        self.address.hour.count(now_ms);
        if self.ladder.begun_ms == 0 {
            self.ladder.begun_ms = now_ms;
        }
        let lock = |failures, lock_ms| {
            Some(Lock { failures, lasts: Duration::from_millis(u64::try_from(lock_ms).unwrap_or_default()) })
        };
        let Address { hour, .. } = &self.address;
        let of_address = if hour.failures == per_hour { lock(per_hour, hour.ends_ms() - now_ms) } else { None };
        let of_ladder = self.ladder.fail(now_ms).and_then(|lock_ms| lock(self.ladder.failures, lock_ms));
        of_address.into_iter().chain(of_ladder).max_by_key(|lock| lock.lasts)
    }

    /// Ends a try whose password was right: the account's failures from this address are forgotten.
    /// Those of the address are not, or who has one account could try for others without end.
    pub fn succeed(&mut self, attempt: Attempt) {
        self.end(attempt);
        let under_way = std::mem::take(&mut self.ladder.under_way);
        if under_way.0.is_empty() {
            self.ladder = Ladder::default();
        } else {
            let Ladder { begun_ms, last_ms, .. } = self.ladder;
            self.ladder = Ladder { begun_ms, last_ms, under_way, ..Ladder::default() };
        }
    }

    /// Ends a try that nothing came of.
    pub fn end(&mut self, attempt: Attempt) {
        self.address.under_way.end(attempt);
        self.ladder.under_way.end(attempt);
    }

    /// Forgets the account's failures, from every address.
    pub fn clear(&mut self, now_ms: i64) {
        self.account = Account { cleared_ms: now_ms, ..Account::default() };
        self.ladder = Ladder::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const PER_HOUR: u32 = 30;

    /// Tries and fails as often as it is let; when it was locked, for how many seconds and after
    /// how many failures.
    fn climb(standing: &mut Standing, per_hour: u32, now_ms: &mut i64, tries: u32) -> Vec<(u32, u64)> {
        let mut locks = Vec::new();
        for _ in 0..tries {
            *now_ms += SLOW_MS;
            standing.age(*now_ms);
            let attempt = standing.start(per_hour, *now_ms).expect("not locked");
            if let Some(lock) = standing.fail(attempt, per_hour, *now_ms) {
                locks.push((lock.failures, lock.lasts.as_secs()));
                assert_eq!(standing.look(per_hour, *now_ms), Err(Refusal::Locked(lock.lasts)));
                *now_ms += i64::try_from(lock.lasts.as_millis()).expect("a short time");
            }
        }
        locks
    }

    /// As read where only some of what was kept is about the same.
    fn with(standing: &Standing, address: bool, ladder: bool, account: bool, now_ms: i64) -> Standing {
        let kept = standing.kept(now_ms).map(|kept| kept.map(|(text, _)| text));
        let [of_address, of_ladder, of_account] = kept;
        let kept = [of_address.filter(|_| address), of_ladder.filter(|_| ladder), of_account.filter(|_| account)];
        Standing::read(&kept, now_ms)
    }

    #[test]
    fn each_rung_locks_for_longer_and_past_the_last_every_failure_does() {
        let locks = climb(&mut Standing::default(), 0, &mut NOW.clone(), 27);
        let expected = [(7, 60), (10, 600), (15, 900), (20, 3_600), (25, 86_400), (26, 86_400), (27, 86_400)];
        assert_eq!(locks, expected);
    }

    #[test]
    fn an_address_fails_so_often_in_an_hour_whatever_the_accounts() {
        let (mut standing, now) = (Standing::default(), NOW);
        for failures in 1..=PER_HOUR {
            standing = with(&standing, true, false, false, now);
            let attempt = standing.start(PER_HOUR, now).expect("within the bound");
            let lock = standing.fail(attempt, PER_HOUR, now);
            assert_eq!(lock.is_some(), failures == PER_HOUR);
        }
        let other_account = with(&standing, true, false, false, now);
        assert_eq!(other_account.look(PER_HOUR, now), Err(Refusal::Locked(Duration::from_secs(3_600))));
        assert_eq!(with(&standing, true, false, false, now + HOUR_MS).look(PER_HOUR, now + HOUR_MS), Ok(()));
        assert_eq!(other_account.look(0, now), Ok(()), "no bound");
    }

    #[test]
    fn from_another_address_a_locked_account_is_tried_once_in_five_seconds() {
        let (mut standing, mut now) = (Standing::default(), NOW);
        climb(&mut standing, PER_HOUR, &mut now, 6);
        let attempt = standing.start(PER_HOUR, now).expect("the seventh");
        standing.fail(attempt, PER_HOUR, now);
        let mut elsewhere = with(&standing, false, false, true, now);
        let attempt = elsewhere.start(PER_HOUR, now).expect("not locked");
        elsewhere.succeed(attempt);
        assert_eq!(elsewhere.look(PER_HOUR, now), Err(Refusal::Locked(Duration::from_secs(5))));
        assert_eq!(elsewhere.look(PER_HOUR, now + SLOW_MS), Ok(()));
    }

    #[test]
    fn no_more_are_tried_at_once_than_may_fail_and_those_that_succeed_count_for_nothing() {
        let mut standing = Standing::default();
        let attempts: Vec<_> = (0..7).map(|_| standing.start(PER_HOUR, NOW).expect("a place")).collect();
        assert_eq!(standing.start(PER_HOUR, NOW).err(), Some(Refusal::UnderWay));
        attempts.into_iter().for_each(|attempt| standing.succeed(attempt));
        assert_eq!(climb(&mut standing, PER_HOUR, &mut NOW.clone(), 7), [(7, 60)]);
    }

    #[test]
    fn a_try_whose_outcome_nobody_told_has_failed() {
        let mut standing = Standing::default();
        for _ in 0..7 {
            standing.start(PER_HOUR, NOW).expect("a place");
        }
        let later = NOW + OUTCOME_WITHIN_MS;
        let standing = with(&standing, true, true, true, later);
        assert_eq!(standing.look(PER_HOUR, later), Err(Refusal::Locked(Duration::from_mins(1))));
    }

    #[test]
    fn a_success_forgets_the_ladder_and_not_what_the_address_failed_elsewhere() {
        let (mut standing, mut now) = (Standing::default(), NOW);
        climb(&mut standing, PER_HOUR, &mut now, 6);
        let attempt = standing.start(PER_HOUR, now).expect("a place");
        standing.succeed(attempt);
        assert_eq!(standing.ladder.failures, 0);
        assert_eq!(standing.address.hour.failures, 6);
    }

    #[test]
    fn clearing_an_account_lets_every_address_in_at_once() {
        let (mut standing, mut now) = (Standing::default(), NOW);
        climb(&mut standing, PER_HOUR, &mut now, 6);
        let attempt = standing.start(PER_HOUR, now).expect("the seventh");
        standing.fail(attempt, PER_HOUR, now);
        let mut by_admin = with(&standing, false, false, true, now);
        by_admin.clear(now);
        let [_, _, account] = by_admin.kept(now).map(|kept| kept.map(|(text, _)| text));
        let [address, ladder, _] = standing.kept(now).map(|kept| kept.map(|(text, _)| text));
        assert_eq!(Standing::read(&[address, ladder, account], now).look(PER_HOUR, now), Ok(()));
    }

    #[test]
    fn everything_is_forgotten_in_the_end() {
        let (mut standing, mut now) = (Standing::default(), NOW);
        climb(&mut standing, 0, &mut now, 25);
        standing.start(0, now).expect("a place");
        for (text, kept_for) in standing.kept(now).into_iter().flatten() {
            assert!(kept_for <= Duration::from_hours(48), "{text} for {kept_for:?}");
        }
        let later = now + 2 * DAY_MS;
        assert!(with(&standing, true, true, true, later).kept(later).iter().flatten().count() == 0, "{standing:?}");
    }
}
