//! The table `credentials`: the digests of what requests may carry to name a token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{QueryResult, Statement, entity::prelude::*};
use shared::token::credential::Digest;

use super::{Connection, Error, Tx, access_token::PUBLISHABLE, sql};
use crate::config::TokenHour;

/// The browser credentials that a token keeps; older ones make room for newer ones.
const BROWSERS_KEPT: i64 = 10;

/// What a credential is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The token's text.
    Text,
    /// The secret that one browser was handed.
    Browser,
}

/// What an edge must know of a credential.
#[derive(Clone, Debug)]
pub struct Publishable {
    pub token_id: Uuid,
    pub digest: Digest,
    pub r#gen: i64,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Every credential of these tokens in the order of the tokens' ids, ended ones too, because Redis
/// must forget them.
pub async fn list_of_tokens(db: &impl Connection, token_ids: &[Uuid]) -> Result<Vec<Publishable>, Error> {
    let query = "SELECT token_id, digest, gen, ended_at FROM credentials WHERE token_id = ANY($1) ORDER BY token_id";
    let read = |row: &QueryResult| {
        let digest: Vec<u8> = row.try_get_by_index(1)?;
        Ok(Publishable {
            token_id: row.try_get_by_index(0)?,
            digest: Digest::from_bytes(&digest).ok_or_else(|| Error::Type("a digest is 32 bytes".to_owned()))?,
            r#gen: row.try_get_by_index(2)?,
            ended_at: row.try_get_by_index(3)?,
        })
    };
    db.query_all_raw(sql(query, [token_ids.to_vec().into()])).await?.iter().map(read).collect()
}

/// Which of these credentials Redis must know: their tokens are among those that it must.
pub async fn filter_publishable(
    db: &impl Connection,
    hour: TokenHour,
    tombstone: Duration,
    digests: &[Digest],
) -> Result<Vec<Digest>, Error> {
    let query = format!(
        "SELECT c.digest FROM credentials c JOIN access_tokens t ON t.id = c.token_id
        WHERE {PUBLISHABLE} AND c.digest = ANY($3)"
    );
    let values = [hour.seconds().into(), tombstone.as_secs_f64().into(), as_bytes(digests).into()];
    digests_of(db, sql(&query, values)).await
}

/// Which of these credentials are good.
pub async fn filter_good(db: &impl Connection, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
    let query = "SELECT c.digest FROM credentials c JOIN access_tokens t ON t.id = c.token_id
        WHERE c.ended_at IS NULL AND c.gen = t.credential_gen AND c.digest = ANY($1)";
    digests_of(db, sql(query, [as_bytes(digests).into()])).await
}

fn as_bytes(digests: &[Digest]) -> Vec<Vec<u8>> {
    digests.iter().map(|digest| digest.as_bytes().to_vec()).collect()
}

async fn digests_of(db: &impl Connection, query: Statement) -> Result<Vec<Digest>, Error> {
    let rows = db.query_all_raw(query).await?;
    let known: Vec<Vec<u8>> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, Error>>()?;
    Ok(known.iter().filter_map(|digest| Digest::from_bytes(digest)).collect())
}

pub async fn insert(tx: &Tx, digest: &Digest, token_id: Uuid, generation: i64, kind: Kind) -> Result<(), Error> {
    let query = "INSERT INTO credentials (digest, token_id, gen, kind) VALUES ($1, $2, $3, $4)";
    let kind = match kind {
        Kind::Text => "text",
        Kind::Browser => "browser",
    };
    let values = [digest.as_bytes().to_vec().into(), token_id.into(), generation.into(), kind.into()];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

/// Ends every credential of a token that belongs to an older generation.
pub async fn end_older_than(tx: &Tx, token_id: Uuid, generation: i64) -> Result<(), Error> {
    let query = "UPDATE credentials SET ended_at = now() WHERE token_id = $1 AND gen < $2 AND ended_at IS NULL";
    tx.execute_raw(sql(query, [token_id.into(), generation.into()])).await.map(drop)
}

/// Ends the browser credentials of a token beyond its newest ten.
pub async fn end_surplus_browsers(tx: &Tx, token_id: Uuid) -> Result<(), Error> {
    let query = "UPDATE credentials SET ended_at = now() WHERE digest IN (
        SELECT digest FROM credentials WHERE token_id = $1 AND kind = 'browser' AND ended_at IS NULL
        ORDER BY created_at DESC, digest OFFSET $2)";
    tx.execute_raw(sql(query, [token_id.into(), BROWSERS_KEPT.into()])).await.map(drop)
}

/// Ends browser credentials that were drawn in that time and that no browser took; the tokens that
/// they belong to.
pub async fn end_unredeemed(
    tx: &Tx,
    drawn_from: DateTime<Utc>,
    drawn_before: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    let query = "UPDATE credentials SET ended_at = now()
        WHERE kind = 'browser' AND redeemed_at IS NULL AND ended_at IS NULL AND created_at >= $1 AND created_at < $2
        RETURNING token_id";
    let rows = tx.query_all_raw(sql(query, [drawn_from.into(), drawn_before.into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Notes that a browser took the credential drawn for it; the first time counts.
pub async fn record_redemption(tx: &Tx, digest: &Digest) -> Result<(), Error> {
    let query = "UPDATE credentials SET redeemed_at = coalesce(redeemed_at, now()) WHERE digest = $1";
    tx.execute_raw(sql(query, [digest.as_bytes().to_vec().into()])).await.map(drop)
}

/// Deletes what ended before then and Redis has been told to forget.
pub async fn delete_ended(tx: &Tx, ended_before: DateTime<Utc>) -> Result<(), Error> {
    let query = "DELETE FROM credentials c WHERE c.ended_at < $1
        AND NOT EXISTS (SELECT FROM outbox o WHERE o.token_id = c.token_id)";
    tx.execute_raw(sql(query, [ended_before.into()])).await.map(drop)
}
