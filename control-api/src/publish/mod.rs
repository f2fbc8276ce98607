//! From Postgres to Redis: how tokens as they stand now are published.

pub mod batch;
pub mod put;

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use shared::process::trace::Span;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    db::{
        self,
        access_token::{self, Publishable},
        credential, outbox,
    },
    domain::unpublished::Unpublished,
    publish::{batch::Batch, put::LearnedActivation},
    redis::{PublishError, Publisher, in_flight},
};

/// How long a request waits for its own row to be delivered.
const DELIVER_WITHIN: Duration = Duration::from_secs(1);
/// Tokens, or credentials, that one command puts while Redis is filled: a command costs as much as
/// several puts, yet while one runs nobody else is answered.
const PUT_AT_ONCE: usize = 100;

impl Publisher {
    /// Puts these tokens as Postgres has them now: the token first, so that a credential never
    /// names what is not there; then its credentials; then a change, for the edges to look again,
    /// all within its span. Tells of each token whether it was published, so that one that cannot
    /// be holds no other up, and what Redis knew better.
    pub async fn publish_each(
        &self,
        db: &impl db::Connection,
        changes: &BTreeMap<Uuid, Span>,
    ) -> Result<Vec<(Uuid, Result<Option<LearnedActivation>, PublishError>)>, PublishError> {
        let token_ids: Vec<Uuid> = changes.keys().copied().collect();
        let batch = Batch::of(db, &token_ids).await?;
        let published = batch.tokens.iter().map(async |token| {
            let id = token.id;
            // Boxed, as a span wraps it several times.
            let publication = Box::pin(self.publish_one(batch.epoch, token, batch.credentials_of(id)));
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

    /// Puts a batch in two strides, every token and then every credential, without a change for
    /// each: the rebuild announces a new build, at which edges look everything up again.
    /// What Redis knew better.
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

/// Whether Redis has what a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Done,
    /// Redis did not answer in time; a relay delivers it once it does.
    Pending,
}

/// Publishes what a transaction has just committed, or waits for the relay that took its rows
/// first. Several tokens take the time of one. Bounded, because what was committed stands whether
/// Redis answers or not.
pub async fn deliver<T>(db: &db::Pool, publisher: &Publisher, unpublished: Unpublished<T>) -> (T, Delivery) {
    let (outcome, token_ids) = unpublished.into_parts();
    let delivery = match timeout(DELIVER_WITHIN, deliver_rows(db, publisher, &token_ids)).await {
        Ok(Ok(())) => Delivery::Done,
        Ok(Err(error)) => {
            tracing::warn!(?token_ids, %error, "a change waits for the relay");
            Delivery::Pending
        }
        Err(_) => {
            tracing::warn!(?token_ids, "a change waits for the relay: Redis did not answer");
            Delivery::Pending
        }
    };
    (outcome, delivery)
}

async fn deliver_rows(db: &db::Pool, publisher: &Publisher, token_ids: &[Uuid]) -> Result<(), PublishError> {
    let tx = db::begin(db).await?;
    let rows = outbox::take_of_tokens(&tx, token_ids).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let published = publisher.publish_each(&tx, &changes_of(&rows, true)).await?;
    let learned = published.into_iter().map(|(_, learned)| learned).collect::<Result<Vec<_>, _>>()?;
    outbox::delete(&tx, &rows).await?;
    learn(&tx, learned.into_iter().flatten().collect()).await?;
    Ok(tx.commit().await?)
}

/// Each token once, with what publishing it is in the trace of the first request that changed it.
pub fn changes_of(rows: &[outbox::Row], is_traced: bool) -> BTreeMap<Uuid, Span> {
    let mut changes = BTreeMap::new();
    for row in rows {
        let place = row.traceparent.as_deref().filter(|_| is_traced);
        changes.entry(row.token_id).or_insert_with(|| Span::of_message("publish", place));
    }
    changes
}

/// Records activations that only Redis knew, and has them published: a hash could be lost any time.
pub async fn learn(tx: &db::Tx, mut learned: Vec<LearnedActivation>) -> Result<(), db::Error> {
    // Tokens are locked in the order of their ids, as everywhere.
    learned.sort_unstable_by_key(|learned| learned.token_id);
    for LearnedActivation { token_id, activated_at } in learned {
        if access_token::record_activation(tx, token_id, activated_at).await?.is_some() {
            outbox::push(tx, &[token_id]).await?;
        }
    }
    Ok(())
}
