//! How tokens and credentials are put into Redis: many in one command, each as Postgres has it now.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    credential::Digest,
    device::Device,
    grant::{Malformed, Standing},
    redis,
};
use uuid::Uuid;

use super::{PublishError, Publisher};
use crate::{
    db::{
        access_token::{self, Owned},
        credential,
    },
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

impl Learned {
    /// Reads what [`redis::PUT`] replies for one token; `None` if Redis knew nothing better, or something newer stands.
    fn parse(token: &access_token::Model, reply: &[String]) -> Result<Option<Self>, PublishError> {
        let [done, known_at] = reply else { return Err(Malformed.into()) };
        if done != "1" || known_at.is_empty() {
            return Ok(None);
        }
        let known_at = known_at.parse().ok().and_then(DateTime::from_timestamp_millis).ok_or(Malformed)?;
        // Redis' clock counts in milliseconds.
        let is_news = token.activated_at.is_none_or(|at| known_at.timestamp_millis() < at.timestamp_millis());
        Ok(is_news.then_some(Self { token_id: token.id, activated_at: known_at }))
    }
}

/// A token's state, as [`redis::PUT`] reads it. Numbers are texts: a script's own lose their last digits.
#[derive(Serialize)]
struct State<'a> {
    version: String,
    user_id: Uuid,
    scope: &'a str,
    duration_ms: String,
    state: &'static str,
    credential_gen: String,
    /// In milliseconds since 1970, or empty.
    activated_at: String,
    is_refund_pending: bool,
    /// From where it may be used, as [`Whereabouts::encode`](shared::client::Whereabouts::encode) writes it.
    networks: String,
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

fn as_json(value: &impl Serialize) -> Result<String, PublishError> {
    serde_json::to_string(value).map_err(|_| Malformed.into())
}

impl Publisher {
    /// Puts the states of some tokens; of each, what Redis knew better.
    pub(super) async fn put(&self, epoch: i64, tokens: &[Owned]) -> Result<Vec<Option<Learned>>, PublishError> {
        let states: Vec<_> = tokens.iter().map(|owned| self.state(owned)).collect();
        let keys = tokens.iter().map(|owned| redis::token_key(owned.token.id)).collect();
        let arguments = vec![epoch.to_string(), redis::TOMBSTONE_MS.to_string(), as_json(&states)?];
        let reply: Vec<String> = self.run("PUT", &self.put, keys, arguments).await?;
        if reply.len() != 2 * tokens.len() {
            return Err(Malformed.into());
        }
        tokens.iter().zip(reply.chunks_exact(2)).map(|(owned, reply)| Learned::parse(&owned.token, reply)).collect()
    }

    /// A token whose lists nobody can read is kept from being used, and holds up no other.
    fn state<'a>(&self, owned: &'a Owned) -> State<'a> {
        let Owned { token, user_is_active, .. } = owned;
        let cut_device = token.cut_device.as_deref();
        let standing = tokens::standing(token, *user_is_active);
        let (standing, networks) = match owned.whereabouts() {
            Ok(whereabouts) => (standing, whereabouts.encode()),
            Err(error) => {
                tracing::error!(token_id = %token.id, %error, "networks cannot be read: the token is suspended until they can");
                let standing = if standing == Standing::Live { Standing::Suspended } else { standing };
                (standing, String::new())
            }
        };
        State {
            version: token.version.to_string(),
            user_id: token.user_id,
            scope: &token.scope,
            duration_ms: token.duration(self.hour).num_milliseconds().to_string(),
            state: standing.as_str(),
            credential_gen: token.credential_gen.to_string(),
            activated_at: token.activated_at.map(|at| at.timestamp_millis().to_string()).unwrap_or_default(),
            is_refund_pending: token.refund_requested_at.is_some(),
            networks,
            lease: (token.cut_gen > 0 || token.credential_gen > FIRST_GENERATION)
                .then(|| redis::lease_key(token.id, None)),
            cut: (token.cut_gen > 0).then(|| Cut {
                r#gen: token.cut_gen.to_string(),
                code: token.cut_code.map(|code| code.to_string()).unwrap_or_default(),
                device: cut_device.unwrap_or_default(),
                device_lease: redis::lease_key(token.id, cut_device.map(Device::known).as_ref()),
            }),
        }
    }

    /// A credential's key ends with its token's hash. One that has ended stands for a while as a tombstone, which no late write
    /// replaces, and by which an edge finds it revoked and not merely unknown.
    pub(super) async fn put_credentials(
        &self,
        credentials: &[(&access_token::Model, &credential::Model)],
    ) -> Result<(), PublishError> {
        let (mut keys, mut puts) = (Vec::new(), Vec::new());
        for &(token, credential) in credentials {
            let Some(digest) = Digest::from_bytes(&credential.digest) else { continue };
            let has_ended = credential.ended_at.is_some() || credential.r#gen < token.credential_gen;
            let generation = if has_ended { redis::ENDED_GENERATION } else { credential.r#gen };
            let (how, ends_ms) = match (token.expires_at(self.hour), token.revoked_at) {
                _ if has_ended => ("PX", redis::TOMBSTONE_MS),
                (Some(expires_at), _) => ("PXAT", expires_at.timestamp_millis().saturating_add(redis::TOMBSTONE_MS)),
                (None, Some(_)) => ("PX", redis::TOMBSTONE_MS),
                (None, None) => ("", 0),
            };
            keys.push(redis::credential_key(&digest));
            puts.push((redis::credential_value(token.id, generation), how, ends_ms.to_string()));
        }
        let arguments = vec![redis::ENDED_SUFFIX.to_owned(), as_json(&puts)?];
        Ok(self.run("PUT_CREDENTIALS", &self.put_credentials, keys, arguments).await?)
    }
}
