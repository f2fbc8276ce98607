//! What this edge knows of tokens: grants in process, in front of Redis. A hit costs no question;
//! concurrent misses of one credential ask once; what the change feed tells replaces what is known
//! and reaches the requests that are open.
//!
//! The race that matters is a change that comes while the answer to a question is on its way. Every
//! change is noted in [`RecentChanges`] *before* the held grants are told, and every answer is
//! indexed (see [`LiveGrant::new`]) *before* that note is read: so either the question sees the
//! change and is asked again, or the change finds the grant. Expiry needs neither: a grant carries
//! its deadline.
//!
//! A grant is trusted without a question for as long as the feed is sound: heard of a moment ago,
//! of a Redis that is whole. After [`StalenessPolicy::staleness`] it is asked for again; where
//! Redis cannot say, it goes on for [`StalenessPolicy::outage_grace`] and then ends.

pub mod evaluate;
pub mod feed;
pub mod freshness;
pub mod index;
pub mod lease_use;
pub mod live;
pub mod release;
pub mod single_flight;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use prometheus::{IntCounter, IntGauge};
use quick_cache::sync::Cache;
use shared::{
    redis::{
        CLAIM_MS, ENDED_GENERATION,
        feed::StreamId,
        replies::{Activation, Finding},
    },
    token::{credential::Digest, device::Device, scope::Scope},
};
use uuid::Uuid;

use crate::{
    grants::{
        evaluate::{Evaluation, GrantError, Refusal},
        freshness::{FeedHealth, RecentChanges, StalenessPolicy},
        index::Index,
        live::{GrantKey, LiveGrant},
        release::{AdmissionGuard, Settlements},
        single_flight::{LookupResult, Query, SingleFlight},
    },
    ids,
    redis::{Error, Redis, Taking},
    rejection::{EndReason, InvalidCredential},
    sync::{Mutex, MutexGuard},
    telemetry::metrics::Metrics,
};

/// How a grant was found; see [`LookedUp`].
const HIT: &str = "hit";
const MISS: &str = "miss";
const NEGATIVE: &str = "negative";
/// How long "there is no such token" is remembered.
const NEGATIVE_FOR: Duration = Duration::from_secs(1);
/// How many of those are remembered; the oldest give way.
const NEGATIVE_ENTRIES: usize = 10_000;
/// How often a question is asked again because its token changed meanwhile.
const MAX_ASKS: usize = 4;
/// A question waits so long for a Redis that is just being filled: better than an error at once.
const FILLED_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
const FILLED_LOOKED_EVERY: Duration = Duration::from_millis(100);
/// How many grants are asked for again at once.
const LOOKED_AT_ONCE: usize = 1_000;
/// How often the claims of open first requests are renewed: before a rebuild lets refunds go on
/// without them.
pub const CLAIMS_RENEWED_EVERY: Duration = Duration::from_millis(CLAIM_MS / 8);
/// How often it is looked whether what is held may go on.
const WATCHED_EVERY: Duration = Duration::from_millis(250);

/// How a grant was found, for the access line: `hit` if it was known, `miss` if Redis was asked,
/// `negative` if it was known that there is none. Of several credentials the last one that was
/// looked at counts.
#[derive(Debug, Default)]
pub struct LookedUp(Mutex<Option<&'static str>>);

impl LookedUp {
    pub fn outcome(&self) -> Option<&'static str> {
        *self.0.lock()
    }

    fn note(&self, outcome: &'static str) {
        *self.0.lock() = Some(outcome);
    }
}

/// What Redis, `asked` then, says of a token, and what was taken for it.
struct Answer {
    verdict: Evaluation,
    generation: i64,
    asked: Instant,
    taken: Option<AdmissionGuard>,
}

