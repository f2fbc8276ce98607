//! How tokens and credentials are put into Redis: many in one command, each as Postgres has it now.

use chrono::{DateTime, Utc};
use shared::{
    malformed::Malformed,
    redis::{
        self,
        calls::{Credential, CutState, Lifetime, Put, PutCredentials, TokenState},
    },
    token::{device::Device, state::Standing},
};
use uuid::Uuid;

use crate::{
    db::{access_token::Publishable, credential},
    domain::tokens,
    redis::{PublishError, Publisher},
};

/// The generation of a token's first credential.
const FIRST_GENERATION: i64 = 1;

/// When Redis says that a token was activated, where Postgres does not know it, or knows a later
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedActivation {
    pub token_id: Uuid,
    pub activated_at: DateTime<Utc>,
}

impl Publisher {
    /// Puts the states of some tokens; what Redis knew better.
    pub async fn put(&self, epoch: i64, tokens: &[Publishable]) -> Result<Vec<LearnedActivation>, PublishError> {
        let states: Vec<TokenState<'_>> = tokens.iter().map(|token| self.state(token)).collect();
        let put = Put { epoch, tokens: &states };
        let reply: Vec<i64> = self.call(&put).await?;
        let learned = |(token_id, at_ms)| {
            let activated_at = DateTime::from_timestamp_millis(at_ms).ok_or(Malformed)?;
            Ok(LearnedActivation { token_id, activated_at })
        };
        put.learned(&reply)?.into_iter().map(learned).collect()
    }

    /// A token's state. One whose lists nobody can read is kept from being used, and holds up no
    /// other.
    fn state<'a>(&self, token: &'a Publishable) -> TokenState<'a> {
        let mut standing = tokens::standing(token.revoked_at, token.user_is_active);
        let networks = token.network_policy().map(|network_policy| network_policy.encode()).unwrap_or_else(|error| {
            tracing::error!(token_id = %token.id, %error, "networks cannot be read: the token is suspended until they can");
            if standing == Standing::Live {
                standing = Standing::Suspended;
            }
            String::new()
        });
        let cut_device = token.cut_device.as_deref();
        TokenState {
            token_id: token.id,
            version: token.version,
            user_id: token.user_id,
            duration_ms: self.hour.times(token.duration_hours).num_milliseconds(),
            standing,
            credential_gen: token.credential_gen,
            activated_at_ms: token.activated_at.map(|at| at.timestamp_millis()),
            scope: &token.scope,
            is_refund_pending: token.refund_requested_at.is_some(),
            networks,
            lease: (token.cut_gen > 0 || token.credential_gen > FIRST_GENERATION)
                .then(|| redis::lease_key(token.id, None)),
            cut: (token.cut_gen > 0).then(|| CutState {
                generation: token.cut_gen.to_string(),
                code: token.cut_code.map(|code| code.to_string()).unwrap_or_default(),
                device: cut_device.unwrap_or_default(),
                device_lease: redis::lease_key(token.id, cut_device.map(Device::known).as_ref()),
            }),
        }
    }

    /// A credential's key ends with its token's hash. One that has ended stands for a while as a
    /// tombstone, which no late write replaces, and by which an edge finds it revoked and not
    /// merely unknown.
    pub async fn put_credentials(
        &self,
        credentials: &[(&Publishable, &credential::Publishable)],
    ) -> Result<(), PublishError> {
        let state = |&(token, credential): &(&Publishable, &'_ credential::Publishable)| {
            let has_ended = credential.ended_at.is_some() || credential.r#gen < token.credential_gen;
            match (token.expires_at(self.hour), token.revoked_at) {
                _ if has_ended => Lifetime::Ended,
                (Some(expires_at), _) => Lifetime::PastEnd(expires_at.timestamp_millis()),
                (None, None) => Lifetime::WhileReady,
                (None, Some(_)) => Lifetime::Tombstone,
            }
        };
        let credentials: Vec<Credential<'_>> = credentials
            .iter()
            .map(|pair| Credential {
                digest: &pair.1.digest,
                token_id: pair.0.id,
                generation: pair.1.r#gen,
                lasts: state(pair),
            })
            .collect();
        Ok(self.call(&PutCredentials { credentials: &credentials }).await?)
    }
}
