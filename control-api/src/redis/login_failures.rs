//! What is remembered of failed logins. Redis only keeps it: `crate::domain::login_throttle` alone
//! knows what it means.

use shared::{
    malformed::Malformed,
    redis::calls::{ReadAttempts, ReplaceAttempts, Replacement},
    token::credential::Digest,
};

use super::{PublishError, Publisher};

impl Publisher {
    /// What stands under each digest, and Redis' clock, in milliseconds since 1970.
    pub async fn read_attempts<const N: usize>(
        &self,
        of: &[Digest; N],
    ) -> Result<(i64, [Option<String>; N]), PublishError> {
        let reply: Vec<String> = self.call(&ReadAttempts { of }).await?;
        let mut reply = reply.into_iter();
        let now_ms = reply.next().and_then(|now| now.parse().ok()).ok_or(Malformed)?;
        let values: Vec<_> = reply.map(|value| Some(value).filter(|value| !value.is_empty())).collect();
        Ok((now_ms, values.try_into().map_err(|_| Malformed)?))
    }

    /// Replaces all of these, or none if any is not what was read any more; whether it did.
    pub async fn replace_attempts(&self, replacements: &[Replacement]) -> Result<bool, PublishError> {
        let replaced: i64 = self.call(&ReplaceAttempts { replacements }).await?;
        Ok(replaced == 1)
    }
}
