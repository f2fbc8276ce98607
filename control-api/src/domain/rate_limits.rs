//! Bounds how often a user may call and how many accounts an address may open, for all replicas
//! together: counted in Redis, or here while it is away. What was too much by this replica's own
//! count is refused without asking Redis.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::unsync::Cache;
use shared::{
    net::address::client_prefix,
    rate::{Exceeded, Rate, Used},
    redis::{Limited, rate_key},
};
use uuid::Uuid;

use crate::{domain::login_throttle::keyed_digest, redis::Publisher};

/// How many users and addresses are counted here; the oldest give way.
const COUNTED_HERE: usize = 100_000;
/// How many accounts an address may open at once, after a rest; as many as in an hour where that is
/// more.
const REGISTRATIONS_AT_ONCE: u32 = 10;

/// The limits of the API, and how much of them is used.
pub struct Limits {
    publisher: Publisher,
    secret_key: Arc<str>,
    /// Of a user; as all here, 0 for no limit.
    calls_per_minute: AtomicU32,
    /// Of an address.
    registrations_per_hour: AtomicU32,
    /// What this replica knows, by the key in Redis.
    here: Mutex<Cache<String, Used>>,
}

impl Limits {
    /// Calls per user and minute, and accounts per address and hour; 0: unlimited.
    pub fn new(
        publisher: Publisher,
        secret_key: &str,
        user_requests_per_minute: u32,
        registrations_per_hour: u32,
    ) -> Self {
        Self {
            publisher,
            secret_key: secret_key.into(),
            calls_per_minute: user_requests_per_minute.into(),
            registrations_per_hour: registrations_per_hour.into(),
            here: Mutex::new(Cache::new(COUNTED_HERE)),
        }
    }

    /// Sets the limit from now on.
    pub fn limit(&self, user_requests_per_minute: u32, registrations_per_hour: u32) {
        self.calls_per_minute.store(user_requests_per_minute, Ordering::Relaxed);
        self.registrations_per_hour.store(registrations_per_hour, Ordering::Relaxed);
    }

    /// Counts a call of a user, unless it is one too many.
    pub async fn call(&self, user_id: Uuid) -> Result<(), Exceeded> {
        match Rate::per_minute(self.calls_per_minute.load(Ordering::Relaxed)) {
            Some(rate) => self.spend(rate, Limited::User(user_id)).await,
            None => Ok(()),
        }
    }

    /// Counts a try to open an account from this address, unless it is one too many.
    pub async fn registration(&self, address: Option<IpAddr>) -> Result<(), Exceeded> {
        let per_hour = self.registrations_per_hour.load(Ordering::Relaxed);
        let rate = Rate::new(per_hour, Duration::from_hours(1), per_hour.max(REGISTRATIONS_AT_ONCE));
        let Some(rate) = rate else { return Ok(()) };
        let address = address.map(|address| client_prefix(address.to_canonical()).to_string()).unwrap_or_default();
        let digest = keyed_digest(&self.secret_key, &format!("registrations {address}"));
        self.spend(rate, Limited::Registrations(&digest)).await
    }

    async fn spend(&self, rate: Rate, limited: Limited<'_>) -> Result<(), Exceeded> {
        let key = rate_key(limited);
        self.spend_here(rate, &key)?;
        if !self.publisher.is_connected() {
            return Ok(());
        }
        match self.publisher.spend(limited, rate).await {
            Ok(spent) => {
                self.raise_here(&key, spent.used);
                if spent.is_counted { Ok(()) } else { Err(rate.exceeded(spent.used)) }
            }
            Err(error) => {
                tracing::warn!(%error, "a call is counted by this process alone: Redis did not answer");
                Ok(())
            }
        }
    }

    fn spend_here(&self, rate: Rate, key: &str) -> Result<(), Exceeded> {
        let now = Instant::now();
        self.revise_here(key, now, |used| {
            rate.check(used.left(now))?;
            used.add(rate.cost(), now);
            Ok(())
        })
    }

    fn raise_here(&self, key: &str, left: Duration) {
        let now = Instant::now();
        self.revise_here(key, now, |used| used.raise(left, now));
    }

    fn revise_here<T>(&self, key: &str, now: Instant, revision: impl FnOnce(&mut Used) -> T) -> T {
        let mut here = self.here.lock().expect("nothing panics while it holds this lock");
        let mut used = here.get(key).copied().unwrap_or_else(|| Used::nothing(now));
        let revised = revision(&mut used);
        here.insert(key.to_owned(), used);
        revised
    }
}
