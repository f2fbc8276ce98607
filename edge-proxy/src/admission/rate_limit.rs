//! Bounds how many requests a token makes a minute, on all edges together, and asks nobody on a
//! request's way: each edge counts for itself, and once a second tells Redis what it counted and
//! hears what all have. So the bound holds across edges but for what comes within that second,
//! which is paid for afterwards; without Redis it holds on each.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use quick_cache::sync::Cache;
use shared::rate::{Exceeded, Rate, Used};
use uuid::Uuid;

use crate::{
    redis::{Error, Redis},
    sync::{Mutex, MutexGuard},
};

/// How often edges tell each other what they counted.
pub const EXCHANGED_EVERY: Duration = Duration::from_secs(1);
/// How many tokens are counted; the oldest give way.
const TOKENS: usize = 100_000;
/// How many are reported at once.
const AT_ONCE: usize = 256;

/// What one token has used of its limit.
struct Count {
    /// On every edge, as far as it was heard.
    used: Used,
    /// Of that, what only this edge knows. While it is more than nothing the token stands in
    /// [`RateLimiter::untold`].
    untold: Duration,
}

type Shared = Arc<Mutex<Count>>;

/// The requests of each token.
pub struct RateLimiter {
    /// 0 for no limit.
    per_minute: AtomicU32,
    tokens: Cache<Uuid, Shared>,
    /// No more than there are tokens that were used within the last minute: what has run out is
    /// dropped from here.
    untold: Mutex<Vec<(Uuid, Shared)>>,
}

impl RateLimiter {
    /// Requests per token and minute; 0: unlimited.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.into(), tokens: Cache::new(TOKENS), untold: Mutex::default() }
    }

    /// Sets the limit (0: unlimited). Applies to new requests.
    pub fn limit(&self, per_minute: u32) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// Counts a request of this token, unless it is one too many.
    pub fn spend(&self, token_id: Uuid, now: Instant) -> Result<(), Exceeded> {
        let Some(rate) = Rate::per_minute(self.per_minute.load(Ordering::Relaxed)) else { return Ok(()) };
        let made =
            || Ok::<_, Infallible>(Arc::new(Mutex::new(Count { used: Used::nothing(now), untold: Duration::ZERO })));
        let Ok(shared) = self.tokens.get_or_insert_with(&token_id, made);
        let mut count = lock(&shared);
        rate.check(count.used.left(now))?;
        count.used.add(rate.cost(), now);
        let was_told = count.untold.is_zero();
        count.untold += rate.cost();
        drop(count);
        if was_told {
            self.lock_untold().push((token_id, shared));
        }
        Ok(())
    }

    /// Tells Redis what was counted since the last time, and takes in what all edges have. What
    /// could not be told waits for the next time, as far as it still counts then.
    pub async fn exchange(&self, redis: &Redis) -> Result<(), Error> {
        let untold = std::mem::take(&mut *self.lock_untold());
        let mut outcome = Ok(());
        for some in untold.chunks(AT_ONCE) {
            let told = join_all(some.iter().map(|(token_id, count)| self.tell(redis, *token_id, count))).await;
            outcome = told.into_iter().chain([outcome]).collect();
        }
        outcome
    }

    async fn tell(&self, redis: &Redis, token_id: Uuid, shared: &Shared) -> Result<(), Error> {
        let Some(cost) = take_untold(&mut lock(shared), Instant::now()) else { return Ok(()) };
        let spent = redis.spend(token_id, cost).await;
        let mut count = lock(shared);
        match spent {
            Ok(used) => {
                let since = count.untold;
                count.used.raise(used + since, Instant::now());
                Ok(())
            }
            Err(error) => {
                // Redis may have taken it even so: then it counts twice, at most as much as this
                // edge let through.
                let was_told = count.untold.is_zero();
                count.untold += cost;
                drop(count);
                if was_told {
                    self.lock_untold().push((token_id, Arc::clone(shared)));
                }
                Err(error)
            }
        }
    }

    fn lock_untold(&self) -> MutexGuard<'_, Vec<(Uuid, Shared)>> {
        self.untold.lock()
    }
}

/// Takes what is to be told: no more than is still in use, for what has run out while Redis was
/// away counts nowhere.
fn take_untold(count: &mut Count, now: Instant) -> Option<Duration> {
    let untold = std::mem::take(&mut count.untold).min(count.used.left(now));
    Some(untold).filter(|untold| !untold.is_zero())
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Uuid = Uuid::from_u128(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn fitting(rates: &RateLimiter, now: Instant) -> usize {
        (0..10_000).take_while(|_| rates.spend(TOKEN, now).is_ok()).count()
    }

    #[test]
    fn a_token_makes_so_many_requests_a_minute_and_others_go_on() {
        let (rates, now) = (RateLimiter::new(60), Instant::now());
        assert_eq!(fitting(&rates, now), 60);
        assert!(rates.spend(Uuid::from_u128(2), now).is_ok());
        assert_eq!(fitting(&rates, now + Duration::from_secs(10)), 10);
        assert_eq!(fitting(&RateLimiter::new(0), now), 10_000, "no limit");
    }

    #[test]
    fn a_token_waits_to_be_told_of_once_however_many_requests_it_makes() {
        let (rates, now) = (RateLimiter::new(60), Instant::now());
        fitting(&rates, now);
        assert_eq!(rates.lock_untold().len(), 1);
    }

    #[test]
    fn what_ran_out_before_redis_came_back_is_not_told() {
        let (rates, now) = (RateLimiter::new(60), Instant::now());
        fitting(&rates, now);
        let taken_at = |now| {
            let (_, count) = rates.lock_untold()[0].clone();
            take_untold(&mut lock(&count), now)
        };
        assert_eq!(taken_at(now + MINUTE / 2), Some(MINUTE / 2));
        assert_eq!(taken_at(now), None, "it was taken");
        fitting(&rates, now);
        assert_eq!(taken_at(now + MINUTE), None);
    }
}
