//! What edges ask about a token for a request.

use std::{borrow::Cow, time::Duration};

use uuid::Uuid;

use super::{Arg, Call, Script, flag, optional, text};
use crate::{
    redis::{
        CHANGES, CHANGES_LENGTH, CLAIM_MS, FAULTS_PER_MINUTE, SNAPSHOT, TOMBSTONE_MS, USAGE, credential_key,
        events::Usage, lease_key, token_key,
    },
    token::{credential::Digest, device::Device, scope::Scope},
};

/// What `admit.lua` takes for "any path".
const ANY_SCOPE: &str = "*";

/// How devices hold tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePolicy {
    /// How long a device holds a token after its last request.
    pub lasts: Duration,
    /// Every device has a lease of its own, so that all of them may use the token.
    pub is_per_device: bool,
}

impl LeasePolicy {
    /// The key of the lease by which this device holds the token.
    pub fn key(&self, token_id: Uuid, device: &Device) -> String {
        lease_key(token_id, self.is_per_device.then_some(device))
    }

    fn milliseconds(&self) -> Arg {
        text(self.lasts.as_millis())
    }
}

/// Finds what a credential names, and what that reply is worth; replies
/// [`Finding`](crate::redis::replies::Finding).
#[derive(Clone, Copy, Debug)]
pub struct Find<'a> {
    pub credential: &'a Digest,
}

impl Call for Find<'_> {
    const SCRIPT: Script = Script::Find;

    fn keys(&self) -> Vec<String> {
        vec![SNAPSHOT.to_owned(), credential_key(self.credential)]
    }

    fn args(&self) -> Vec<Arg> {
        Vec::new()
    }
}

/// Decides what a credential may do now; replies [`Lookup`](crate::redis::replies::Lookup).
#[derive(Clone, Copy, Debug)]
pub struct Admit<'a> {
    pub token_id: Uuid,
    /// The generation of the credential that names the token.
    pub generation: i64,
    pub leases: LeasePolicy,
    pub mode: Mode<'a>,
    /// The build of Redis that must answer; empty for any.
    pub build: &'a str,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// To know it alone: nothing changes.
    Look,
    /// To admit a request.
    Take(Taking<'a>),
    /// To keep the lease and the claim of requests that are open.
    Renew(Renewal<'a>),
}

/// A request that asks to be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Taking<'a> {
    pub device: &'a Device,
    /// The scopes that open its path.
    pub scopes: &'a [Scope],
    /// The networks that its client's address was checked against, as Redis spells them. Where the
    /// token has others the reply tells those, and nothing is taken.
    pub networks: &'a str,
    /// The session's id, if this is its first request.
    pub session_id: Uuid,
    /// Names the claim, if the token is ready.
    pub claim: Uuid,
}

/// A session whose lease goes on.
#[derive(Clone, Copy, Debug)]
pub struct Renewal<'a> {
    pub device: &'a Device,
    pub session_id: Uuid,
    /// When the session began, in milliseconds of Redis' clock since 1970.
    pub started_at_ms: i64,
    /// The claim of a first request that is open.
    pub claim: Option<Uuid>,
    /// The generation of cuts that the session was admitted with.
    pub cut_generation: i64,
    /// A request of the session is known to have reached the upstream.
    pub has_reached: bool,
}

impl Call for Admit<'_> {
    const SCRIPT: Script = Script::Admit;

    fn keys(&self) -> Vec<String> {
        let lease = match self.mode {
            Mode::Look => lease_key(self.token_id, None),
            Mode::Take(Taking { device, .. }) | Mode::Renew(Renewal { device, .. }) => {
                self.leases.key(self.token_id, device)
            }
        };
        vec![token_key(self.token_id), lease, SNAPSHOT.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        let (none, zero) = (Cow::Borrowed(""), Cow::Borrowed("0"));
        let mut args = Vec::with_capacity(14);
        args.push(text(self.generation));
        args.extend::<[Arg; 12]>(match &self.mode {
            Mode::Look => [
                "look".into(),
                ANY_SCOPE.into(),
                none.clone(),
                none.clone(),
                zero.clone(),
                none.clone(),
                zero.clone(),
                none.clone(),
                zero.clone(),
                zero.clone(),
                zero,
                none,
            ],
            Mode::Take(taking) => [
                "take".into(),
                taking.scopes.iter().flat_map(|scope| [",", scope.as_str()]).chain([","]).collect(),
                text(taking.device.as_str()),
                text(taking.session_id),
                self.leases.milliseconds(),
                text(taking.claim),
                text(CLAIM_MS),
                none.clone(),
                text(FAULTS_PER_MINUTE),
                none.clone(),
                none,
                text(taking.networks),
            ],
            Mode::Renew(renewal) => [
                "renew".into(),
                ANY_SCOPE.into(),
                text(renewal.device.as_str()),
                text(renewal.session_id),
                self.leases.milliseconds(),
                optional(renewal.claim),
                text(CLAIM_MS),
                text(renewal.started_at_ms),
                zero,
                text(renewal.cut_generation),
                flag(renewal.has_reached),
                none,
            ],
        });
        args.push(text(self.build));
        args
    }
}

