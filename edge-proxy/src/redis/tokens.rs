//! What the edge asks Redis about tokens, and does to them there.

use std::net::IpAddr;

use fred::{bytes_utils::Str, interfaces::KeysInterface};
use shared::{
    net::address::NetworkPolicy,
    process::trace::{self, Span},
    redis::{
        self,
        calls::{self, LeaseOutcome, Mode, Renewal},
        events::Usage,
        replies::{Activation, Finding, Lookup, TakeOver},
    },
    token::{
        credential::{Digest, Handover},
        device::Device,
        scope::Scope,
    },
};
use uuid::Uuid;

use super::{Error, Redis};

/// How often the networks of a token that change meanwhile are read again.
const NETWORKS_READ: usize = 4;

/// A request that asks to be admitted.
pub struct Taking<'a> {
    pub device: &'a Device,
    /// The scopes that open its path.
    pub scopes: &'a [Scope],
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The session's id, should this be its first request.
    pub session_id: Uuid,
    /// Names the claim, should the token be ready.
    pub claim: Uuid,
}

/// What an admission held in Redis, and what becomes of it.
#[derive(Debug)]
pub struct AdmissionOutcome {
    pub token_id: Uuid,
    pub device: Device,
    pub session_id: Uuid,
    /// The claim that ends.
    pub claim: Option<Uuid>,
    /// The upstream failed a request that cost nothing.
    pub is_fault: bool,
    pub lease: LeaseOutcome,
}

impl Redis {
    /// What a credential names, if it is there; what that is worth is not told.
    pub async fn named(&self, credential: &Digest) -> Result<Option<(Uuid, i64)>, Error> {
        let key = redis::credential_key(credential);
        let value: Option<String> = trace::ask("redis", "GET", self.connected()?.get(key)).await?;
        Ok(value.as_deref().and_then(redis::parse_credential_value))
    }

    /// What a credential names, and whether Redis could know.
    pub async fn find(&self, credential: &Digest) -> Result<Finding, Error> {
        let reply: Vec<String> = self.call(&calls::Find { credential }).await?;
        Ok(Finding::parse(&reply)?)
    }

    /// What a credential of that generation may do in a Redis of that build, or of any if none is
    /// named, without doing anything.
    pub async fn look(&self, token_id: Uuid, generation: i64, build: &str) -> Result<Lookup, Error> {
        self.admit(token_id, generation, Mode::Look, build).await
    }

    /// Admits a request, or says why not. Whether the token may be used from its address is judged
    /// before anything is taken: an address that is not allowed must not hold the token against
    /// those that are. [`Lookup::Guarded`] is what is left to say of it. A `build` that is named
    /// must be the one that Redis is whole by.
    pub async fn take(
        &self,
        token_id: Uuid,
        generation: i64,
        build: &str,
        taking: &Taking<'_>,
    ) -> Result<Lookup, Error> {
        let &Taking { device, scopes, address, session_id, claim } = taking;
        let mut networks = String::new();
        for _ in 0..NETWORKS_READ {
            let mode = Mode::Take(calls::Taking { device, scopes, networks: &networks, session_id, claim });
            let lookup = self.admit(token_id, generation, mode, build).await?;
            match lookup {
                Lookup::Guarded(others) if may_use(&others, address)? => networks = others,
                lookup => return Ok(lookup),
            }
        }
        Err(Error::UnreadNetworks)
    }

    /// Asks again for a grant that is held, and refreshes its lease and its claim.
    pub async fn renew(&self, token_id: Uuid, generation: i64, renewal: Renewal<'_>) -> Result<Lookup, Error> {
        self.admit(token_id, generation, Mode::Renew(renewal), "").await
    }

    async fn admit(&self, token_id: Uuid, generation: i64, mode: Mode<'_>, build: &str) -> Result<Lookup, Error> {
        let call = calls::Admit { token_id, generation, leases: self.leases, mode, build };
        let reply: Vec<Str> = self.call(&call).await?;
        Ok(Lookup::parse(token_id, &reply)?)
    }

    /// Ends what an admission held.
    pub async fn end_admission(&self, outcome: &AdmissionOutcome) -> Result<(), Error> {
        let AdmissionOutcome { token_id, ref device, session_id, claim, is_fault, lease } = *outcome;
        let call = calls::EndAdmission { token_id, leases: self.leases, device, session_id, claim, is_fault, lease };
        let _released: i64 = self.call(&call).await?;
        Ok(())
    }

    /// Starts the clock of a token that this device holds in this session, now or at an earlier
    /// time of Redis' clock, unless it runs already since before. Both planes are told in the same
    /// instant.
    pub async fn activate(
        &self,
        token_id: Uuid,
        generation: i64,
        device: Option<&Device>,
        session_id: Option<Uuid>,
        used_at_ms: Option<i64>,
    ) -> Result<Activation, Error> {
        let (leases, traceparent) = (self.leases, Span::current().traceparent());
        let traceparent = traceparent.as_deref();
        let activate = calls::Activate { token_id, generation, leases, device, session_id, used_at_ms, traceparent };
        let reply: Vec<String> = self.call(&activate).await?;
        Ok(Activation::parse(&reply)?)
    }

    /// Frees a token for other devices; whether this device held it.
    pub async fn release(&self, token_id: Uuid, device: &Device) -> Result<bool, Error> {
        let freed: i64 = self.call(&calls::Release { token_id, leases: self.leases, device }).await?;
        Ok(freed == 1)
    }

    /// Moves a token to this device, in a session of this id, and reports that event of it. What
    /// another device has open ends.
    pub async fn take_over(
        &self,
        token_id: Uuid,
        generation: i64,
        device: &Device,
        address: Option<IpAddr>,
        session_id: Uuid,
        report: &Usage,
    ) -> Result<TakeOver, Error> {
        let (leases, traceparent) = (self.leases, Span::current().traceparent());
        let traceparent = traceparent.as_deref();
        let mut networks = String::new();
        for _ in 0..NETWORKS_READ {
            let networks_read = &networks;
            let call = calls::TakeOver {
                token_id,
                generation,
                leases,
                device,
                session_id,
                networks: networks_read,
                report,
                traceparent,
            };
            let reply: Vec<Str> = self.call(&call).await?;
            match TakeOver::parse(token_id, &reply)? {
                TakeOver::Refused(Lookup::Guarded(others)) if may_use(&others, address)? => networks = others,
                outcome => return Ok(outcome),
            }
        }
        Err(Error::UnreadNetworks)
    }

    /// Takes the salt of a hand-over, once, and gives back what the browser is to hold.
    pub async fn redeem(&self, code: &str) -> Result<Option<Handover>, Error> {
        let key = redis::handover_key(&Handover::code_digest(code));
        let salt: Option<String> = trace::ask("redis", "GETDEL", self.connected()?.getdel(key)).await?;
        Ok(salt.and_then(|salt| Handover::join(code, &salt)))
    }
}

/// Whether a token of these networks, as Redis spells them, may be used from that address.
fn may_use(networks: &str, address: Option<IpAddr>) -> Result<bool, Error> {
    Ok(networks.parse::<NetworkPolicy>()?.may_use(address))
}
