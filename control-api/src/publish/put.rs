//! How tokens and credentials are put into Redis: many in one command, each as Postgres has it now.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    redis::{
        self,
        replies::{Malformed, Standing},
    },
    token::device::Device,
};
use uuid::Uuid;

use crate::redis::{PublishError, Publisher};
use crate::{
    db::{access_token::Publishable, credential},
    domain::tokens,
};

/// The generation of a token's first credential.
const FIRST_GENERATION: i64 = 1;

/// When Redis says that a token was activated, where Postgres does not know it, or knows a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    pub token_id: Uuid,
    pub activated_at: DateTime<Utc>,
}

/// What most tokens lack of their state, as [`redis::PUT`] reads it. Numbers are texts: a script's own lose their last digits.
#[derive(Serialize)]
struct Rest<'a> {
    is_refund_pending: bool,
    /// From where it may be used, as [`Whereabouts::encode`](shared::net::address::Whereabouts::encode) writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<String>,
    /// The key of its lease, if it was ever rotated or cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    /// The last time that what was open on it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Cut<'a>>,
}

#[derive(Serialize)]
struct Cut<'a> {
    r#gen: String,
    code: String,
    /// Empty for every device.
    device: &'a str,
    /// The key of that device's own lease.
    device_lease: String,
}

impl Rest<'_> {
    /// As JSON, or nothing at all where there is none.
    pub fn encode(&self) -> Result<String, PublishError> {
        match self {
            Self { is_refund_pending: false, networks: None, lease: None, cut: None } => Ok(String::new()),
            _ => serde_json::to_string(self).map_err(|_| Malformed.into()),
        }
    }
}

impl Publisher {
    /// Puts the states of some tokens; what Redis knew better.
    pub async fn put(&self, epoch: i64, tokens: &[Publishable]) -> Result<Vec<Learned>, PublishError> {
        let keys = tokens.iter().map(|token| redis::token_key(token.id)).collect();
        let mut arguments = vec![epoch.to_string(), redis::TOMBSTONE_MS.to_string()];
        for token in tokens {
            arguments.extend(self.state(token)?);
        }
        let reply: Vec<i64> = self.run("PUT", &self.put, keys, arguments).await?;
        let learned = |pair: &[i64]| {
            let &[place, known_at] = pair else { return None };
            let token = tokens.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
            Some(Learned { token_id: token.id, activated_at: DateTime::from_timestamp_millis(known_at)? })
        };
        reply.chunks(2).map(|pair| learned(pair).ok_or(Malformed.into())).collect()
    }

    /// A token's state, and what most lack of it. One whose lists nobody can read is kept from being used, and holds up no other.
    pub fn state(&self, token: &Publishable) -> Result<[String; 2], PublishError> {
        let mut standing = tokens::standing(token.revoked_at, token.user_is_active);
        let networks = token.whereabouts().map(|whereabouts| whereabouts.encode()).unwrap_or_else(|error| {
            tracing::error!(token_id = %token.id, %error, "networks cannot be read: the token is suspended until they can");
            if standing == Standing::Live {
                standing = Standing::Suspended;
            }
            String::new()
        });
        let Publishable { version, user_id, credential_gen, scope, .. } = token;
        let duration_ms = self.hour.times(token.duration_hours).num_milliseconds();
        let mut state = format!("{version}|{user_id}|{duration_ms}|{}|{credential_gen}|", standing.as_str());
        if let Some(activated_at) = token.activated_at {
            state.push_str(&activated_at.timestamp_millis().to_string());
        }
        state.push('|');
        state.push_str(scope);
        let cut_device = token.cut_device.as_deref();
        let rest = Rest {
            is_refund_pending: token.refund_requested_at.is_some(),
            networks: (!networks.is_empty()).then_some(networks),
            lease: (token.cut_gen > 0 || token.credential_gen > FIRST_GENERATION)
                .then(|| redis::lease_key(token.id, None)),
            cut: (token.cut_gen > 0).then(|| Cut {
                r#gen: token.cut_gen.to_string(),
                code: token.cut_code.map(|code| code.to_string()).unwrap_or_default(),
                device: cut_device.unwrap_or_default(),
                device_lease: redis::lease_key(token.id, cut_device.map(Device::known).as_ref()),
            }),
        };
        Ok([state, rest.encode()?])
    }

    /// A credential's key ends with its token's hash. One that has ended stands for a while as a tombstone, which no late write
    /// replaces, and by which an edge finds it revoked and not merely unknown.
    pub async fn put_credentials(
        &self,
        credentials: &[(&Publishable, &credential::Publishable)],
    ) -> Result<(), PublishError> {
        let keys = credentials.iter().map(|(_, credential)| redis::credential_key(&credential.digest)).collect();
        let puts = credentials.iter().map(|(token, credential)| {
            let has_ended = credential.ended_at.is_some() || credential.r#gen < token.credential_gen;
            let generation = if has_ended { redis::ENDED_GENERATION } else { credential.r#gen };
            let value = redis::credential_value(token.id, generation);
            match (token.expires_at(self.hour), token.revoked_at) {
                (Some(expires_at), _) if !has_ended => {
                    format!("{value}|PXAT|{}", expires_at.timestamp_millis().saturating_add(redis::TOMBSTONE_MS))
                }
                (None, None) if !has_ended => value,
                _ => format!("{value}|PX|{}", redis::TOMBSTONE_MS),
            }
        });
        let arguments = std::iter::once(redis::ENDED_SUFFIX.to_owned()).chain(puts).collect();
        Ok(self.run("PUT_CREDENTIALS", &self.put_credentials, keys, arguments).await?)
    }
}
