//! What the scripts reply about tokens. Each type reads the reply of the script that it names.

use std::{ops::Deref, str::FromStr, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    malformed::{Malformed, number, optional},
    net::address::NetworkPolicy,
    redis::{CAUGHT_UP_WITHIN_MS, feed::StreamId},
    token::{device::Device, scope::Scope},
};

/// A token that a request may use, as Redis tells it at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub scope: Scope,
    /// What was bought, in all.
    pub duration: Duration,
    /// When its clock started, in milliseconds of Redis' clock since 1970; `None` while it is
    /// ready.
    pub activated_at_ms: Option<i64>,
    /// What is left of it from the moment of asking: the whole duration while it is ready. The
    /// deadline is the monotonic instant of asking plus this.
    pub left: Duration,
    /// From where it may be used.
    pub network_policy: Arc<NetworkPolicy>,
    /// The last cut of what was open.
    pub cut: Cut,
    /// The session whose device let the token go last.
    pub released: Option<Uuid>,
    /// The lease of the device that asked; `None` where none was asked for.
    pub lease: Option<Lease>,
}

/// A cut of what is open on a token, that leaves the token itself as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Counts the cuts: what was admitted before this one ends.
    pub generation: i64,
    pub reason: Option<CutReason>,
    /// Whom it meets; `None` for every device.
    pub device: Option<Device>,
}

/// Why what is open was cut, as the `cut_code` field in Redis holds it: the code of a WebSocket's
/// close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// `4008`: the owner took the token to another device.
    TakenOver,
    /// `4009`: an administrator ended the session.
    EndedByAdministrator,
}

impl CutReason {
    /// The code of a WebSocket's close frame.
    pub fn code(self) -> u16 {
        match self {
            Self::TakenOver => 4008,
            Self::EndedByAdministrator => 4009,
        }
    }
}

impl FromStr for CutReason {
    type Err = Malformed;

    fn from_str(code: &str) -> Result<Self, Malformed> {
        let reasons = [Self::TakenOver, Self::EndedByAdministrator];
        reasons.into_iter().find(|reason| reason.code().to_string() == code).ok_or(Malformed)
    }
}

/// That one device holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub session_id: Uuid,
    /// In milliseconds of Redis' clock since 1970.
    pub started_at_ms: i64,
    /// No request of this session is known to have reached the upstream: the lease is released if
    /// none does.
    pub is_tentative: bool,
}

/// What Redis decides about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Live(Grant),
    /// It was, and no longer is: revoked, barred, rotated away.
    Revoked,
    Suspended,
    Expired,
    /// Redis has never heard of it, which is not yet to say that it is bad.
    Unknown,
    /// Redis does not hold all that Postgres knows: it cannot say.
    Partial,
    /// Nothing was taken, for the client's address was not judged by these networks, from which it
    /// may be used, as Redis spells them.
    Guarded(String),
    /// Its scope opens other paths.
    Outside(Scope),
    /// Another device, or another session, holds it, since then (milliseconds of Redis' clock since
    /// 1970).
    Conflict {
        device: Device,
        started_at_ms: i64,
    },
    /// The upstream failed it too often for nothing; when it may try again.
    Throttled {
        retry_after: Duration,
    },
}

impl Lookup {
    /// Reads the reply of [`Admit`](crate::redis::calls::Admit) about `token_id`.
    pub fn parse(token_id: Uuid, reply: &[impl Deref<Target = str>]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(Deref::deref).collect();
        match fields[..] {
            ["partial"] => Ok(Self::Partial),
            ["unknown"] => Ok(Self::Unknown),
            ["revoked"] => Ok(Self::Revoked),
            ["suspended"] => Ok(Self::Suspended),
            ["expired"] => Ok(Self::Expired),
            ["guarded", networks] => Ok(Self::Guarded(networks.to_owned())),
            ["outside", scope] => Ok(Self::Outside(scope.parse().map_err(|_| Malformed)?)),
            ["conflict", device, started_at_ms] => {
                Ok(Self::Conflict { device: Device::known(device), started_at_ms: number(started_at_ms)? })
            }
            ["throttled", retry_ms] => Ok(Self::Throttled { retry_after: Duration::from_millis(number(retry_ms)?) }),
            ["live", ref grant @ ..] => Grant::parse(token_id, grant).map(Self::Live),
            _ => Err(Malformed),
        }
    }
}

impl Grant {
    fn parse(token_id: Uuid, fields: &[&str]) -> Result<Self, Malformed> {
        let &[
            user_id,
            scope,
            duration_ms,
            activated_at_ms,
            left_ms,
            networks,
            cut_generation,
            cut_code,
            cut_device,
            released,
            session_id,
            started_at_ms,
            tentative,
        ] = fields
        else {
            return Err(Malformed);
        };
        let lease = |session_id| {
            let started_at_ms = number(started_at_ms)?;
            Ok(Lease { session_id, started_at_ms, is_tentative: tentative == "1" })
        };
        Ok(Self {
            token_id,
            user_id: number(user_id)?,
            scope: scope.parse().map_err(|_| Malformed)?,
            duration: Duration::from_millis(number(duration_ms)?),
            activated_at_ms: optional(activated_at_ms)?,
            left: Duration::from_millis(number(left_ms)?),
            network_policy: Arc::new(networks.parse()?),
            cut: Cut {
                generation: number(cut_generation)?,
                reason: optional(cut_code)?,
                device: (!cut_device.is_empty()).then(|| Device::known(cut_device)),
            },
            released: optional(released)?,
            lease: optional(session_id)?.map(lease).transpose()?,
        })
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
    /// Reads the reply of [`Find`](crate::redis::calls::Find).
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let [whole, caught_up_at, now, names] = reply else { return Err(Malformed) };
        Ok(Self {
            is_whole: whole == "1",
            caught_up_at_ms: optional(caught_up_at)?,
            now_ms: number(now)?,
            names: match names.as_str() {
                "" => None,
                value => Some(crate::redis::parse_credential_value(value).ok_or(Malformed)?),
            },
        })
    }