/// The grants of this edge.
pub struct Grants {
    redis: Redis,
    trust: StalenessPolicy,
    held: Cache<GrantKey, Arc<LiveGrant>>,
    /// Credentials that open nothing, why, and until when that is believed.
    negatives: Cache<Digest, (InvalidCredential, Instant)>,
    flights: SingleFlight,
    index: Arc<Index<LiveGrant>>,
    recent: Mutex<RecentChanges>,
    settlements: Settlements,
    /// What Redis said before this instant may have been overtaken unheard.
    doubted: Mutex<Instant>,
    pub hearing: FeedHealth,
    found: Found,
    leases: IntGauge,
    redis_trusted: IntGauge,
}

/// How often a grant was found which way.
struct Found {
    hits: IntCounter,
    misses: IntCounter,
    negatives: IntCounter,
}

impl Grants {
    /// Nothing held yet; `entries` bounds how many grants are kept.
    pub fn new(
        redis: Redis,
        trust: StalenessPolicy,
        entries: usize,
        settlements: Settlements,
        metrics: &Metrics,
    ) -> Self {
        Self {
            redis,
            trust,
            held: Cache::new(entries),
            negatives: Cache::new(NEGATIVE_ENTRIES),
            flights: SingleFlight::default(),
            index: Arc::default(),
            recent: Mutex::default(),
            settlements,
            doubted: Mutex::new(Instant::now()),
            hearing: FeedHealth::default(),
            found: Found {
                hits: metrics.grants.with_label_values(&[HIT]),
                misses: metrics.grants.with_label_values(&[MISS]),
                negatives: metrics.grants.with_label_values(&[NEGATIVE]),
            },
            leases: metrics.leases.clone(),
            redis_trusted: metrics.redis_trusted.clone(),
        }
    }

    /// Finds what a credential opens, without using it.
    pub async fn find(&self, digest: Digest, looked_up: &LookedUp) -> LookupResult {
        let key = GrantKey { digest, device: None };
        self.find_on(Query { key, scopes: Vec::new(), address: None }, looked_up).await
    }

    /// Admits a request of this device, from this address, whose path these scopes open. The grant
    /// that comes back counts one use more; see
    /// [`LeaseUse::leave`](crate::grants::lease_use::LeaseUse::leave).
    pub async fn admit(
        &self,
        digest: Digest,
        device: &Device,
        address: Option<IpAddr>,
        scopes: &[Scope],
        looked_up: &LookedUp,
    ) -> LookupResult {
        let key = GrantKey { digest, device: Some(device.clone()) };
        let question = Query { key, scopes: scopes.to_vec(), address };
        for _ in 0..MAX_ASKS {
            let began = Instant::now();
            let held = self.find_on(question.clone(), looked_up).await?;
            // Before its use begins, which keeps the lease.
            if !held.may_be_used_from(address) {
                return Err(GrantError::Refused(Refusal::NetworkNotAllowed));
            }
            if !scopes.contains(&held.scope) {
                return Err(GrantError::Refused(Refusal::Outside(held.scope)));
            }
            if !held.uses.enter() {
                self.forget(&held);
                continue;
            }
            // A change that came before the use began did not see it, and so did not look the token
            // up.
            if self.doubted(&held).is_some_and(|doubted| doubted >= began) {
                Box::pin(self.look_again_at(&held, None)).await;
            }
            return Ok(held);
        }
        Err(GrantError::Unavailable)
    }

    async fn find_on(&self, question: Query, looked_up: &LookedUp) -> LookupResult {
        let key = question.key.clone();
        let known = self.known(&key);
        let (how, count) = match &known {
            Some(Ok(_)) => (HIT, &self.found.hits),
            Some(Err(_)) => (NEGATIVE, &self.found.negatives),
            None => (MISS, &self.found.misses),
        };
        count.inc();
        looked_up.note(how);
        if let Some(known) = known {
            return known;
        }
        let outcome = self.ask_once(question).await;
        match (&outcome, self.cached(&key)) {
            (Err(GrantError::Unavailable), Some(held)) if self.is_within_grace(&held) => Ok(held),
            _ => outcome,
        }
    }

