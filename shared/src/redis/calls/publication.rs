//! What the control plane puts into Redis, and how either plane learns which contents Redis has.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::{Arg, Call, Script, flag, text};
use crate::{
    malformed::Malformed,
    redis::{
        CHANGES, ENDED_GENERATION, ENDED_SUFFIX, SNAPSHOT, TOMBSTONE_MS, credential_key, credential_value, token_key,
    },
    token::{credential::Digest, state::Standing},
};

/// Puts the states of tokens as Postgres has them now. The reply is read by [`Put::learned`].
#[derive(Clone, Debug)]
pub struct Put<'a> {
    /// Counts the restores of Postgres.
    pub epoch: i64,
    /// Each token once.
    pub tokens: &'a [TokenState<'a>],
}

/// A token as Postgres has it.
#[derive(Clone, Debug)]
pub struct TokenState<'a> {
    pub token_id: Uuid,
    /// Counts the changes of the token.
    pub version: i64,
    pub user_id: Uuid,
    pub duration_ms: i64,
    pub standing: Standing,
    pub credential_gen: i64,
    /// In milliseconds since 1970.
    pub activated_at_ms: Option<i64>,
    pub scope: &'a str,
    pub is_refund_pending: bool,
    /// Where it may be used, as
    /// [`NetworkPolicy::encode`](crate::net::address::NetworkPolicy::encode) writes it; empty for
    /// everywhere.
    pub networks: String,
    /// The key of its lease, if it was ever rotated or cut.
    pub lease: Option<String>,
    /// The last cut of what was open on it.
    pub cut: Option<CutState<'a>>,
}

/// A cut, as `put.lua` reads it. Numbers are texts, since a script's own lose their last digits.
#[derive(Clone, Debug, Serialize)]
pub struct CutState<'a> {
    #[serde(rename = "gen")]
    pub generation: String,
    pub code: String,
    /// Empty for every device.
    pub device: &'a str,
    /// The key of that device's own lease.
    pub device_lease: String,
}

/// What most tokens lack.
#[derive(Serialize)]
struct Rest<'a> {
    is_refund_pending: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    networks: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<&'a CutState<'a>>,
}

impl TokenState<'_> {
    /// What every token has.
    fn fields(&self) -> String {
        let Self { version, user_id, duration_ms, credential_gen, scope, .. } = self;
        let activated_at = self.activated_at_ms.map(|at| at.to_string()).unwrap_or_default();
        format!("{version}|{user_id}|{duration_ms}|{}|{credential_gen}|{activated_at}|{scope}", self.standing.as_str())
    }

    /// The rest as JSON, or nothing at all where there is none.
    fn rest(&self) -> String {
        let rest = Rest {
            is_refund_pending: self.is_refund_pending,
            networks: &self.networks,
            lease: self.lease.as_deref(),
            cut: self.cut.as_ref(),
        };
        match rest {
            Rest { is_refund_pending: false, networks: "", lease: None, cut: None } => String::new(),
            rest => serde_json::to_string(&rest).expect("texts and a truth value are JSON"),
        }
    }
}

impl Put<'_> {
    /// The tokens of which Redis knew an activation that Postgres does not know, or an earlier one:
    /// when they were activated, in milliseconds of Redis' clock since 1970.
    pub fn learned(&self, reply: &[i64]) -> Result<Vec<(Uuid, i64)>, Malformed> {
        let learned = |pair: &[i64]| {
            let &[place, activated_at_ms] = pair else { return None };
            let token = self.tokens.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
            Some((token.token_id, activated_at_ms))
        };
        reply.chunks(2).map(|pair| learned(pair).ok_or(Malformed)).collect()
    }
}

impl Call for Put<'_> {
    const SCRIPT: Script = Script::Put;

    fn keys(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token_key(token.token_id)).collect()
    }

    fn args(&self) -> Vec<Arg> {
        let states = self.tokens.iter().flat_map(|token| [token.fields(), token.rest()].map(Cow::Owned));
        [text(self.epoch), text(TOMBSTONE_MS)].into_iter().chain(states).collect()
    }
}

/// Puts what credentials name. Replies how many were put.
#[derive(Clone, Debug)]
pub struct PutCredentials<'a> {
    /// Each credential once.
    pub credentials: &'a [Credential<'a>],
}

/// A credential as Postgres has it.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    pub digest: &'a Digest,
    pub token_id: Uuid,
    pub generation: i64,
    pub lasts: Lifetime,
}

/// How long a credential's key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as its token is not used.
    WhileReady,
    /// A while after its token ends at this time, in milliseconds of Redis' clock since 1970.
    PastEnd(i64),
    /// A while from now, as its token was revoked.
    Tombstone,
    /// A while from now, and it names no token any more: it was rotated away or ended.
    Ended,
}

impl Call for PutCredentials<'_> {
    const SCRIPT: Script = Script::PutCredentials;

    fn keys(&self) -> Vec<String> {
        self.credentials.iter().map(|credential| credential_key(credential.digest)).collect()
    }

    fn args(&self) -> Vec<Arg> {
        let values = self.credentials.iter().map(|credential| {
            let generation = if credential.lasts == Lifetime::Ended { ENDED_GENERATION } else { credential.generation };
            let value = credential_value(credential.token_id, generation);
            Cow::Owned(match credential.lasts {
                Lifetime::WhileReady => value,
                Lifetime::PastEnd(at_ms) => format!("{value}|PXAT|{}", at_ms.saturating_add(TOMBSTONE_MS)),
                Lifetime::Tombstone | Lifetime::Ended => format!("{value}|PX|{TOMBSTONE_MS}"),
            })
        });
        [Cow::Borrowed(ENDED_SUFFIX)].into_iter().chain(values).collect()
    }
}

/// Bars a token while its refund is settled, unless it was used; replies
/// [`Bar`](crate::redis::replies::Bar).
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub token_id: Uuid,
    /// The version of the token that carries the request of the refund.
    pub version: i64,
}

impl Call for Bar {
    const SCRIPT: Script = Script::Bar;

    fn keys(&self) -> Vec<String> {
        vec![token_key(self.token_id)]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.version)]
    }
}

/// Asks which contents Redis has, and how far the change feed reaches; replies
/// [`Pulse`](crate::redis::feed::Pulse).
#[derive(Clone, Copy, Debug)]
pub struct Pulse;

impl Call for Pulse {
    const SCRIPT: Script = Script::Pulse;

    fn keys(&self) -> Vec<String> {
        vec![SNAPSHOT.to_owned(), CHANGES.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        Vec::new()
    }
}

/// Says that Redis is being filled.
#[derive(Clone, Copy, Debug)]
pub struct BeginRebuild {
    /// Names this filling.
    pub build: Uuid,
}

impl Call for BeginRebuild {
    const SCRIPT: Script = Script::BeginRebuild;

    fn keys(&self) -> Vec<String> {
        vec![SNAPSHOT.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.build)]
    }
}

/// Says that Redis is whole. Replies 1, or 0 if it lost something since the filling began.
#[derive(Clone, Copy, Debug)]
pub struct FinishRebuild<'a> {
    pub build: Uuid,
    pub epoch: i64,
    /// Names the server that was filled.
    pub run_id: &'a str,
    /// There is a token whose activation could have been lost.
    pub holds_tokens: bool,
}

impl Call for FinishRebuild<'_> {
    const SCRIPT: Script = Script::FinishRebuild;

    fn keys(&self) -> Vec<String> {
        vec![SNAPSHOT.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.build), text(self.epoch), text(self.run_id), flag(self.holds_tokens)]
    }
}
