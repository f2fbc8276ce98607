//! The tables `referral_bonuses` and `referral_shares`: the bonus of the user who recommended a
//! buyer, by the tokens that were bought.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{FromQueryResult, entity::prelude::*};

use super::{Connection, Error, Tx, as_bigint, sql};

/// What a first purchase was large enough for.
pub struct NewBonus {
    /// The buyer.
    pub user_id: Uuid,
    pub referrer_id: Uuid,
    /// Of the purchase, in ZNC.
    pub price: Decimal,
    /// In ZNC.
    pub amount: Decimal,
}

/// Notes a bonus, one for each buyer, and the tokens' shares of it.
pub async fn insert(tx: &Tx, bonus: &NewBonus, shares: Vec<(Uuid, Decimal)>) -> Result<(), Error> {
    let query = "INSERT INTO referral_bonuses (user_id, referrer_id, price, amount) VALUES ($1, $2, $3, $4)";
    let values = [bonus.user_id.into(), bonus.referrer_id.into(), bonus.price.into(), bonus.amount.into()];
    tx.execute_raw(sql(query, values)).await?;
    let query = "INSERT INTO referral_shares (token_id, user_id, amount)
        SELECT token_id, $1, amount FROM unnest($2::uuid[], $3::numeric[]) AS shares (token_id, amount)";
    let (token_ids, amounts): (Vec<Uuid>, Vec<Decimal>) = shares.into_iter().unzip();
    let values = [bonus.user_id.into(), token_ids.into(), amounts.into()];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

/// Makes a token's share due, if it has one, as its activation is recorded; not that of a token
/// that was revoked before it was activated, or paid back. The token must be locked.
pub async fn make_due(tx: &Tx, token_id: Uuid) -> Result<(), Error> {
    let query = "UPDATE referral_shares s SET due_at = now() FROM access_tokens t
        WHERE s.token_id = $1 AND s.due_at IS NULL AND t.id = s.token_id
            AND (t.revoked_at IS NULL OR t.activated_at < t.revoked_at
                AND NOT EXISTS (SELECT FROM transactions l WHERE l.token_id = t.id AND l.type = 'refund'))";
    tx.execute_raw(sql(query, [token_id.into()])).await.map(drop)
}

/// Users after this one, in the order of their ids, who are owed a share.
pub async fn list_owed(db: &impl Connection, after: Uuid, limit: u64) -> Result<Vec<Uuid>, Error> {
    let query = "SELECT DISTINCT b.referrer_id FROM referral_shares s JOIN referral_bonuses b ON b.user_id = s.user_id
        WHERE s.due_at IS NOT NULL AND s.paid_at IS NULL AND b.referrer_id > $1 ORDER BY b.referrer_id LIMIT $2";
    let rows = db.query_all_raw(sql(query, [after.into(), as_bigint(limit).into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// A share to be paid.
#[derive(Debug, FromQueryResult)]
pub struct Share {
    pub token_id: Uuid,
    /// In ZNC.
    pub amount: Decimal,
    /// The buyer.
    pub user_id: Uuid,
    pub username: String,
}

/// Marks shares that a user is owed as paid, which must be done in the same transaction, and gives
/// them. The user must be locked: then nobody else finds the same ones.
pub async fn take_owed(tx: &Tx, referrer_id: Uuid, limit: u64) -> Result<Vec<Share>, Error> {
    let query = "UPDATE referral_shares s SET paid_at = now() FROM (
            SELECT s.token_id, u.username FROM referral_shares s
                JOIN referral_bonuses b ON b.user_id = s.user_id JOIN users u ON u.id = s.user_id
            WHERE b.referrer_id = $1 AND s.due_at IS NOT NULL AND s.paid_at IS NULL
            ORDER BY s.token_id LIMIT $2) owed
        WHERE s.token_id = owed.token_id AND s.paid_at IS NULL
        RETURNING s.token_id, s.amount, s.user_id, owed.username";
    let mut shares =
        Share::find_by_statement(sql(query, [referrer_id.into(), as_bigint(limit).into()])).all(tx).await?;
    shares.sort_unstable_by_key(|share| share.token_id);
    Ok(shares)
}

/// What came of everybody whom a user brought. Amounts are in ZNC.
#[derive(Debug, FromQueryResult)]
pub struct Totals {
    pub referred: i64,
    /// How many of them made a first purchase that brings a bonus.
    pub qualifying: i64,
    pub earned: Decimal,
    /// What is still to come if every token that can be is activated.
    pub pending: Decimal,
}

pub async fn totals(db: &impl Connection, user_id: Uuid) -> Result<Totals, Error> {
    let query = "SELECT (SELECT count(*) FROM users WHERE referred_by = $1) AS referred,
            (SELECT count(*) FROM referral_bonuses WHERE referrer_id = $1) AS qualifying,
            coalesce(sum(s.amount) FILTER (WHERE s.paid_at IS NOT NULL), 0) AS earned,
            coalesce(sum(s.amount) FILTER (WHERE s.paid_at IS NULL
                AND (s.due_at IS NOT NULL OR t.revoked_at IS NULL)), 0) AS pending
        FROM referral_bonuses b JOIN referral_shares s ON s.user_id = b.user_id JOIN access_tokens t ON t.id = s.token_id
        WHERE b.referrer_id = $1";
    let totals = Totals::find_by_statement(sql(query, [user_id.into()])).one(db).await?;
    totals.ok_or_else(|| Error::RecordNotFound("referral_bonuses".to_owned()))
}

/// Somebody whom a user brought.
#[derive(Debug, FromQueryResult)]
pub struct Referred {
    pub id: Uuid,
    pub username: String,
    pub created_at: DateTime<Utc>,
    pub has_made_qualifying_purchase: bool,
}

/// Whom a user brought, newest first.
pub async fn list(db: &impl Connection, user_id: Uuid, limit: u64) -> Result<Vec<Referred>, Error> {
    let query = "SELECT u.id, u.username, u.created_at, b.user_id IS NOT NULL AS has_made_qualifying_purchase
        FROM users u LEFT JOIN referral_bonuses b ON b.user_id = u.id
        WHERE u.referred_by = $1 ORDER BY u.id DESC LIMIT $2";
    Referred::find_by_statement(sql(query, [user_id.into(), as_bigint(limit).into()])).all(db).await
}
