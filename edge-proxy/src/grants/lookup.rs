//! How Redis is asked for a grant: once for all who ask at the same time, by a fast path where the
//! feed has told enough, and again where a change came while the reply was on its way.

use std::time::{Duration, Instant};

use shared::redis::{ENDED_GENERATION, replies::Finding};
use uuid::Uuid;

use super::{Grants, MAX_ASKS};
use crate::{
    grants::{
        evaluate::{Evaluation, GrantError},
        live::{GrantKey, LiveGrant},
        release::AdmissionGuard,
        single_flight::{LookupResult, Query},
    },
    ids,
    redis::{Error, Taking},
    rejection::InvalidCredential,
};

/// A question waits so long for a Redis that is just being filled: better than an error at once.
const FILLED_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
const FILLED_LOOKED_EVERY: Duration = Duration::from_millis(100);
/// How long "there is no such token" is remembered.
const NEGATIVE_FOR: Duration = Duration::from_secs(1);

/// What Redis, `asked` then, says of a token, and what was taken for it.
struct Answer {
    evaluation: Evaluation,
    generation: i64,
    asked: Instant,
    taken: Option<AdmissionGuard>,
}

impl Grants {
    /// Asks Redis, once for all who ask at the same time.
    pub(super) async fn ask_once(&self, question: Query) -> LookupResult {
        let flight = self.flights.join(question);
        // Boxed, so that requests that need no question do not carry room for one.
        flight.outcome.get_or_init(|| Box::pin(self.ask(&flight.question))).await.clone()
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
            let Ok(live) = &outcome else {
                if let Err(GrantError::Invalid(bad)) = outcome {
                    self.live.remove(key);
                    // A change that came meanwhile may have made it good.
                    if self.lock_recent().told == told {
                        self.negatives.insert(key.digest, (bad, Instant::now() + NEGATIVE_FOR));
                    }
                }
                return outcome;
            };
            let is_overtaken = self.lock_recent().may_have_changed(live.token_id, told);
            if !is_overtaken {
                // A ready token is asked for each time: only Redis knows whether another edge
                // started its clock, or a refund bars it.
                if live.activated_at_ms().is_some() {
                    self.keep(live);
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
            let is_absent = finding.proves_absence(self.feed_health.connected_at_ms());
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
        let Some(build) = self.feed_health.filled_by() else { return Ok(None) };
        let connections = self.redis.connections();
        let named = self.redis.named(&question.key.digest).await?;
        let Some(named) = named.filter(|&(_, generation)| generation != ENDED_GENERATION) else { return Ok(None) };
        let answer = self.ask_for(question, named, &build).await?;
        let is_sure = !matches!(answer.evaluation, Evaluation::Unknown | Evaluation::Unsure);
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
                taken = Some(AdmissionGuard::new(&self.outcome_queue, token_id, &taking));
                self.redis.take(token_id, generation, build, &taking).await?
            }
            None => self.redis.look(token_id, generation, build).await?,
        };
        let evaluation = Evaluation::of(lookup, None);
        match (&evaluation, &mut taken) {
            (Evaluation::Live(grant), Some(taken)) => {
                grant.lease.iter().for_each(|lease| taken.admitted_to(lease.session_id))
            }
            (Evaluation::Live(_), None) => {}
            _ => taken.take().into_iter().for_each(AdmissionGuard::ended),
        }
        Ok(Answer { evaluation, generation, asked, taken })
    }

    fn outcome_of(&self, question: &Query, answer: Answer, absent: impl FnOnce() -> GrantError) -> LookupResult {
        let Answer { evaluation, generation, asked, taken } = answer;
        match evaluation {
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
            let can_go_on = || self.cached(key).is_some_and(|live| self.is_within_grace(&live));
            if finding.is_whole || Instant::now() >= until || can_go_on() {
                return Ok(finding);
            }
            tokio::time::sleep(FILLED_LOOKED_EVERY).await;
        }
    }
}