/// What becomes of the lease that an admission took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// A request of the session has reached the upstream: the lease stays.
    Keep,
    /// None has: the lease is released, unless other admissions hold it too.
    Release,
    /// It is not known yet, or was told before.
    Undecided,
}

/// Ends what an admission held. Replies how many leases were released.
#[derive(Clone, Copy, Debug)]
pub struct EndAdmission<'a> {
    pub token_id: Uuid,
    pub leases: LeasePolicy,
    pub device: &'a Device,
    pub session_id: Uuid,
    /// The claim that ends, if one does.
    pub claim: Option<Uuid>,
    /// The upstream failed a ready token's request.
    pub is_fault: bool,
    pub lease: LeaseOutcome,
}

impl Call for EndAdmission<'_> {
    const SCRIPT: Script = Script::EndAdmission;

    fn keys(&self) -> Vec<String> {
        vec![token_key(self.token_id), self.leases.key(self.token_id, self.device)]
    }

    fn args(&self) -> Vec<Arg> {
        let lease = match self.lease {
            LeaseOutcome::Keep => "keep",
            LeaseOutcome::Release => "release",
            LeaseOutcome::Undecided => "",
        };
        vec![optional(self.claim), flag(self.is_fault), lease.into(), text(self.session_id)]
    }
}

/// Starts a token's clock, unless it runs already since before, and publishes that to both planes
/// in the same instant; replies [`Activation`](crate::redis::replies::Activation).
#[derive(Clone, Copy, Debug)]
pub struct Activate<'a> {
    pub token_id: Uuid,
    pub generation: i64,
    pub leases: LeasePolicy,
    /// The device that holds it, and its session.
    pub device: Option<&'a Device>,
    pub session_id: Option<Uuid>,
    /// When it was used, in milliseconds of Redis' clock since 1970; now, if `None`.
    pub used_at_ms: Option<i64>,
    /// The place of the request in its trace.
    pub traceparent: Option<&'a str>,
}

impl Call for Activate<'_> {
    const SCRIPT: Script = Script::Activate;

    fn keys(&self) -> Vec<String> {
        let lease = match self.device {
            Some(device) => self.leases.key(self.token_id, device),
            None => lease_key(self.token_id, None),
        };
        vec![token_key(self.token_id), lease, CHANGES.to_owned(), USAGE.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            text(self.token_id),
            text(self.generation),
            text(TOMBSTONE_MS),
            optional(self.session_id),
            text(CHANGES_LENGTH),
            optional(self.used_at_ms),
            optional(self.traceparent),
        ]
    }
}

/// Frees a token for other devices. Replies 1 if this device held it, else 0.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    pub token_id: Uuid,
    pub leases: LeasePolicy,
    pub device: &'a Device,
}

impl Call for Release<'_> {
    const SCRIPT: Script = Script::Release;

    fn keys(&self) -> Vec<String> {
        vec![token_key(self.token_id), self.leases.key(self.token_id, self.device), CHANGES.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.token_id), text(self.device), text(CHANGES_LENGTH)]
    }
}

/// Moves a token to another device, and cuts off what the one before has open; replies
/// [`TakeOver`](crate::redis::replies::TakeOver).
#[derive(Clone, Copy, Debug)]
pub struct TakeOver<'a> {
    pub token_id: Uuid,
    pub generation: i64,
    pub leases: LeasePolicy,
    pub device: &'a Device,
    /// The id of the session that begins.
    pub session_id: Uuid,
    /// See [`Taking::networks`].
    pub networks: &'a str,
    /// What is reported to the control plane.
    pub report: &'a Usage,
    /// The place of the request in its trace.
    pub traceparent: Option<&'a str>,
}

impl Call for TakeOver<'_> {
    const SCRIPT: Script = Script::TakeOver;

    fn keys(&self) -> Vec<String> {
        let lease = self.leases.key(self.token_id, self.device);
        vec![token_key(self.token_id), lease, CHANGES.to_owned(), USAGE.to_owned(), SNAPSHOT.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            text(self.generation),
            text(self.device.as_str()),
            text(self.session_id),
            self.leases.milliseconds(),
            text(self.networks),
            text(self.token_id),
            text(CHANGES_LENGTH),
            text(self.report.encode()),
            optional(self.traceparent),
        ]
    }
}
