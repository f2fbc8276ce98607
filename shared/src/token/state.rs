//! The state of a token, and the durations that are sold.
//!
//! Each function takes the time as an argument: which clock is read is the caller's business.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::malformed::Malformed;

/// The durations that are sold, in hours.
pub const DURATIONS_HOURS: [u32; 5] = [1, 12, 24, 168, 720];

/// How a token stands with the control plane, as the `state` field in Redis holds it. Whether a
/// live one is ready, active or expired follows from its activation and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Live,
    /// Its user is disabled; comes back with them.
    Suspended,
    Revoked,
    /// A refund was asked for and is not settled: nothing may use the token meanwhile.
    Barred,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Live, Self::Suspended, Self::Revoked, Self::Barred];

    /// The name in Redis.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Barred => "barred",
        }
    }
}

impl FromStr for Standing {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == name).ok_or(Malformed)
    }
}

/// The state of a token, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never used.
    Ready,
    Active,
    Expired,
    Revoked,
    Suspended,
}

impl State {
    /// The state of a token that stands so, was activated then (if ever) and lasts so long; all in
    /// milliseconds since the epoch of one clock.
    pub fn at(now_ms: i64, standing: Standing, activated_at_ms: Option<i64>, duration_ms: i64) -> Self {
        match (standing, activated_at_ms) {
            (Standing::Revoked | Standing::Barred, _) => Self::Revoked,
            (_, Some(activated)) if now_ms >= activated + duration_ms => Self::Expired,
            (Standing::Suspended, _) => Self::Suspended,
            (Standing::Live, Some(_)) => Self::Active,
            (Standing::Live, None) => Self::Ready,
        }
    }

    /// The name in answers and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_token_is_active_to_the_last_millisecond_and_not_one_longer() {
        let at = |now_ms| State::at(now_ms, Standing::Live, Some(1_000), HOUR_MS);
        assert_eq!(at(1_000), State::Active);
        assert_eq!(at(1_000 + HOUR_MS - 1), State::Active);
        assert_eq!(at(1_000 + HOUR_MS), State::Expired);
    }

    #[test]
    fn a_token_never_used_stays_ready_however_late() {
        assert_eq!(State::at(i64::MAX / 2, Standing::Live, None, HOUR_MS), State::Ready);
    }

    #[test]
    fn the_clock_of_a_suspended_token_runs_on() {
        assert_eq!(State::at(2_000, Standing::Suspended, Some(1_000), HOUR_MS), State::Suspended);
        assert_eq!(State::at(1_000 + HOUR_MS, Standing::Suspended, Some(1_000), HOUR_MS), State::Expired);
    }
}
