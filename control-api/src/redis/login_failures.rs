//! What is remembered of failed logins. Redis only keeps it: `crate::domain::login_throttle` alone knows what it means.

use std::time::Duration;

use fred::interfaces::ClientLike;
use shared::{
    redis::{self, replies::Malformed},
    token::credential::Digest,
};

use super::{PublishError, Publisher};

/// A value to be put in another's place; `None` stands for no value.
pub struct Replacement {
    pub of: Digest,
    pub read: Option<String>,
    pub new: Option<String>,
    /// How long the new one is kept.
    pub kept_for: Duration,
}

impl Publisher {
    /// Whether there is a server to be asked: where there is none, a question only waits for its time to be over.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// What stands under each digest, and Redis' clock, in milliseconds since 1970.
    pub async fn read_attempts<const N: usize>(
        &self,
        of: &[Digest; N],
    ) -> Result<(i64, [Option<String>; N]), PublishError> {
        let keys = of.iter().map(redis::attempts_key).collect();
        let reply: Vec<String> = self.run("READ_ATTEMPTS", &self.read_attempts, keys, Vec::new()).await?;
        let mut reply = reply.into_iter();
        let now_ms = reply.next().and_then(|now| now.parse().ok()).ok_or(Malformed)?;
        let values: Vec<_> = reply.map(|value| Some(value).filter(|value| !value.is_empty())).collect();
        Ok((now_ms, values.try_into().map_err(|_| Malformed)?))
    }

    /// Replaces all of these, or none if any is not what was read any more; whether it did.
    pub async fn replace_attempts(&self, replacements: &[Replacement]) -> Result<bool, PublishError> {
        let keys = replacements.iter().map(|replacement| redis::attempts_key(&replacement.of)).collect();
        let arguments = replacements.iter().flat_map(|Replacement { read, new, kept_for, .. }| {
            let kept_ms = kept_for.as_millis().max(1).to_string();
            [read.clone().unwrap_or_default(), new.clone().unwrap_or_default(), kept_ms]
        });
        let replaced: i64 = self.run("REPLACE_ATTEMPTS", &self.replace_attempts, keys, arguments.collect()).await?;
        Ok(replaced == 1)
    }
}
