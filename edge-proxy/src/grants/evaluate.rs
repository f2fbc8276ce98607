//! What an answer of Redis means for a request: the one decision, when it comes and while it is open.

use std::time::Duration;

use shared::{
    redis::replies::{Grant, Lookup},
    token::{device::Device, scope::Scope},
};

use crate::{admission::policy::Bad, grants::live::Held};

/// Why a grant ends while requests hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Expired,
    Revoked,
    Suspended,
    /// Another device holds the token, or this one let it go.
    TakenOver,
    EndedByAdministrator,
    /// The token may no longer be used from the client's address.
    KeptOut,
    /// Redis was away for longer than a grant is trusted without it.
    RedisAway,
}

impl Ending {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::TakenOver => "taken_over",
            Self::EndedByAdministrator => "ended_by_administrator",
            Self::KeptOut => "kept_out",
            Self::RedisAway => "redis_away",
        }
    }

    /// What that makes of the credential.
    pub fn as_bad(self) -> Bad {
        match self {
            Self::Expired => Bad::Expired,
            Self::Suspended => Bad::Suspended,
            _ => Bad::Revoked,
        }
    }
}

/// What an answer of Redis means for one who asks, be it a request that comes or one that is open.
#[derive(Debug)]
pub enum Verdict {
    Live(Grant),
    Ended(Ending),
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
    KeptOut,
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

impl Verdict {
    /// The one decision at open (`held` is `None`) and during life.
    pub fn of(lookup: Lookup, held: Option<&Held>) -> Self {
        match (lookup, held) {
            (Lookup::Live(grant), Some(held)) => match held.cut_by(&grant) {
                Some(ending) => Self::Ended(ending),
                None => Self::Live(grant),
            },
            (Lookup::Live(grant), None) => Self::Live(grant),
            (Lookup::Revoked, _) => Self::Ended(Ending::Revoked),
            (Lookup::Suspended, _) => Self::Ended(Ending::Suspended),
            (Lookup::Expired, _) => Self::Ended(Ending::Expired),
            (Lookup::Conflict { .. }, Some(_)) => Self::Ended(Ending::TakenOver),
            (Lookup::Conflict { device, started_at_ms }, None) => {
                Self::Refused(Refusal::InUse { device, started_at_ms })
            }
            (Lookup::Guarded(_), _) => Self::Refused(Refusal::KeptOut),
            (Lookup::Outside(scope), _) => Self::Refused(Refusal::Outside(scope)),
            (Lookup::Throttled { retry_after }, _) => Self::Refused(Refusal::Throttled { retry_after }),
            (Lookup::Unknown, _) => Self::Unknown,
            (Lookup::Partial, _) => Self::Unsure,
        }
    }
}

/// Why a credential opens nothing at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Unknown, revoked, suspended, rotated away or expired.
    Invalid(Bad),
    /// Good, but not for this request.
    Refused(Refusal),
    /// Redis cannot say.
    Unavailable,
}
