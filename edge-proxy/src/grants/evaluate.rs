//! What an answer of Redis means for a request: the one decision, when it comes and while it is
//! open.

use std::time::Duration;

use shared::{
    redis::replies::{Grant, Lookup},
    token::{device::Device, scope::Scope},
};

use crate::{
    grants::live::LiveGrant,
    rejection::{EndReason, InvalidCredential},
};

/// What a reply of Redis means for a request, a new one or an open one.
#[derive(Debug)]
pub enum Evaluation {
    Live(Grant),
    Ended(EndReason),
    /// Good, but not for this request.
    Refused(Refusal),
    /// Redis has never heard of it.
    Unknown,
    /// Redis cannot say.
    Unsure,
}

/// Why a good token does not open this path for this device now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token may not be used from there.
    NetworkNotAllowed,
    Outside(Scope),
    /// Held by another device since then, in milliseconds of Redis' clock since 1970.
    InUse {
        device: Device,
        started_at_ms: i64,
    },
    Throttled {
        retry_after: Duration,
    },
    /// Not looked up: this address has tried too many that opened nothing.
    TooManyUnknown {
        retry_after: Duration,
    },
}

impl Evaluation {
    /// The one decision at open (`held` is `None`) and during life.
    pub fn of(lookup: Lookup, live: Option<&LiveGrant>) -> Self {
        match (lookup, live) {
            (Lookup::Live(grant), Some(live)) => match live.cut_by(&grant) {
                Some(ending) => Self::Ended(ending),
                None => Self::Live(grant),
            },
            (Lookup::Live(grant), None) => Self::Live(grant),
            (Lookup::Revoked, _) => Self::Ended(EndReason::Revoked),
            (Lookup::Suspended, _) => Self::Ended(EndReason::Suspended),
            (Lookup::Expired, _) => Self::Ended(EndReason::Expired),
            (Lookup::Conflict { .. }, Some(_)) => Self::Ended(EndReason::TakenOver),
            (Lookup::Conflict { device, started_at_ms }, None) => {
                Self::Refused(Refusal::InUse { device, started_at_ms })
            }
            (Lookup::Guarded(_), _) => Self::Refused(Refusal::NetworkNotAllowed),
            (Lookup::Outside(scope), _) => Self::Refused(Refusal::Outside(scope)),
            (Lookup::Throttled { retry_after }, _) => Self::Refused(Refusal::Throttled { retry_after }),
            (Lookup::Unknown, _) => Self::Unknown,
            (Lookup::Partial, _) => Self::Unsure,
        }
    }
}

/// Why a credential opens nothing at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// Unknown, revoked, suspended, rotated away or expired.
    Invalid(InvalidCredential),
    /// Good, but not for this request.
    Refused(Refusal),
    /// Redis cannot say.
    Unavailable,
}
