//! The table `ended_jwts`: JWTs that a logout ended, until a while after they would have expired
//! anyway.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Tx, sql};
use sea_orm::ConnectionTrait;

/// Ends a JWT; ending it again changes nothing.
pub async fn insert(tx: &Tx, jti: Uuid, expires_at: DateTime<Utc>) -> Result<(), Error> {
    let query = "INSERT INTO ended_jwts (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute_raw(sql(query, [jti.into(), expires_at.into()])).await.map(drop)
}

/// Forgets those that expired before then.
pub async fn delete_expired(tx: &Tx, before: DateTime<Utc>) -> Result<(), Error> {
    tx.execute_raw(sql("DELETE FROM ended_jwts WHERE expires_at < $1", [before.into()])).await.map(drop)
}