    /// Starts the clock of a token, now or at an earlier time of Redis' clock: at its first answer,
    /// or once its first request was left. `Err(Invalid(_))` if it ended before that.
    pub async fn activate(&self, held: &LiveGrant, used_at_ms: Option<i64>) -> Result<i64, GrantError> {
        let starting = held.starting();
        let (device, session_id) = (held.key.device.as_ref(), held.lease.map(|lease| lease.session_id));
        match self.redis.activate(held.token_id, held.generation, device, session_id, used_at_ms).await {
            Ok(Activation::Active { activated_at_ms, left, change }) => {
                starting.started(activated_at_ms, left, change);
                Ok(activated_at_ms)
            }
            Ok(Activation::Ended) => Err(GrantError::Invalid(InvalidCredential::Revoked)),
            Ok(Activation::Unknown) => Err(GrantError::Unavailable),
            Err(error) => {
                tracing::warn!(token_id = %held.token_id, %error, "an activation could not be recorded");
                Err(GrantError::Unavailable)
            }
        }
    }

    /// Keeps a grant whose clock runs, while it is in use: any change since Redis was asked has
    /// found it.
    pub fn keep(&self, held: &Arc<LiveGrant>) {
        self.held.insert(held.key.clone(), Arc::clone(held));
    }

    /// Forgets a grant whose lease was let go.
    pub fn forget(&self, held: &LiveGrant) {
        self.held.remove(&held.key);
    }

    /// Takes in what the feed told: what is held of these tokens is looked up again where a request
    /// is open on it or its lease is still to be renewed, and forgotten otherwise. `false` if Redis
    /// could not say of each: then track is lost.
    ///
    /// That a grant's clock was started from here it knows already, from the answer to that: of
    /// this one change it is not looked up again. Whatever else has become of the token has an
    /// entry of its own.
    pub async fn changed(&self, changes: &[(Uuid, StreamId)]) -> bool {
        {
            let mut recent = self.lock_recent();
            changes.iter().for_each(|&(token_id, _)| recent.note(token_id));
        }
        if !changes.is_empty() {
            // What was unknown a moment ago may just have been bought.
            self.negatives.clear();
        }
        let (mut wanted, mut unsaid) = (Vec::new(), Vec::new());
        for &(token_id, change) in changes {
            for held in self.index.of(token_id) {
                let has_made = held.has_made(change);
                if has_made == Some(true) {
                    held.forget_start();
                    continue;
                }
                // What is in use stays, for while Redis cannot say it goes on.
                let doubt = held.doubt();
                if !held.uses.is_wanted() {
                    self.held.remove(&held.key);
                } else if has_made.is_none() {
                    unsaid.push((held, change, doubt));
                } else {
                    wanted.push((held, Some(change.at_ms)));
                }
            }
        }
        // The feed may be quicker than the answer.
        let unsaid = unsaid.iter().map(|(held, change, doubt)| async {
            let has_made = held.has_made_after_all(*change).await;
            if has_made {
                held.take_back(*doubt);
                held.forget_start();
            }
            has_made || self.look_again_at(held, Some(change.at_ms)).await
        });
        let (is_sure, are_said) = futures_util::join!(self.look_again(wanted), join_all(unsaid));
        is_sure && are_said.into_iter().all(|is_sure| is_sure)
    }

    /// Takes in that changes may have been missed: everything that is held is asked for again, at
    /// its next use or, by [`Grants::look_at_all`], at once. Until Redis can say, it goes on within
    /// the grace of an outage.
    pub fn lost_track(&self) {
        *self.doubted.lock() = Instant::now();
        self.negatives.clear();
        // Another Redis has other ids.
        self.index.all().iter().for_each(|held| held.forget_start());
    }