    /// Whether a credential that is not found can be called invalid: everything bought was
    /// published a moment ago, and after `connected_at_ms`, when the caller last (re)connected;
    /// both by Redis' clock.
    pub fn proves_absence(&self, connected_at_ms: i64) -> bool {
        let fresh = |at: i64| (0..=CAUGHT_UP_WITHIN_MS).contains(&(self.now_ms - at)) && at > connected_at_ms;
        self.is_whole && self.caught_up_at_ms.is_some_and(fresh)
    }
}

/// What became of an attempt to start a token's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The clock runs, from this call or from an earlier one. Where it is from this one, `change`
    /// is what told the edges: all that has changed by that entry is told here too.
    Active { activated_at_ms: i64, left: Duration, change: Option<StreamId> },
    /// The token ended, or was barred, before its first answer.
    Ended,
    /// Redis has lost it: its clock was not started.
    Unknown,
}

impl Activation {
    /// Reads the reply of [`Activate`](crate::redis::calls::Activate).
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(String::as_str).collect();
        match fields[..] {
            ["ended"] => Ok(Self::Ended),
            ["unknown"] => Ok(Self::Unknown),
            ["active", activated_at_ms, change, left_ms] => Ok(Self::Active {
                activated_at_ms: number(activated_at_ms)?,
                left: Duration::from_millis(number(left_ms)?),
                change: optional(change)?,
            }),
            _ => Err(Malformed),
        }
    }
}

/// What became of an attempt to move a token to another device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// It has the token now.
    Taken,
    /// No other device had it.
    Unneeded,
    /// It may not, for this reason; never [`Lookup::Live`].
    Refused(Lookup),
}

impl TakeOver {
    /// Reads the reply of [`TakeOver`](crate::redis::calls::TakeOver) about `token_id`.
    pub fn parse(token_id: Uuid, reply: &[impl Deref<Target = str>]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(Deref::deref).collect();
        match fields[..] {
            ["taken"] => Ok(Self::Taken),
            ["unneeded"] => Ok(Self::Unneeded),
            ["live", ..] => Err(Malformed),
            _ => Lookup::parse(token_id, reply).map(Self::Refused),
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
    /// A first request is under way, and nobody knows yet whether it uses the token.
    Claimed,
    /// Redis does not know the token, or not in that version, so it cannot say.
    Unknown,
}

impl Bar {
    /// Reads the reply of [`Bar`](crate::redis::calls::Bar).
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let fields: Vec<&str> = reply.iter().map(String::as_str).collect();
        match fields[..] {
            ["barred"] => Ok(Self::Barred),
            ["claimed"] => Ok(Self::Claimed),
            ["unknown"] => Ok(Self::Unknown),
            ["activated", at_ms] => Ok(Self::Activated { at_ms: number(at_ms)? }),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_invalid_only_if_redis_is_whole_and_caught_up_since_the_reconnect() {
        let finding = |is_whole, caught_up_at_ms| Finding { is_whole, caught_up_at_ms, now_ms: 100_000, names: None };
        assert!(finding(true, Some(99_000)).proves_absence(98_000));
        assert!(!finding(false, Some(99_000)).proves_absence(98_000));
        assert!(!finding(true, None).proves_absence(0));
        assert!(!finding(true, Some(94_999)).proves_absence(0), "too long ago");
        assert!(!finding(true, Some(99_000)).proves_absence(99_000), "before the reconnect");
        assert!(!finding(true, Some(100_001)).proves_absence(0), "another clock's");
    }

    #[test]
    fn a_reply_of_another_shape_is_refused_rather_than_guessed() {
        let token_id = Uuid::nil();
        let reply = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>();
        let user = Uuid::nil().to_string();
        assert_eq!(Lookup::parse(token_id, &reply(&["unknown"])), Ok(Lookup::Unknown));
        let live = |scope, left| {
            ["live", user.as_str(), scope, "3600000", "", left, "", "2", "4008", "", "", user.as_str(), "1000", "1"]
                .map(str::to_owned)
        };
        let Ok(Lookup::Live(grant)) = Lookup::parse(token_id, &live("full", "3600000")) else { panic!("a live one") };
        assert!(grant.activated_at_ms.is_none() && grant.left.as_secs() == 3600);
        assert_eq!(grant.cut, Cut { generation: 2, reason: Some(CutReason::TakenOver), device: None });
        assert!(grant.lease.is_some_and(|lease| lease.is_tentative && lease.started_at_ms == 1000));
        for fields in [live("everything", "1"), live("full", "-1")] {
            assert_eq!(Lookup::parse(token_id, &fields), Err(Malformed), "{fields:?}");
        }
        for fields in [&["live"][..], &["conflict", "a-device"], &[]] {
            assert_eq!(Lookup::parse(token_id, &reply(fields)), Err(Malformed), "{fields:?}");
        }
        assert_eq!(TakeOver::parse(token_id, &reply(&["taken"])), Ok(TakeOver::Taken));
        assert_eq!(TakeOver::parse(token_id, &reply(&["expired"])), Ok(TakeOver::Refused(Lookup::Expired)));
        assert_eq!(TakeOver::parse(token_id, &live("full", "3600000")), Err(Malformed));
    }
}
