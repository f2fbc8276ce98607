//! What the edge must know of one token, and the arithmetic of its time. Everything takes `now` or a span as an argument:
//! which clock is read is the caller's business.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{redis::CAUGHT_UP_WITHIN_MS, scope::Scope};

/// The durations that are sold, in hours.
pub const DURATIONS_HOURS: [u32; 5] = [1, 12, 24, 168, 720];

/// How a token stands with the control plane, as the `state` field in Redis holds it. Whether a live one is ready, active or
/// expired follows from its activation and the time.
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
    /// The state of a token that stands so, was activated then (if ever) and lasts so long; all in milliseconds since the
    /// epoch of one clock.
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

/// A token that a request may use, as Redis tells it at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub scope: Scope,
    /// What was bought, in all.
    pub duration: Duration,
    /// When its clock started, in milliseconds of Redis' clock since 1970; `None` while it is ready.
    pub activated_at_ms: Option<i64>,
    /// What is left of it from the moment of asking: the whole duration while it is ready. The deadline is the monotonic
    /// instant of asking plus this.
    pub left: Duration,
}

/// What Redis knows of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Live(Grant),
    /// It was, and no longer is: revoked, barred, rotated away.
    Revoked,
    Suspended,
    Expired,
    /// Redis has never heard of it, which is not yet to say that it is bad.
    Unknown,
}

/// A reply that is not of the contract's shape: written by another version, or by a hand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a reply from Redis is not of the contract's shape")]
pub struct Malformed;

impl Lookup {
    /// Reads the reply of [`crate::redis::LOOKUP`] about `token_id`.
    pub fn parse(token_id: Uuid, reply: &[String]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(String::as_str).collect();
        match fields[..] {
            ["unknown"] => Ok(Self::Unknown),
            ["revoked"] => Ok(Self::Revoked),
            ["suspended"] => Ok(Self::Suspended),
            ["expired"] => Ok(Self::Expired),
            ["live", user_id, scope, duration_ms, activated_at_ms, left_ms] => {
                let Ok(scope) = scope.parse() else { return Err(Malformed) };
                Ok(Self::Live(Grant {
                    token_id,
                    user_id: number(user_id)?,
                    scope,
                    duration: Duration::from_millis(number(duration_ms)?),
                    activated_at_ms: if activated_at_ms.is_empty() { None } else { Some(number(activated_at_ms)?) },
                    left: Duration::from_millis(number(left_ms)?),
                }))
            }
            _ => Err(Malformed),
        }
    }
}

/// What a credential names, and what that answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Redis holds all that Postgres knew when this very server was filled.
    pub is_whole: bool,
    /// When no change was waiting to be published, in milliseconds of Redis' clock since 1970.
    pub caught_up_at_ms: Option<i64>,
    /// Redis' clock at this answer, in milliseconds since 1970.
    pub now_ms: i64,
    /// The token, and the generation that the credential belongs to.
    pub names: Option<(Uuid, i64)>,
}

impl Finding {
    /// Reads the reply of [`crate::redis::FIND`].
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let [whole, caught_up_at, now, names] = reply else { return Err(Malformed) };
        Ok(Self {
            is_whole: whole == "1",
            caught_up_at_ms: if caught_up_at.is_empty() { None } else { Some(number(caught_up_at)?) },
            now_ms: number(now)?,
            names: match names.as_str() {
                "" => None,
                value => Some(crate::redis::parse_credential_value(value).ok_or(Malformed)?),
            },
        })
    }

    /// Whether a credential that is not found can be called invalid: everything bought was published a moment ago, and after
    /// `connected_at_ms`, when the caller last (re)connected; both by Redis' clock.
    pub fn proves_absence(&self, connected_at_ms: i64) -> bool {
        let fresh = |at: i64| self.now_ms - at <= CAUGHT_UP_WITHIN_MS && at > connected_at_ms;
        self.is_whole && self.caught_up_at_ms.is_some_and(fresh)
    }
}

/// What became of an attempt to start a token's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The clock runs, from this call or from an earlier one.
    Active { first: bool, activated_at_ms: i64, left: Duration },
    /// The token ended, or was barred, before its first answer.
    Ended,
}

impl Activation {
    /// Reads the reply of [`crate::redis::ACTIVATE`].
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(String::as_str).collect();
        match fields[..] {
            ["ended"] => Ok(Self::Ended),
            [how @ ("activated" | "active"), activated_at_ms, left_ms] => Ok(Self::Active {
                first: how == "activated",
                activated_at_ms: number(activated_at_ms)?,
                left: Duration::from_millis(number(left_ms)?),
            }),
            _ => Err(Malformed),
        }
    }
}

/// What became of an attempt to bar a token for its refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Never used, and now nothing can use it until the refund is settled.
    Barred,
    /// It was used: when, in milliseconds of Redis' clock since 1970.
    Activated { at_ms: i64 },
    /// Redis does not know the token, or not in that version, so it cannot say.
    Unknown,
}

impl Bar {
    /// Reads the reply of [`crate::redis::BAR`].
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(String::as_str).collect();
        match fields[..] {
            ["barred"] => Ok(Self::Barred),
            ["unknown"] => Ok(Self::Unknown),
            ["activated", at_ms] => Ok(Self::Activated { at_ms: number(at_ms)? }),
            _ => Err(Malformed),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed)
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

    #[test]
    fn unknown_is_invalid_only_while_redis_is_whole_and_caught_up_since_the_last_reconnect() {
        let finding = |is_whole, caught_up_at_ms| Finding { is_whole, caught_up_at_ms, now_ms: 100_000, names: None };
        assert!(finding(true, Some(99_000)).proves_absence(98_000));
        assert!(!finding(false, Some(99_000)).proves_absence(98_000));
        assert!(!finding(true, None).proves_absence(0));
        assert!(!finding(true, Some(94_999)).proves_absence(0), "too long ago");
        assert!(!finding(true, Some(99_000)).proves_absence(99_000), "before the reconnect");
    }

    #[test]
    fn a_reply_of_another_shape_is_refused_rather_than_guessed() {
        let token_id = Uuid::nil();
        let reply = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>();
        let user = Uuid::nil().to_string();
        assert_eq!(Lookup::parse(token_id, &reply(&["unknown"])), Ok(Lookup::Unknown));
        let live = Lookup::parse(token_id, &reply(&["live", &user, "full", "3600000", "", "3600000"]));
        assert!(
            matches!(live, Ok(Lookup::Live(grant)) if grant.activated_at_ms.is_none() && grant.left.as_secs() == 3600)
        );
        for fields in
            [&["live"][..], &["live", &user, "everything", "1", "", "1"], &["live", &user, "full", "1", "", "-1"], &[]]
        {
            assert_eq!(Lookup::parse(token_id, &reply(fields)), Err(Malformed), "{fields:?}");
        }
    }
}
