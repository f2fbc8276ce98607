//! A dry run: what an edge would say to a request with a token, by the very matcher of the edge.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use shared::token::{
    scope::{Closed, Scope},
    state::State,
};

use super::{Error, tokens};
use crate::{config::TokenHour, db::access_token::Owned};

/// Whether a token would be let through, and why not.
pub struct Access {
    pub allowed: bool,
    /// A sentence.
    pub reason: String,
    pub scope: String,
    pub state: State,
}

/// What is asked for: the path as it would be forwarded, of which a query changes nothing, and from
/// where; from wherever the token may be used if that is not said. A scope opens its paths to every
/// method.
pub struct Attempt<'a> {
    pub path: &'a str,
    pub address: Option<IpAddr>,
}

/// Decides on an attempt, in the order of an edge.
pub fn dry_run(owned: &Owned, hour: TokenHour, attempt: &Attempt<'_>, now: DateTime<Utc>) -> Result<Access, Error> {
    let network_policy = owned.network_policy()?;
    let is_kept_out = attempt.address.is_some() && !network_policy.may_use(attempt.address);
    let state = tokens::state(&owned.token, hour, owned.user_is_active, now);
    let path = attempt.path.split('?').next().unwrap_or_default();
    let refusal = refusal_for(state)
        .or_else(|| is_kept_out.then(|| "This access token may not be used from this address".to_owned()))
        .or_else(|| refusal_of(&owned.token.scope, path));
    Ok(Access {
        allowed: refusal.is_none(),
        reason: refusal.unwrap_or_else(|| "The token opens this path".to_owned()),
        scope: owned.token.scope.clone(),
        state,
    })
}

fn refusal_for(state: State) -> Option<String> {
    let reason = match state {
        State::Ready | State::Active => return None,
        State::Expired => "The token has expired",
        State::Revoked => "The token was revoked",
        State::Suspended => "The account is suspended",
    };
    Some(reason.to_owned())
}

fn refusal_of(scope: &str, path: &str) -> Option<String> {
    // A scope that this build does not know opens nothing.
    let opened = scope.parse::<Scope>().map_or(Err(Closed::Outside), |scope| scope.opens(path));
    match opened {
        Ok(()) => None,
        Err(Closed::Fault(fault)) => Some(fault.to_string()),
        Err(Closed::Outside) => {
            Some(format!("Access denied: your token scope ('{scope}') does not allow access to '{path}'"))
        }
    }
}