    /// Looks up again everything that a request is open on, and renews its lease and claim; `false`
    /// if Redis could not say of each.
    pub async fn look_at_all(&self) -> bool {
        let in_use = self.index.all().into_iter().filter(|held| held.uses.is_open());
        self.look_again(in_use.map(|held| (held, None)).collect()).await
    }

    /// Keeps leases and claims for as long as they are used, and ends what Redis has been away from
    /// for too long. Never returns.
    pub async fn watch(&self) {
        let (mut leases_renewed, mut claims_renewed, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(WATCHED_EVERY).await;
            let now = Instant::now();
            let is_sound = self.is_sound();
            if now - leases_renewed >= self.trust.renews_every() {
                leases_renewed = now;
                let used: Vec<_> = self.index.all().into_iter().filter(|held| held.uses.take_due()).collect();
                self.leases.set(i64::try_from(used.len()).unwrap_or(i64::MAX));
                if !self.look_again(used.iter().map(|held| (Arc::clone(held), None)).collect()).await {
                    used.iter().for_each(|held| held.uses.renewal_failed());
                }
            } else if now - claims_renewed >= CLAIMS_RENEWED_EVERY {
                claims_renewed = now;
                let first =
                    self.index.all().into_iter().filter(|held| held.open_claim().is_some() && held.uses.is_open());
                self.look_again(first.map(|held| (held, None)).collect()).await;
            } else if !is_sound && now - looked >= self.trust.staleness {
                looked = now;
                self.look_at_all().await;
            }
            self.redis_trusted.set(i64::from(is_sound));
            if !is_sound {
                self.end_untrusted();
            }
        }
    }

    fn end_untrusted(&self) {
        let untrusted = self.index.all().into_iter().filter(|held| held.uses.is_open() && !self.is_within_grace(held));
        untrusted.for_each(|held| {
            self.held.remove(&held.key);
            held.end(EndReason::RedisUnavailable, None);
        });
    }

    /// Whether the feed was sound a moment ago, so that what is held can be used without a
    /// question.
    pub fn is_sound(&self) -> bool {
        self.hearing.silence().is_some_and(|silence| silence <= self.trust.staleness)
    }

    /// Whether what is held may go on although Redis cannot say: for so long after the last word,
    /// or after the doubt began, or after Redis was last asked for it.
    fn is_within_grace(&self, held: &LiveGrant) -> bool {
        let grace = self.trust.outage_grace.max(self.trust.staleness);
        let is_heard = self.hearing.silence().is_some_and(|silence| silence <= grace);
        let is_doubt_young = self.doubted(held).is_none_or(|doubted| doubted.elapsed() <= grace);
        held.asked().elapsed() <= grace || is_heard && is_doubt_young
    }

    /// Whether a held grant can be used without a question: nothing was missed since Redis was
    /// asked for it, and its lease stands.
    fn is_sure(&self, held: &LiveGrant) -> bool {
        let is_leased = held.lease.is_none() || held.asked().elapsed() <= self.trust.leases_for();
        is_leased && self.doubted(held).is_none()
    }

    /// Since when what is known of it may be wrong: a change was told, or some may have been
    /// missed, since Redis was asked.
    fn doubted(&self, held: &LiveGrant) -> Option<Instant> {
        let all = *self.doubted.lock();
        held.doubted().or((held.asked() < all).then_some(all))
    }

    fn cached(&self, key: &GrantKey) -> Option<Arc<LiveGrant>> {
        self.held.get(key).filter(|held| held.ending(Instant::now()).is_none())
    }

    /// What can be said without asking Redis.
    fn known(&self, key: &GrantKey) -> Option<LookupResult> {
        if !self.is_sound() {
            return None;
        }
        if let Some(held) = self.cached(key).filter(|held| self.is_sure(held)) {
            return Some(Ok(held));
        }
        let negative = self.negatives.get(&key.digest).filter(|&(_, until)| Instant::now() < until);
        negative.map(|(bad, _)| Err(GrantError::Invalid(bad)))
    }

