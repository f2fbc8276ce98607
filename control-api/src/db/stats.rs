//! Counts and sums over several tables, for a dashboard.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::{FromQueryResult, prelude::Uuid};

use super::{Connection, Error, count_up_to, sql};
use crate::config::TokenHour;

/// Conditions on a token `t`, by the seconds of an hour ($1) and the time ($2). The second of each
/// follows from the first where an hour is one, and there is an index for it.
const RUNNING: &str = "(t.activated_at + t.duration_hours * make_interval(secs => $1) > $2
    AND ($1 > 3600 OR t.time_up_at > $2 AT TIME ZONE 'UTC'))";
const TIME_IS_UP: &str = "(t.activated_at + t.duration_hours * make_interval(secs => $1) <= $2
    AND ($1 < 3600 OR t.time_up_at <= $2 AT TIME ZONE 'UTC'))";

/// How far each count goes, so that the dashboard costs no more as tables grow.
const COUNTED: u64 = 50_000;

#[derive(Debug)]
pub struct Users {
    pub total: u64,
    pub active: u64,
    pub superusers: u64,
}

/// Tokens by state.
#[derive(Debug)]
pub struct Tokens {
    pub ready: u64,
    pub active: u64,
    pub expired: u64,
    pub revoked: u64,
    pub suspended: u64,
}

/// What moved on one day (UTC), in ZNC. Nothing is negative but the net revenue of a day of
/// refunds.
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
    let counted = async |listed| count_up_to(db, COUNTED, listed, []).await;
    Ok(Users {
        total: counted("users").await?,
        active: counted("users WHERE is_active").await?,
        superusers: counted("users WHERE is_superuser AND is_active").await?,
    })
}

/// How many accounts were opened since then: their ids tell when, and there is an index for those.
pub async fn users_since(db: &impl Connection, since: DateTime<Utc>) -> Result<u64, Error> {
    let ms = u128::try_from(since.timestamp_millis()).unwrap_or_default();
    // The lowest UUID of version 7 of this millisecond (RFC 9562 §5.7) is above it.
    let first = Uuid::from_u128(ms << 80);
    count_up_to(db, COUNTED, "users WHERE id >= $1", [first.into()]).await
}

pub async fn tokens(db: &impl Connection, hour: TokenHour, now: DateTime<Utc>) -> Result<Tokens, Error> {
    const OWNED: &str = "access_tokens t JOIN users u ON u.id = t.user_id WHERE t.revoked_at IS NULL";
    let counted = async |listed: &str| count_up_to(db, COUNTED, listed, []).await;
    let counted_now = async |listed: &str| count_up_to(db, COUNTED, listed, [hour.seconds().into(), now.into()]).await;
    Ok(Tokens {
        ready: counted(&format!("{OWNED} AND u.is_active AND t.time_up_at IS NULL")).await?,
        active: counted_now(&format!("{OWNED} AND u.is_active AND {RUNNING}")).await?,
        expired: counted_now(&format!("access_tokens t WHERE t.revoked_at IS NULL AND {TIME_IS_UP}")).await?,
        revoked: counted("access_tokens WHERE revoked_at IS NOT NULL").await?,
        suspended: counted_now(&format!("{OWNED} AND NOT u.is_active AND (t.time_up_at IS NULL OR {RUNNING})")).await?,
    })
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
