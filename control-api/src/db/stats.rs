//! Counts and sums over several tables, for a dashboard.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::FromQueryResult;

use super::{Connection, Error, access_token::Hour, sql};

#[derive(Debug, FromQueryResult)]
pub struct Users {
    pub total: i64,
    pub active: i64,
    pub superusers: i64,
}

/// Tokens by state.
#[derive(Debug, FromQueryResult)]
pub struct Tokens {
    pub ready: i64,
    pub active: i64,
    pub expired: i64,
    pub revoked: i64,
    pub suspended: i64,
}

/// What moved on one day (UTC), in ZNC. Nothing is negative but the net revenue of a day of refunds.
#[derive(Debug, FromQueryResult)]
pub struct Day {
    pub day: NaiveDate,
    pub purchases: Decimal,
    pub refunds: Decimal,
    pub deposits: Decimal,
    pub referral_bonuses: Decimal,
    pub adjustments: Decimal,
    pub tokens_sold: i64,
}

pub async fn users(db: &impl Connection) -> Result<Users, Error> {
    let query = "SELECT count(*) AS total, count(*) FILTER (WHERE is_active) AS active,
            count(*) FILTER (WHERE is_superuser AND is_active) AS superusers
        FROM users";
    row(Users::find_by_statement(sql(query, [])).one(db).await)
}

pub async fn tokens(db: &impl Connection, hour: Hour, now: DateTime<Utc>) -> Result<Tokens, Error> {
    let query = "WITH stands AS (
            SELECT CASE
                WHEN t.revoked_at IS NOT NULL THEN 'revoked'
                WHEN t.activated_at + t.duration_hours * make_interval(secs => $1) <= $2 THEN 'expired'
                WHEN NOT u.is_active THEN 'suspended'
                WHEN t.activated_at IS NULL THEN 'ready'
                ELSE 'active' END AS state
            FROM access_tokens t JOIN users u ON u.id = t.user_id
        )
        SELECT count(*) FILTER (WHERE state = 'ready') AS ready, count(*) FILTER (WHERE state = 'active') AS active,
            count(*) FILTER (WHERE state = 'expired') AS expired, count(*) FILTER (WHERE state = 'revoked') AS revoked,
            count(*) FILTER (WHERE state = 'suspended') AS suspended
        FROM stands";
    row(Tokens::find_by_statement(sql(query, [hour.seconds(), now.into()])).one(db).await)
}

/// Each day from `first` on, the newest first; days on which nothing moved as well.
pub async fn days(db: &impl Connection, first: NaiveDate, last: NaiveDate) -> Result<Vec<Day>, Error> {
    let query = "WITH moved AS (
            SELECT (created_at AT TIME ZONE 'UTC')::date AS day, type, amount FROM transactions
            WHERE created_at >= $1::timestamp AT TIME ZONE 'UTC'
        ), sold AS (
            SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS tokens FROM access_tokens
            WHERE created_at >= $1::timestamp AT TIME ZONE 'UTC' GROUP BY 1
        ), sums AS (
            SELECT day, -sum(amount) FILTER (WHERE type = 'purchase') AS purchases,
                sum(amount) FILTER (WHERE type = 'refund') AS refunds,
                sum(amount) FILTER (WHERE type = 'deposit') AS deposits,
                sum(amount) FILTER (WHERE type = 'referral_bonus') AS referral_bonuses,
                sum(amount) FILTER (WHERE type = 'adjustment') AS adjustments
            FROM moved GROUP BY day
        )
        SELECT days.day::date AS day, coalesce(purchases, 0) AS purchases, coalesce(refunds, 0) AS refunds,
            coalesce(deposits, 0) AS deposits, coalesce(referral_bonuses, 0) AS referral_bonuses,
            coalesce(adjustments, 0) AS adjustments, coalesce(tokens, 0) AS tokens_sold
        FROM generate_series($1::timestamp, $2::timestamp, interval '1 day') AS days (day)
        LEFT JOIN sums ON sums.day = days.day::date LEFT JOIN sold ON sold.day = days.day::date
        ORDER BY days.day DESC";
    Day::find_by_statement(sql(query, [first.into(), last.into()])).all(db).await
}

/// The row that a statement always returns.
fn row<T>(row: Result<Option<T>, Error>) -> Result<T, Error> {
    row?.ok_or_else(|| Error::RecordNotFound("stats".to_owned()))
}