    /// Asks Redis, once for all who ask at the same time.
    async fn ask_once(&self, question: Query) -> LookupResult {
        let flight = self.flights.join(question);
        // Boxed, so that requests that need no question do not carry room for one.
        flight.outcome.get_or_init(|| Box::pin(self.ask(&flight.question))).await.clone()
    }

    fn lock_recent(&self) -> MutexGuard<'_, RecentChanges> {
        self.recent.lock()
    }

    async fn ask(&self, question: &Query) -> LookupResult {
        let key = &question.key;
        // The question may have been answered between the caller's look and the beginning of this
        // flight.
        if let Some(known) = self.known(key) {
            return known;
        }
        for _ in 0..MAX_ASKS {
            let told = self.lock_recent().told;
            let outcome = match self.ask_redis(question).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::warn!(%error, "Redis did not answer");
                    Err(GrantError::Unavailable)
                }
            };
            let Ok(held) = &outcome else {
                if let Err(GrantError::Invalid(bad)) = outcome {
                    self.held.remove(key);
                    // A change that came meanwhile may have made it good.
                    if self.lock_recent().told == told {
                        self.negatives.insert(key.digest, (bad, Instant::now() + NEGATIVE_FOR));
                    }
                }
                return outcome;
            };
            let is_overtaken = self.lock_recent().may_have_changed(held.token_id, told);
            if !is_overtaken {
                // A ready token is asked for each time: only Redis knows whether another edge
                // started its clock, or a refund bars it.
                if held.activated_at_ms().is_some() {
                    self.keep(held);
                }
                return outcome;
            }
        }
        Err(GrantError::Unavailable)
    }

    async fn ask_redis(&self, question: &Query) -> Result<LookupResult, Error> {
        if let Some(outcome) = self.ask_in_brief(question).await? {
            return Ok(outcome);
        }
        let finding = self.find_in_whole(&question.key).await?;
        if !finding.is_whole {
            return Ok(Err(GrantError::Unavailable));
        }
        let absent = || {
            let is_absent = finding.proves_absence(self.hearing.connected_at_ms());
            if is_absent { GrantError::Invalid(InvalidCredential::Unknown) } else { GrantError::Unavailable }
        };
        let Some(named) = finding.names else { return Ok(Err(absent())) };
        let answer = self.ask_for(question, named, "").await?;
        Ok(self.outcome_of(question, answer, absent))
    }

    /// The same by one look and one script, where all is as it mostly is; `None` where that says
    /// nothing for sure, and nothing is taken then.
    ///
    /// What the credential names is read without a word about what that is worth. But the script
    /// knows the build by which Redis was whole before the look, as the feed has told, and answers
    /// only while Redis is whole by that build still. No build comes twice, so Redis was whole in
    /// between. That both were asked of one server the connections tell.
    async fn ask_in_brief(&self, question: &Query) -> Result<Option<LookupResult>, Error> {
        let Some(build) = self.hearing.filled_by() else { return Ok(None) };
        let connections = self.redis.connections();
        let named = self.redis.named(&question.key.digest).await?;
        let Some(named) = named.filter(|&(_, generation)| generation != ENDED_GENERATION) else { return Ok(None) };
        let answer = self.ask_for(question, named, &build).await?;
        let is_sure = !matches!(answer.verdict, Evaluation::Unknown | Evaluation::Unsure);
        if !is_sure || self.redis.connections() != connections {
            return Ok(None);
        }
        Ok(Some(self.outcome_of(question, answer, || GrantError::Unavailable)))
    }

    /// What a token of that generation of credentials opens, in a Redis that is whole by this
    /// build, or by whichever if none is named.
    async fn ask_for(
        &self,
        question: &Query,
        (token_id, generation): (Uuid, i64),
        build: &str,
    ) -> Result<Answer, Error> {
        let Query { key, scopes, address } = question;
        let (asked, mut taken) = (Instant::now(), None);
        let lookup = match &key.device {
            Some(device) => {
                let (session_id, claim) = (ids::draw(), ids::draw());
                let taking = Taking { device, scopes, address: *address, session_id, claim };
                taken = Some(AdmissionGuard::new(&self.settlements, token_id, &taking));
                self.redis.take(token_id, generation, build, &taking).await?
            }
            None => self.redis.look(token_id, generation, build).await?,
        };
        let verdict = Evaluation::of(lookup, None);
        match (&verdict, &mut taken) {
            (Evaluation::Live(grant), Some(taken)) => {
                grant.lease.iter().for_each(|lease| taken.admitted_to(lease.session_id))
            }
            (Evaluation::Live(_), None) => {}
            _ => taken.take().into_iter().for_each(AdmissionGuard::settled),
        }
        Ok(Answer { verdict, generation, asked, taken })
    }

    fn outcome_of(&self, question: &Query, answer: Answer, absent: impl FnOnce() -> GrantError) -> LookupResult {
        let Answer { verdict, generation, asked, taken } = answer;
        match verdict {
            Evaluation::Live(grant) => {
                Ok(LiveGrant::new(question.key.clone(), generation, taken, asked, &grant, &self.index))
            }
            Evaluation::Ended(ending) => Err(GrantError::Invalid(ending.as_bad())),
            Evaluation::Refused(refusal) => Err(GrantError::Refused(refusal)),
            Evaluation::Unknown => Err(absent()),
            Evaluation::Unsure => Err(GrantError::Unavailable),
        }
    }

    /// What a credential names in a Redis that is whole, if it is or becomes so in a moment.
    async fn find_in_whole(&self, key: &GrantKey) -> Result<Finding, Error> {
        let until = Instant::now() + FILLED_WITHIN;
        loop {
            let finding = self.redis.find(&key.digest).await?;
            // What is held goes on meanwhile.
            let can_go_on = || self.cached(key).is_some_and(|held| self.is_within_grace(&held));
            if finding.is_whole || Instant::now() >= until || can_go_on() {
                return Ok(finding);
            }
            tokio::time::sleep(FILLED_LOOKED_EVERY).await;
        }
    }

    /// Asks again for these, and tells those who hold them; `false` as soon as Redis cannot say: it
    /// is not waited for again and again.
    async fn look_again(&self, held: Vec<(Arc<LiveGrant>, Option<u64>)>) -> bool {
        for some in held.chunks(LOOKED_AT_ONCE) {
            let looks = some.iter().map(|(held, told_at_ms)| self.look_again_at(held, *told_at_ms));
            if !join_all(looks).await.into_iter().all(|is_sure| is_sure) {
                return false;
            }
        }
        true
    }

    async fn look_again_at(&self, held: &Arc<LiveGrant>, told_at_ms: Option<u64>) -> bool {
        if held.uses.is_over() {
            return true;
        }
        let asked = Instant::now();
        let lookup = match held.renewal() {
            Some(renewal) => self.redis.renew(held.token_id, held.generation, renewal).await,
            None => self.redis.look(held.token_id, held.generation, "").await,
        };
        let Ok(lookup) = lookup else { return false };
        let ending = match Evaluation::of(lookup, Some(held)) {
            Evaluation::Live(grant) => {
                held.renew(asked, &grant, told_at_ms);
                if grant.activated_at_ms.is_some() && !held.uses.is_over() {
                    self.keep(held);
                }
                return true;
            }
            Evaluation::Ended(ending) => ending,
            // Redis is whole: what it has never heard of is no more.
            Evaluation::Unknown => EndReason::Revoked,
            Evaluation::Refused(_) | Evaluation::Unsure => return false,
        };
        self.held.remove(&held.key);
        held.end(ending, told_at_ms);
        true
    }
}
