//! Giving back what was paid for a token that was never used.
//!
//! Only Redis knows whether a token was used, and it cannot take part in a transaction. So a refund
//! is three steps, each of which can be repeated: (1) Postgres notes the request, (2) Redis bars
//! the token or says that it was used, (3) Postgres settles. A process that finds a request
//! standing goes on from (2): another call, the start-up or the sweeper.
//!
//! What Redis says counts only if it held all along what it was told: it must be whole, filled long
//! enough ago for the edges to have told it again of activations that it lost, and the same before
//! and after it was asked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::json;
use shared::{process::trace::Span, redis::replies::Bar};
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Actor, Origin, Resource},
    ledger::{self, Details, Movement, Subject},
};
use crate::{
    db::{self, access_token, idempotency_key, outbox, user},
    domain::unpublished::Unpublished,
    redis::Publisher,
};

/// How often a refund begins anew because the token changed under it.
const ATTEMPTS: usize = 3;

/// What a refund gave.
pub struct Refund {
    /// In ZNC.
    pub amount: Decimal,
    pub new_balance: Decimal,
}

enum Settled {
    Refunded(Refund),
    /// The token changed since it was barred: nothing was settled.
    Changed,
}

/// Revokes a token of this user that was never used, and gives back what it cost.
///
/// `hold` is how long after Redis was filled an activation may still be on its way.
pub async fn refund(
    db: &db::Pool,
    publisher: &Publisher,
    hold: Duration,
    owner: &Session,
    id: Uuid,
) -> Result<Unpublished<Refund>, Error> {
    for _ in 0..ATTEMPTS {
        request(db, owner.user.id, id).await?;
        if let Settled::Refunded(refund) = settle(db, publisher, hold, id, &owner.origin).await? {
            return Ok(Unpublished::new(refund, vec![id]));
        }
    }
    Err(Error::RedisUnavailable)
}

/// Finishes refunds that were asked for before then: their process died, or lost Redis or Postgres
/// on the way. How many it finished, one way or the other.
pub async fn settle_standing(
    db: &db::Pool,
    publisher: &Publisher,
    hold: Duration,
    before: DateTime<Utc>,
) -> Result<usize, Error> {
    const AT_ONCE: u64 = 100;
    let standing = access_token::list_unsettled(db, before, AT_ONCE).await?;
    let mut finished = 0;
    for id in standing {
        match settle(db, publisher, hold, id, &Origin::default()).await {
            Ok(Settled::Refunded(_)) | Err(Error::TokenActivated | Error::TokenInUse) => finished += 1,
            Ok(Settled::Changed) | Err(Error::TokenNotFoundOrRevoked | Error::RedisUnavailable) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(finished)
}

/// (1) Notes the request, unless one stands.
async fn request(db: &db::Pool, user_id: Uuid, id: Uuid) -> Result<(), Error> {
    let tx = db::begin(db).await?;
    let token = access_token::find_of_user_for_update(&tx, user_id, id).await?;
    let token = token.filter(|token| token.revoked_at.is_none()).ok_or(Error::TokenNotFoundOrRevoked)?;
    if token.activated_at.is_some() {
        return Err(Error::TokenActivated);
    }
    access_token::request_refund(&tx, id).await?;
    Ok(tx.commit().await?)
}

/// (2) and (3) for a token whose refund was asked for. The bar is set for the very version that
/// carries the request and settled only if that version still stands, so that neither a late bar
/// nor a late settlement meets a token that came back into use.
async fn settle(
    db: &db::Pool,
    publisher: &Publisher,
    hold: Duration,
    id: Uuid,
    origin: &Origin,
) -> Result<Settled, Error> {
    let owned = access_token::find(db, id).await?.ok_or(Error::TokenNotFoundOrRevoked)?;
    let token = owned.token;
    if token.refund_requested_at.is_none() {
        return if token.revoked_at.is_some() { Err(Error::TokenNotFoundOrRevoked) } else { Ok(Settled::Changed) };
    }
    match bar(publisher, db, hold, &token).await {
        Ok(Bar::Barred) => revoke(db, &token, origin).await,
        Ok(Bar::Activated { at_ms }) => {
            clear(db, &token, DateTime::from_timestamp_millis(at_ms), Error::TokenActivated).await
        }
        Ok(Bar::Claimed) => clear(db, &token, None, Error::TokenInUse).await,
        Ok(Bar::Unknown) | Err(Error::RedisUnavailable) => clear(db, &token, None, Error::RedisUnavailable).await,
        Err(error) => Err(error),
    }
}

/// (2) Publishes the token with its request, so that no older state can lift the bar, and bars it.
async fn bar(publisher: &Publisher, db: &db::Pool, hold: Duration, token: &access_token::Model) -> Result<Bar, Error> {
    let Some(before) = publisher.ground_for_refunds(hold).await? else { return Ok(Bar::Unknown) };
    for (_, published) in publisher.publish_each(db, &[(token.id, Span::current())].into()).await? {
        published?;
    }
    let bar = publisher.bar(token.id, token.version).await?;
    let is_sure = publisher.ground_for_refunds(hold).await?.as_ref() == Some(&before);
    Ok(if is_sure || matches!(bar, Bar::Activated { .. }) { bar } else { Bar::Unknown })
}

/// (3) where Redis barred the token.
async fn revoke(db: &db::Pool, barred: &access_token::Model, origin: &Origin) -> Result<Settled, Error> {
    let tx = db::begin(db).await?;
    if !lock_unchanged(&tx, barred).await? {
        return Ok(Settled::Changed);
    }
    access_token::revoke(&tx, barred.id).await?;
    idempotency_key::erase_text(&tx, barred.id).await?;
    let details = Details::TokenRefund { duration_hours: barred.duration_hours };
    let movement = Movement { amount: barred.cost, details, about: Subject::Token(barred.id) };
    let new_balance = ledger::credit(&tx, barred.user_id, &movement).await?;
    outbox::push(&tx, &[barred.id]).await?;
    let by = Actor { user_id: Some(barred.user_id), origin };
    let details = json!({ "refund_amount": barred.cost, "new_balance": new_balance });
    audit::record(&tx, by, Action::Refund, Resource::Token(barred.id), details).await?;
    tx.commit().await?;
    Ok(Settled::Refunded(Refund { amount: barred.cost, new_balance }))
}

/// (3) where it did not, for this reason: the request goes, and what Redis told of an activation is
/// kept.
async fn clear(
    db: &db::Pool,
    asked: &access_token::Model,
    activated_at: Option<DateTime<Utc>>,
    reason: Error,
) -> Result<Settled, Error> {
    let tx = db::begin(db).await?;
    if !lock_unchanged(&tx, asked).await? {
        return Ok(Settled::Changed);
    }
    if let Some(at) = activated_at {
        access_token::record_activation(&tx, asked.id, at).await?;
    }
    access_token::clear_refund_request(&tx, asked.id).await?;
    outbox::push(&tx, &[asked.id]).await?;
    tx.commit().await?;
    Err(reason)
}

/// Locks the user and the token; whether the token is still in the version that was read. One that
/// somebody else settled meanwhile is gone.
async fn lock_unchanged(tx: &db::Tx, seen: &access_token::Model) -> Result<bool, Error> {
    user::find_for_update(tx, seen.user_id).await?;
    let token = access_token::find_for_update(tx, seen.id).await?.ok_or(Error::TokenNotFoundOrRevoked)?;
    if token.revoked_at.is_some() { Err(Error::TokenNotFoundOrRevoked) } else { Ok(token.version == seen.version) }
}
