//! The tables `idempotency_keys` and `sealed_texts`: what was answered to calls that may be
//! repeated.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use serde_json::Value as Json;
use shared::token::credential::Digest;
use uuid::Uuid;

use super::{Connection, Error, Tx, sql};

/// Which call of whom a key names.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    pub user_id: Uuid,
    pub endpoint: &'a str,
    pub key: &'a str,
}

/// What was kept of a call.
#[derive(FromQueryResult)]
pub struct Kept {
    pub digest: Vec<u8>,
    pub outcome: Json,
}

pub async fn find(tx: &Tx, name: Name<'_>) -> Result<Option<Kept>, Error> {
    let query = "SELECT digest, outcome FROM idempotency_keys WHERE user_id = $1 AND endpoint = $2 AND key = $3";
    let values = [name.user_id.into(), name.endpoint.into(), name.key.into()];
    Kept::find_by_statement(sql(query, values)).one(tx).await
}

pub async fn insert(tx: &Tx, name: Name<'_>, digest: &Digest, outcome: Json) -> Result<(), Error> {
    let query = "INSERT INTO idempotency_keys (user_id, endpoint, key, digest, outcome) VALUES ($1, $2, $3, $4, $5)";
    let digest = digest.as_bytes().to_vec();
    let values = [name.user_id.into(), name.endpoint.into(), name.key.into(), digest.into(), outcome.into()];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

pub async fn insert_text(tx: &Tx, name: Name<'_>, token_id: Uuid, sealed: Vec<u8>) -> Result<(), Error> {
    let query = "INSERT INTO sealed_texts (token_id, user_id, endpoint, key, sealed) VALUES ($1, $2, $3, $4, $5)";
    let values = [token_id.into(), name.user_id.into(), name.endpoint.into(), name.key.into(), sealed.into()];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

/// The sealed text of a token that was sold with this key, if it is still kept.
pub async fn find_text(tx: &Tx, name: Name<'_>, token_id: Uuid) -> Result<Option<Vec<u8>>, Error> {
    let query = "SELECT sealed FROM sealed_texts WHERE token_id = $1 AND user_id = $2 AND endpoint = $3 AND key = $4";
    let values = [token_id.into(), name.user_id.into(), name.endpoint.into(), name.key.into()];
    tx.query_one_raw(sql(query, values)).await?.map(|row| row.try_get_by_index(0)).transpose()
}

/// Erases the text of a token that it opens no longer.
pub async fn erase_text(tx: &Tx, token_id: Uuid) -> Result<(), Error> {
    tx.execute_raw(sql("DELETE FROM sealed_texts WHERE token_id = $1", [token_id.into()])).await.map(drop)
}

/// Forgets calls of before then, and the texts that were kept for them.
pub async fn delete_older(tx: &Tx, than: DateTime<Utc>) -> Result<(), Error> {
    tx.execute_raw(sql("DELETE FROM idempotency_keys WHERE created_at < $1", [than.into()])).await.map(drop)
}
