//! Brute force on logins: how often a client may fail, so that no password is guessed and
//! nobody is locked out of an account of their own by others.
//!
//! Counted are failures alone: of an address in an hour; of an account from one address, which
//! locks it there for longer and longer; of an account from wherever, which only slows it. They are
//! counted in Redis, for all replicas, or here while Redis is away. What they are counted under is
//! a keyed digest, of an account with its password's hash: so a new password is a new account,
//! wherever it is set, and nobody has to remember to clear anything.

pub mod policy;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use hmac::{Hmac, Mac};
use quick_cache::unsync::Cache;
use sha2::Sha256;
use shared::{net::address::client_prefix, redis::calls::Replacement, token::credential::Digest};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::redis::{PublishError, Publisher};

pub use policy::Lock;
use policy::{Refusal, Standing};

/// How many digests are remembered while Redis is away; the oldest give way.
const REMEMBERED_HERE: usize = 50_000;
/// How long a try waits where as many are under way as may fail.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
const PLACE_EVERY: Duration = Duration::from_millis(25);
/// How often others may come between the reading and the writing of what is remembered.
const REPLACED_WITHIN: u32 = 100;

/// Who tries to log in to what, as a place to count at.
#[derive(Clone, Copy)]
pub struct Who {
    /// The address, the address with the account, the account.
    digests: [Digest; 3],
}

/// Which account is tried.
pub enum Account<'a> {
    /// One that there is, with its password's hash.
    Known(Uuid, &'a str),
    /// None has this e-mail.
    Unknown(&'a str),
}

/// Where a try is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Redis,
    Memory,
}

/// Why a login is not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many failed; how long until the next try.
    TooMany(Duration),
    /// Too many are under way.
    Busy,
}

/// A login that is being tried, to be told how it ended.
pub struct Attempt {
    login_throttle: LoginThrottle,
    who: Who,
    store: Store,
    attempt: policy::Attempt,
}

/// What is remembered of failed logins.
#[derive(Clone)]
pub struct LoginThrottle {
    publisher: Publisher,
    secret_key: Arc<str>,
    /// How many may fail from one address in an hour; 0 for any number.
    per_hour: Arc<AtomicU32>,
    here: Arc<Mutex<Cache<Digest, String>>>,
    tracker: TaskTracker,
}

impl LoginThrottle {
    pub fn new(publisher: Publisher, secret_key: &str, per_hour: u32) -> Self {
        Self {
            publisher,
            secret_key: secret_key.into(),
            per_hour: Arc::new(per_hour.into()),
            here: Arc::new(Mutex::new(Cache::new(REMEMBERED_HERE))),
            tracker: TaskTracker::new(),
        }
    }

    /// Sets how many failures of an address an hour are allowed.
    pub fn limit(&self, per_hour: u32) {
        self.per_hour.store(per_hour, Ordering::Relaxed);
    }

    fn per_hour(&self) -> u32 {
        self.per_hour.load(Ordering::Relaxed)
    }

    /// Who tries to log in from this address.
    pub fn who(&self, address: Option<IpAddr>, account: &Account<'_>) -> Who {
        let address = address.map(|address| client_prefix(address.to_canonical()).to_string()).unwrap_or_default();
        let account = match account {
            Account::Known(id, password_hash) => format!("known {id} {password_hash}"),
            Account::Unknown(email) => format!("unknown {}", email.to_lowercase()),
        };
        let both = format!("{address} {account}");
        Who {
            digests: [self.digest("address", &address), self.digest("both", &both), self.digest("account", &account)],
        }
    }

    fn digest(&self, kind: &str, of: &str) -> Digest {
        keyed_digest(&self.secret_key, &format!("attempts {kind} {of}"))
    }

    /// Whether a login may be tried, asked before anything is spent on it; and where it is counted.
    pub async fn look(&self, who: &Who) -> Result<Store, Refused> {
        let (looked, store) = self.revise(who, Store::Redis, |standing, now| standing.look(self.per_hour(), now)).await;
        match looked {
            Err(Refusal::Locked(wait)) => Err(Refused::TooMany(wait)),
            Ok(()) | Err(Refusal::UnderWay) => Ok(store),
        }
    }

