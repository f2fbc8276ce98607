//! Rate-limits guesses of unknown tokens per client address. Over the limit, credentials not seen
//! before are rejected without asking Redis. A credential that this edge has seen costs nothing: a
//! client that goes on with an ended token learns nothing new.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use shared::{net::address::client_prefix, token::credential::Digest};

use crate::sync::{Mutex, MutexGuard};

/// How many addresses, and how many good and bad credentials, are remembered; the oldest give way.
const ADDRESSES: usize = 50_000;
const GOOD: usize = 200_000;
const BAD: usize = 50_000;

/// How many look-ups of one address may be under way at once: good tokens come in bursts, as after
/// a restart, and are not known to be good before they were looked up.
const UNDER_WAY: u32 = 200;

/// What one address may still try. A token bucket: it fills steadily and holds a minute's worth.
/// Many at once may overdraw it.
#[derive(Debug)]
struct Bucket {
    tries: f64,
    filled: Instant,
    under_way: u32,
}

impl Bucket {
    /// Begins a try, or says how long to wait for it.
    fn begin(&mut self, now: Instant, per_minute: f64) -> Result<(), Duration> {
        let per_second = per_minute / 60.0;
        let grown = now.saturating_duration_since(self.filled).as_secs_f64() * per_second;
        (self.tries, self.filled) = ((self.tries + grown).min(per_minute), now);
        if self.tries < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tries) / per_second));
        }
        if self.under_way == UNDER_WAY {
            return Err(Duration::from_secs_f64(1.0 / per_second));
        }
        self.under_way += 1;
        Ok(())
    }
}

/// The unknown tokens of each address.
pub struct UnknownTokenLimiter {
    /// `0` for no bound.
    per_minute: AtomicU32,
    buckets: Cache<IpAddr, Arc<Mutex<Bucket>>>,
    /// Those that opened something, be they over by now.
    good: Cache<Digest, ()>,
    /// Apart, so that a crowd of them drives no good one out.
    bad: Cache<Digest, ()>,
}

/// A look-up that may turn out to be of an unknown token.
pub struct Attempt<'a> {
    limiter: &'a UnknownTokenLimiter,
    digest: Digest,
    /// Whether it is known to be good already.
    is_good: bool,
    bucket: Option<Arc<Mutex<Bucket>>>,
}

impl UnknownTokenLimiter {
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: per_minute.into(),
            buckets: Cache::new(ADDRESSES),
            good: Cache::new(GOOD),
            bad: Cache::new(BAD),
        }
    }

    /// Sets the limit (0: unlimited). Applies to new requests.
    pub fn limit(&self, per_minute: u32) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// Whether it was found to open nothing, of late.
    pub fn is_bad(&self, digest: &Digest) -> bool {
        self.bad.get(digest).is_some()
    }

    /// Begins a look-up for this address; or says after how long it may be tried.
    pub fn begin(&self, address: Option<IpAddr>, digest: Digest, now: Instant) -> Result<Attempt<'_>, Duration> {
        let per_minute = self.per_minute.load(Ordering::Relaxed);
        let is_good = per_minute > 0 && self.good.get(&digest).is_some();
        let address = address.filter(|_| per_minute > 0 && !is_good && !self.is_bad(&digest));
        let per_minute = f64::from(per_minute);
        let bucket = address.map(|address| {
            let made = || {
                Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Bucket {
                    tries: per_minute,
                    filled: now,
                    under_way: 0,
                })))
            };
            let Ok(bucket) = self.buckets.get_or_insert_with(&client_prefix(address), made);
            bucket
        });
        if let Some(bucket) = &bucket {
            lock(bucket).begin(now, per_minute)?;
        }
        Ok(Attempt { limiter: self, digest, is_good, bucket })
    }
}

impl Attempt<'_> {
    /// The credential opens something.
    pub fn found_good(self) {
        if !self.is_good && self.limiter.per_minute.load(Ordering::Relaxed) > 0 {
            self.limiter.good.insert(self.digest, ());
        }
    }

    /// It opens nothing.
    pub fn found_bad(self) {
        if let Some(bucket) = &self.bucket {
            lock(bucket).tries -= 1.0;
            self.limiter.bad.insert(self.digest, ());
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = &self.bucket {
            lock(bucket).under_way -= 1;
        }
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn an_address_tries_so_many_unknown_tokens_a_minute_and_others_go_on() {
        let (limiter, now) = (UnknownTokenLimiter::new(20), Instant::now());
        for number in 0..20 {
            limiter.begin(ADDRESS, digest(number), now).expect("within the bound").found_bad();
        }
        let wait = limiter.begin(ADDRESS, digest(20), now).err().expect("past the bound");
        assert!(wait <= Duration::from_secs(3), "{wait:?}");
        let other = "192.0.2.7".parse().ok();
        assert!(limiter.begin(other, digest(21), now).is_ok());
        assert!(limiter.begin(ADDRESS, digest(22), now + Duration::from_secs(4)).is_ok(), "one more in time");
    }

    #[test]
    fn good_tokens_of_a_flooding_address_are_not_affected() {
        let (limiter, now) = (UnknownTokenLimiter::new(20), Instant::now());
        limiter.begin(ADDRESS, digest(0), now).expect("the first").found_good();
        for number in 1..=20 {
            limiter.begin(ADDRESS, digest(number), now).expect("within the bound").found_bad();
        }
        assert!(limiter.begin(ADDRESS, digest(21), now).is_err());
        assert!(limiter.begin(ADDRESS, digest(0), now).is_ok());
    }

    #[test]
    fn asking_again_with_a_token_that_has_ended_keeps_no_other_from_working() {
        let (limiter, now) = (UnknownTokenLimiter::new(2), Instant::now());
        limiter.begin(ADDRESS, digest(0), now).expect("the first").found_good();
        for number in [0, 0, 0, 1, 1, 1] {
            limiter.begin(ADDRESS, digest(number), now).expect("it was judged before").found_bad();
        }
        assert!(limiter.begin(ADDRESS, digest(2), now).is_ok());
    }

    #[test]
    fn what_redis_could_not_judge_does_not_count() {
        let (limiter, now) = (UnknownTokenLimiter::new(1), Instant::now());
        for _ in 0..5 {
            drop(limiter.begin(ADDRESS, digest(0), now).expect("given back"));
        }
    }

    #[test]
    fn good_tokens_may_come_in_a_burst_and_what_was_bad_of_it_is_paid_for() {
        let (limiter, now) = (UnknownTokenLimiter::new(20), Instant::now());
        let burst: Vec<_> = (0..UNDER_WAY).map(|number| limiter.begin(ADDRESS, digest(number), now)).collect();
        assert!(burst.iter().all(Result::is_ok));
        assert!(limiter.begin(ADDRESS, digest(UNDER_WAY), now).is_err(), "too many at once");
        burst.into_iter().flatten().for_each(Attempt::found_bad);
        let minutes = UNDER_WAY / 20;
        let later = |seconds| now + Duration::from_secs(u64::from(seconds));
        assert!(limiter.begin(ADDRESS, digest(UNDER_WAY), later(60 * (minutes - 1))).is_err());
        assert!(limiter.begin(ADDRESS, digest(UNDER_WAY), later(60 * minutes)).is_ok());
    }
}
