//! Admits a request by the first of its credentials that is valid.

pub mod concurrency;
pub mod credential;
pub mod entrance;
pub mod facts;
pub mod outcomes;
pub mod permit;
pub mod policy;
pub mod rate_limit;
pub mod unknown_tokens;

use std::{
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use shared::token::credential::{Credential, Digest};

use crate::{
    admission::{
        concurrency::Concurrency, credential::Candidate, entrance::Entrance, facts::Facts, outcomes::OutcomeWorker,
        permit::Permit, policy::Caller, rate_limit::RateLimiter, unknown_tokens::UnknownTokenLimiter,
    },
    config::DevicePolicy,
    grants::{
        Grants,
        evaluate::{GrantError, Refusal},
        live::LiveGrant,
    },
    rejection::{EndReason, InvalidCredential, Rejection},
    usage::{self, SessionInfo, UsageMeter},
};

/// What decides whether a request may pass.
pub struct Admission {
    pub grants: Arc<Grants>,
    pub outcomes: Arc<OutcomeWorker>,
    pub usage: Arc<UsageMeter>,
    pub entrance: Entrance,
    pub unknown_tokens: UnknownTokenLimiter,
    pub rates: RateLimiter,
    pub concurrency: Arc<Concurrency>,
    /// How long a device holds a token after its last request.
    pub lease: Duration,
}

impl Admission {
    /// Admits a request by the first credential that opens something; the one that does must pass
    /// `check` before anything is taken for it. See [`Admission::choose`] for the order.
    pub async fn admit(
        &self,
        candidates: Vec<Candidate>,
        caller: &Caller<'_>,
        check: impl Fn(&Candidate) -> Result<(), Rejection>,
    ) -> Result<(Permit, Candidate), Rejection> {
        let mut rejection = refusal_of_none(&candidates);
        for candidate in candidates {
            let Some(credential) = &candidate.credential else { continue };
            let digest = credential.digest();
            let outcome = if check(&candidate).is_ok() {
                let (address, looked_up) = (caller.request.client, &caller.request.looked_up);
                let ask = self.grants.admit(digest, &caller.from.device, address, &caller.scopes, looked_up);
                self.bounded(digest, address, ask).await
            } else {
                // A bad credential is told so first.
                Box::pin(self.find(credential, caller.request)).await
            };
            match outcome {
                Ok(grant) => {
                    check(&candidate)?;
                    return Ok((self.permit(grant, caller)?, candidate));
                }
                Err(error) => self.go_on(error, caller.paths, &mut rejection)?,
            }
        }
        Err(rejection)
    }

    /// The first credential that opens something, from where it may be used. One that Redis cannot
    /// judge does not hide a good one, nor does it count as bad.
    pub async fn choose(
        &self,
        candidates: Vec<Candidate>,
        request: &Facts,
    ) -> Result<(Arc<LiveGrant>, Candidate), Rejection> {
        let (grant, candidate) = self.recognise(candidates, request).await?;
        if grant.may_be_used_from(request.client) { Ok((grant, candidate)) } else { Err(Rejection::NetworkNotAllowed) }
    }

    /// The same, from wherever it may be used.
    pub async fn recognise(
        &self,
        candidates: Vec<Candidate>,
        request: &Facts,
    ) -> Result<(Arc<LiveGrant>, Candidate), Rejection> {
        let mut rejection = refusal_of_none(&candidates);
        for candidate in candidates {
            let Some(credential) = &candidate.credential else { continue };
            match self.find(credential, request).await {
                Ok(grant) => return Ok((grant, candidate)),
                Err(error) => self.go_on(error, &[], &mut rejection)?,
            }
        }
        Err(rejection)
    }

    /// What one credential opens, without using it.
    pub async fn inspect(&self, credential: &Credential, request: &Facts) -> Result<Arc<LiveGrant>, Rejection> {
        let mut rejection = Rejection::BadCredential(InvalidCredential::Unknown);
        match self.find(credential, request).await {
            Ok(grant) if grant.may_be_used_from(request.client) => Ok(grant),
            Ok(_) => Err(Rejection::NetworkNotAllowed),
            Err(error) => {
                self.go_on(error, &[], &mut rejection)?;
                Err(rejection)
            }
        }
    }

    async fn find(&self, credential: &Credential, request: &Facts) -> Result<Arc<LiveGrant>, GrantError> {
        let digest = credential.digest();
        self.bounded(digest, request.client, self.grants.find(digest, &request.looked_up)).await
    }

    /// Asks, within the bound of what an address may try.
    async fn bounded(
        &self,
        digest: Digest,
        address: Option<IpAddr>,
        ask: impl Future<Output = Result<Arc<LiveGrant>, GrantError>>,
    ) -> Result<Arc<LiveGrant>, GrantError> {
        let tried = self.unknown_tokens.begin(address, digest, Instant::now());
        let tried = tried.map_err(|retry_after| GrantError::Refused(Refusal::TooManyUnknown { retry_after }))?;
        let outcome = ask.await;
        match &outcome {
            Ok(_) | Err(GrantError::Refused(_)) => tried.found_good(),
            // Redis could not say: that is nobody's fault.
            Err(GrantError::Unavailable) => drop(tried),
            Err(GrantError::Invalid(_)) => tried.found_bad(),
        }
        outcome
    }

    /// What a credential that opens nothing means for the others: `Err` if it ends the search,
    /// otherwise what is told if none is better.
    fn go_on(&self, error: GrantError, paths: &[&str], rejection: &mut Rejection) -> Result<(), Rejection> {
        match error {
            // Of several the first of which something is known.
            GrantError::Invalid(bad) if *rejection == Rejection::BadCredential(InvalidCredential::Unknown) => {
                *rejection = Rejection::BadCredential(bad)
            }
            GrantError::Invalid(_) => {}
            GrantError::Unavailable => *rejection = Rejection::Unavailable,
            GrantError::Refused(Refusal::TooManyUnknown { retry_after }) => {
                *rejection = Rejection::TooManyUnknown { retry_after }
            }
            GrantError::Refused(Refusal::NetworkNotAllowed) => return Err(Rejection::NetworkNotAllowed),
            GrantError::Refused(Refusal::Outside(scope)) => {
                policy::authorize(DevicePolicy::Off, true, scope, paths)?;
                return Err(Rejection::Fault);
            }
            GrantError::Refused(Refusal::InUse { device, started_at_ms }) => {
                let since = DateTime::from_timestamp_millis(started_at_ms);
                return Err(Rejection::InUse { device: device.shown(), since, lease: self.lease });
            }
            GrantError::Refused(Refusal::Throttled { retry_after }) => {
                return Err(Rejection::Throttled { retry_after });
            }
        }
        Ok(())
    }

    /// The permit of a request that is admitted, if its token may make one more.
    fn permit(&self, grant: Arc<LiveGrant>, caller: &Caller<'_>) -> Result<Permit, Rejection> {
        let permit = Permit::new(Arc::clone(&grant), caller.request.client, Arc::clone(&self.outcomes));
        // What changed while Redis was asked ends it before anything of the request is sent.
        match permit.ending() {
            None => {}
            Some(EndReason::NetworkNotAllowed) => return Err(Rejection::NetworkNotAllowed),
            Some(EndReason::RedisUnavailable) => return Err(Rejection::Unavailable),
            Some(ending) => return Err(Rejection::BadCredential(ending.as_bad())),
        }
        let place = self.concurrency.take(grant.token_id, caller.opens).ok_or(Rejection::TooManyOpen)?;
        self.rates.spend(grant.token_id, Instant::now()).map_err(Rejection::TooManyRequests)?;
        let lease = grant.lease.expect("a grant that was admitted for a device has a lease");
        let who = || SessionInfo {
            session_id: lease.session_id,
            token_id: grant.token_id,
            user_id: grant.user_id,
            device: caller.from.device.clone(),
            started_at_ms: lease.started_at_ms,
            address: caller.request.client,
            agent: caller.agent.map(usage::agent_told),
        };
        Ok(permit.counted(self.usage.session(lease.session_id, who).open(), place))
    }
}

fn refusal_of_none(candidates: &[Candidate]) -> Rejection {
    if candidates.is_empty() { Rejection::NoCredential } else { Rejection::BadCredential(InvalidCredential::Unknown) }
}
