//! From Postgres to Redis: how tokens as they stand now are published.

pub mod batch;
pub mod put;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use shared::process::trace::Span;
use uuid::Uuid;

use crate::{
    db::{self, access_token::Publishable, credential},
    publish::{batch::Batch, put::LearnedActivation},
    redis::{PublishError, Publisher, in_flight},
};

/// Tokens, or credentials, that one command puts while Redis is filled: a command costs as much as several puts, yet while
/// one runs nobody else is answered.
const PUT_AT_ONCE: usize = 100;

impl Publisher {
    /// Puts these tokens as Postgres has them now: the token first, so that a credential never names what is not there;
    /// then its credentials; then a change, for the edges to look again, all within its span. Tells of each token whether it was
    /// published, so that one that cannot be holds no other up, and what Redis knew better.
    pub async fn publish_each(
        &self,
        db: &impl db::Connection,
        changes: &BTreeMap<Uuid, Span>,
    ) -> Result<Vec<(Uuid, Result<Option<LearnedActivation>, PublishError>)>, PublishError> {
        let token_ids: Vec<Uuid> = changes.keys().copied().collect();
        let batch = Batch::of(db, &token_ids).await?;
        let published = batch.tokens.iter().map(async |token| {
            let id = token.id;
            let publication = self.publish_one(batch.epoch, token, batch.credentials_of(id));
            let published = changes[&id].around(publication).await;
            changes[&id].answered(&published);
            (id, published)
        });
        Ok(join_all(published).await)
    }

    async fn publish_one(
        &self,
        epoch: i64,
        token: &Publishable,
        credentials: &[credential::Publishable],
    ) -> Result<Option<LearnedActivation>, PublishError> {
        let learned = self.put(epoch, std::slice::from_ref(token)).await?.pop();
        // Where a newer state stands, its publisher may not have come to the credentials yet.
        let credentials: Vec<_> = credentials.iter().map(|credential| (token, credential)).collect();
        self.put_each_credential(&credentials).await?;
        self.announce(token.id).await?;
        Ok(learned)
    }

    /// Puts a batch in two strides, every token and then every credential, without a change for each: whoever fills Redis
    /// announces a new build, at which edges look everything up again. What Redis knew better.
    pub async fn fill<'a>(&self, batch: &'a Batch) -> Result<Vec<LearnedActivation>, PublishError> {
        let learned = in_flight(batch.tokens.chunks(PUT_AT_ONCE).map(|some| self.put(batch.epoch, some))).await?;
        let of_token =
            |token: &'a Publishable| batch.credentials_of(token.id).iter().map(move |credential| (token, credential));
        let credentials: Vec<_> = batch.tokens.iter().flat_map(of_token).collect();
        self.put_each_credential(&credentials).await?;
        Ok(learned.into_iter().flatten().collect())
    }

    async fn put_each_credential(
        &self,
        credentials: &[(&Publishable, &credential::Publishable)],
    ) -> Result<(), PublishError> {
        in_flight(credentials.chunks(PUT_AT_ONCE).map(|some| self.put_credentials(some))).await.map(drop)
    }
}
