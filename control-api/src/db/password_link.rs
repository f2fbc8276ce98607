//! The table `password_links`: one-time links that set a password.

use chrono::{DateTime, Utc};
use shared::token::credential::Digest;
use uuid::Uuid;

use super::{Connection, Error, Tx, sql};

/// Gives a user a link; the user's earlier link ends.
pub async fn replace(tx: &Tx, user_id: Uuid, digest: &Digest, expires_at: DateTime<Utc>) -> Result<(), Error> {
    let query = "INSERT INTO password_links (user_id, digest, expires_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at";
    let values = [user_id.into(), digest.as_bytes().to_vec().into(), expires_at.into()];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

/// Whose link this is; `None` if there is none or it has expired.
pub async fn find_user(db: &impl Connection, digest: &Digest, now: DateTime<Utc>) -> Result<Option<Uuid>, Error> {
    let query = "SELECT user_id FROM password_links WHERE digest = $1 AND expires_at > $2";
    let row = db.query_one_raw(sql(query, [digest.as_bytes().to_vec().into(), now.into()])).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// Uses a link up; whether it was still there. Its user must be locked, for a new link takes the
/// place of the old.
pub async fn redeem(tx: &Tx, digest: &Digest, now: DateTime<Utc>) -> Result<bool, Error> {
    let query = "DELETE FROM password_links WHERE digest = $1 AND expires_at > $2";
    let deleted = tx.execute_raw(sql(query, [digest.as_bytes().to_vec().into(), now.into()])).await?;
    Ok(deleted.rows_affected() == 1)
}

/// Ends the link of a user, if there is one.
pub async fn delete_of_user(tx: &Tx, user_id: Uuid) -> Result<(), Error> {
    tx.execute_raw(sql("DELETE FROM password_links WHERE user_id = $1", [user_id.into()])).await.map(drop)
}

/// Forgets those that expired before then.
pub async fn delete_expired(tx: &Tx, before: DateTime<Utc>) -> Result<(), Error> {
    tx.execute_raw(sql("DELETE FROM password_links WHERE expires_at < $1", [before.into()])).await.map(drop)
}
