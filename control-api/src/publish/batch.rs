//! Tokens with their credentials, as Postgres has them at one moment: what the publisher puts into
//! Redis at once.

use std::time::Duration;

use shared::redis::TOMBSTONE_MS;
use uuid::Uuid;

use crate::{
    config::TokenHour,
    db::{self, access_token, credential, settings},
};

/// How long Redis knows a token after it has ended.
pub const TOMBSTONE: Duration = Duration::from_millis(TOMBSTONE_MS.unsigned_abs());

/// What Postgres says of some tokens.
pub struct Batch {
    pub epoch: i64,
    pub tokens: Vec<access_token::Publishable>,
    /// In the order of their tokens' ids.
    credentials: Vec<credential::Publishable>,
}

impl Batch {
    /// These tokens; those that do not exist are left out.
    pub async fn of(db: &impl db::Connection, token_ids: &[Uuid]) -> Result<Self, db::Error> {
        let epoch = settings::epoch(db).await?;
        Self::with_credentials(db, epoch, access_token::list_by_ids(db, token_ids).await?).await
    }

    /// The next tokens, in the order of their ids, that Redis must know.
    pub async fn after(
        db: &impl db::Connection,
        epoch: i64,
        hour: TokenHour,
        token_id: Uuid,
        limit: u64,
    ) -> Result<Self, db::Error> {
        let tokens = access_token::list_publishable(db, hour, TOMBSTONE, token_id, limit).await?;
        Self::with_credentials(db, epoch, tokens).await
    }

    async fn with_credentials(
        db: &impl db::Connection,
        epoch: i64,
        tokens: Vec<access_token::Publishable>,
    ) -> Result<Self, db::Error> {
        let token_ids: Vec<Uuid> = tokens.iter().map(|token| token.id).collect();
        let credentials = credential::list_of_tokens(db, &token_ids).await?;
        Ok(Self { epoch, tokens, credentials })
    }

    /// The greatest id; `None` if there is no token.
    pub fn last(&self) -> Option<Uuid> {
        self.tokens.last().map(|token| token.id)
    }

    pub fn credentials_of(&self, token_id: Uuid) -> &[credential::Publishable] {
        let from = self.credentials.partition_point(|credential| credential.token_id < token_id);
        let rest = &self.credentials[from..];
        let count = rest.iter().take_while(|credential| credential.token_id == token_id).count();
        &rest[..count]
    }
}
