//! How often something may be done: a bucket that runs empty steadily (the generic cell rate
//! algorithm). How full it is is told as the time after which it will be empty, so that what
//! several programs count of the same thing is joined by adding. No I/O, no clock.

use std::time::{Duration, Instant};

use crate::malformed::Malformed;

/// A number of times per duration, and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What one time fills the bucket by.
    cost: Duration,
    burst: u32,
}

/// Why once more is too much now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    burst: u32,
    retry_after: Duration,
    resets_after: Duration,
}

impl Rate {
    /// `times` in each `per`, and `burst` of them at once after a rest; `None` for 0 times, which
    /// means no limit.
    pub fn new(times: u32, per: Duration, burst: u32) -> Option<Self> {
        (times > 0).then(|| Self { cost: per / times, burst })
    }

    /// This number per minute, and as a burst; `None` for 0.
    pub fn per_minute(times: u32) -> Option<Self> {
        Self::new(times, Duration::from_mins(1), times)
    }

    /// What one time costs.
    pub fn cost(self) -> Duration {
        self.cost
    }

    /// How full the bucket may be.
    pub fn most(self) -> Duration {
        self.cost * self.burst
    }

    /// Whether once more fits where it is this full.
    pub fn check(self, used: Duration) -> Result<(), Exceeded> {
        let overflow = (used + self.cost).saturating_sub(self.most());
        if overflow.is_zero() { Ok(()) } else { Err(self.exceeded(used)) }
    }

    /// The refusal where the bucket is this full.
    pub fn exceeded(self, used: Duration) -> Exceeded {
        let retry_after = (used + self.cost).saturating_sub(self.most());
        Exceeded { burst: self.burst, retry_after, resets_after: used }
    }
}

impl Exceeded {
    /// Whole seconds after which once more fits, at least 1.
    pub fn retry_after_seconds(self) -> u64 {
        whole_seconds(self.retry_after)
    }

    /// The headers of a `429`, by name in lower case: when to try again, how many times fit at
    /// once, how many fit now, and after how many seconds all of them will.
    pub fn headers(self) -> [(&'static str, u64); 4] {
        [
            ("retry-after", self.retry_after_seconds()),
            ("ratelimit-limit", self.burst.into()),
            ("ratelimit-remaining", 0),
            ("ratelimit-reset", whole_seconds(self.resets_after)),
        ]
    }
}

fn whole_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

/// How full a bucket is, as it runs empty.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    left: Duration,
    at: Instant,
}

impl Used {
    /// An empty one.
    pub fn nothing(now: Instant) -> Self {
        Self { left: Duration::ZERO, at: now }
    }

    /// How full it is.
    pub fn left(&self, now: Instant) -> Duration {
        self.left.saturating_sub(now.saturating_duration_since(self.at))
    }

    /// Fills it by that much.
    pub fn add(&mut self, cost: Duration, now: Instant) {
        *self = Self { left: self.left(now) + cost, at: now };
    }

    /// Takes in that it is this full at least, by what others have counted. It never empties it:
    /// Redis may have lost count.
    pub fn raise(&mut self, left: Duration, now: Instant) {
        *self = Self { left: self.left(now).max(left), at: now };
    }
}

/// What [`crate::redis::calls::Spend`] replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whether it fitted, and so was counted.
    pub is_counted: bool,
    /// How full the bucket is after that.
    pub used: Duration,
}

impl Spent {
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let [is_counted, used_us] = reply else { return Err(Malformed) };
        let used = Duration::from_micros(used_us.parse().map_err(|_| Malformed)?);
        Ok(Self { is_counted: is_counted == "1", used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many fit at once into what is this full.
    fn fitting(rate: Rate, used: &mut Used, now: Instant) -> u32 {
        let mut count = 0;
        while rate.check(used.left(now)).is_ok() {
            used.add(rate.cost(), now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_fits_and_then_as_many_as_run_out() {
        let rate = Rate::new(5, Duration::from_hours(1), 10).expect("a limit");
        let now = Instant::now();
        let mut used = Used::nothing(now);
        assert_eq!(fitting(rate, &mut used, now), 10);
        let minutes = |minutes| now + Duration::from_mins(minutes);
        assert_eq!(fitting(rate, &mut used, minutes(11)), 0);
        assert_eq!(fitting(rate, &mut used, minutes(12)), 1);
        assert_eq!(fitting(rate, &mut used, minutes(72)), 5);
        assert_eq!(fitting(rate, &mut used, minutes(1_000)), 10);
        assert_eq!(Rate::per_minute(0), None);
    }

    #[test]
    fn a_refusal_says_when_once_more_fits_and_when_all_do() {
        let rate = Rate::per_minute(100).expect("a limit");
        let exceeded = rate.check(Duration::from_mins(1)).expect_err("it is full");
        let expected =
            [("retry-after", 1), ("ratelimit-limit", 100), ("ratelimit-remaining", 0), ("ratelimit-reset", 60)];
        assert_eq!(exceeded.headers(), expected);
        let overdrawn = rate.check(Duration::from_mins(2)).expect_err("it is overdrawn");
        assert_eq!(overdrawn.retry_after_seconds(), 61);
    }

    #[test]
    fn what_others_counted_fills_a_bucket_and_never_empties_it() {
        let now = Instant::now();
        let mut used = Used::nothing(now);
        used.add(Duration::from_secs(10), now);
        used.raise(Duration::from_secs(30), now);
        assert_eq!(used.left(now + Duration::from_secs(5)), Duration::from_secs(25));
        used.raise(Duration::ZERO, now);
        assert_eq!(used.left(now), Duration::from_secs(30));
    }
}
