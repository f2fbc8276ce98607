//! The table `settings`: what there is one of.

use sea_orm::ConnectionTrait;

use super::{Connection, Error, Tx, sql};

/// How often Postgres was restored from a backup; what was published in an older epoch is replaced
/// whatever its version.
pub async fn epoch(db: &impl Connection) -> Result<i64, Error> {
    match db.query_one_raw(sql("SELECT epoch FROM settings", [])).await? {
        Some(row) => row.try_get_by_index(0),
        None => Err(Error::RecordNotFound("settings".to_owned())),
    }
}

/// Notes one more restore; the epoch that begins with it.
pub async fn bump_epoch(tx: &Tx) -> Result<i64, Error> {
    match tx.query_one_raw(sql("UPDATE settings SET epoch = epoch + 1 RETURNING epoch", [])).await? {
        Some(row) => row.try_get_by_index(0),
        None => Err(Error::RecordNotFound("settings".to_owned())),
    }
}