    /// Starts a try, right before the password is checked; where as many are under way as may fail
    /// it waits for one of them to end.
    pub async fn start(&self, who: Who, store: Store) -> Result<Attempt, Refused> {
        let deadline = tokio::time::Instant::now() + PLACE_WITHIN;
        loop {
            let (started, store) = self.revise(&who, store, |standing, now| standing.start(self.per_hour(), now)).await;
            match started {
                Ok(attempt) => return Ok(Attempt { login_throttle: self.clone(), who, store, attempt }),
                Err(Refusal::Locked(wait)) => return Err(Refused::TooMany(wait)),
                Err(Refusal::UnderWay) if tokio::time::Instant::now() >= deadline => return Err(Refused::Busy),
                Err(Refusal::UnderWay) => tokio::time::sleep(PLACE_EVERY).await,
            }
        }
    }

    /// Does what must not end halfway because a client hangs up: hanging up would be counted as
    /// failing, or not at all. `None` if it panicked.
    pub async fn undisturbed<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.tracker.spawn(work).await.ok()
    }

    /// Forgets an account's failures from every address.
    pub async fn clear(&self, user_id: Uuid, password_hash: &str) -> Result<(), PublishError> {
        let who = self.who(None, &Account::Known(user_id, password_hash));
        self.revise_here(&who, &Standing::clear);
        self.revise_in_redis(&who, &Standing::clear).await
    }

    async fn revise<T>(&self, who: &Who, store: Store, revision: impl Fn(&mut Standing, i64) -> T) -> (T, Store) {
        if store == Store::Redis && self.publisher.is_connected() {
            match self.revise_in_redis(who, &revision).await {
                Ok(revised) => return (revised, Store::Redis),
                Err(error) => tracing::warn!(%error, "a login is counted here alone"),
            }
        }
        (self.revise_here(who, &revision), Store::Memory)
    }

    async fn revise_in_redis<T>(
        &self,
        who: &Who,
        revision: &impl Fn(&mut Standing, i64) -> T,
    ) -> Result<T, PublishError> {
        for _ in 0..REPLACED_WITHIN {
            let (now_ms, read) = self.publisher.read_attempts(&who.digests).await?;
            let mut standing = Standing::read(&read, now_ms);
            let revised = revision(&mut standing, now_ms);
            let changed = who.digests.into_iter().zip(read).zip(standing.kept(now_ms)).map(|((of, read), kept)| {
                let (new, kept_for) = kept.map_or((None, Duration::ZERO), |(text, kept_for)| (Some(text), kept_for));
                Replacement { of, read, new, kept_for }
            });
            let replacements: Vec<_> = changed.collect();
            let is_same = replacements.iter().all(|replacement| replacement.read == replacement.new);
            if is_same || self.publisher.replace_attempts(&replacements).await? {
                return Ok(revised);
            }
        }
        Err(PublishError::Contended)
    }

    fn revise_here<T>(&self, who: &Who, revision: &impl Fn(&mut Standing, i64) -> T) -> T {
        let mut here = self.here.lock().expect("nothing panics while it holds this lock");
        let now_ms = Utc::now().timestamp_millis();
        let mut standing = Standing::read(&who.digests.map(|of| here.get(&of).cloned()), now_ms);
        let revised = revision(&mut standing, now_ms);
        for (of, kept) in who.digests.into_iter().zip(standing.kept(now_ms)) {
            match kept {
                Some((text, _)) => here.insert(of, text),
                None => drop(here.remove(&of)),
            }
        }
        revised
    }
}

impl Attempt {
    /// The password was wrong, or there is no such account; tells where that locks anything.
    pub async fn failed(self) -> Option<Lock> {
        let Self { login_throttle, who, store, attempt } = self;
        let per_hour = login_throttle.per_hour();
        login_throttle.revise(&who, store, |standing, now_ms| standing.fail(attempt, per_hour, now_ms)).await.0
    }

    /// The password was right.
    pub async fn succeeded(self) {
        let Self { login_throttle, who, store, attempt } = self;
        login_throttle.revise(&who, store, |standing, _| standing.succeed(attempt)).await;
    }

    /// The password was not checked.
    pub async fn given_up(self) {
        let Self { login_throttle, who, store, attempt } = self;
        login_throttle.revise(&who, store, |standing, _| standing.end(attempt)).await;
    }
}

/// What stands in Redis for a text that does not belong there, such as an address.
pub fn keyed_digest(secret_key: &str, text: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret_key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    Digest::from_bytes(&mac.finalize().into_bytes()).expect("HMAC-SHA256 has 32 bytes")
}
