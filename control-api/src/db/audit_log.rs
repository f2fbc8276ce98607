//! The table `audit_logs`: who did what, from where. Append-only, a partition a day.

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{FromQueryResult, entity::prelude::*};
use serde_json::Value as Json;

use super::{Connection, Error, Tx, as_bigint, count_listed, sql};

/// A line, with who did it as they are called now.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Line {
    pub id: Uuid,
    pub user_id: Option<Uuid>,
    pub action: String,
    pub resource_type: String,
    pub resource_id: Option<Uuid>,
    pub details: Json,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub user_email: Option<String>,
    pub user_username: Option<String>,
}

/// A line to write.
pub struct NewLine<'a> {
    pub user_id: Option<Uuid>,
    pub action: &'a str,
    pub resource_type: &'a str,
    pub resource_id: Option<Uuid>,
    pub details: Json,
    pub ip_address: Option<String>,
    pub user_agent: Option<&'a str>,
    pub request_id: Option<&'a str>,
}

/// Which lines a list shows.
#[derive(Default)]
pub struct Filter {
    pub user_id: Option<Uuid>,
    pub action: Option<String>,
    pub resource_type: Option<String>,
    /// From then on.
    pub from: Option<DateTime<Utc>>,
    /// Before then.
    pub until: Option<DateTime<Utc>>,
}

const LINES: &str = "SELECT a.id, a.user_id, a.action, a.resource_type, a.resource_id, a.details,
        host(a.ip_address) AS ip_address, a.user_agent, a.request_id, a.created_at,
        u.email AS user_email, u.username AS user_username
    FROM audit_logs a LEFT JOIN users u ON u.id = a.user_id";

const LISTED: &str = "($1::uuid IS NULL OR a.user_id = $1) AND ($2::text IS NULL OR a.action = $2)
    AND ($3::text IS NULL OR a.resource_type = $3)
    AND ($4::timestamptz IS NULL OR a.created_at >= $4) AND ($5::timestamptz IS NULL OR a.created_at < $5)";

impl Filter {
    /// The parameters of [`LISTED`].
    fn values(&self) -> [Value; 5] {
        let Self { user_id, action, resource_type, from, until } = self;
        [(*user_id).into(), action.clone().into(), resource_type.clone().into(), (*from).into(), (*until).into()]
    }
}

pub async fn insert(tx: &Tx, line: NewLine<'_>) -> Result<(), Error> {
    let query = "INSERT INTO audit_logs
            (id, user_id, action, resource_type, resource_id, details, ip_address, user_agent, request_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7::inet, $8, $9)";
    let values = [
        Uuid::now_v7().into(),
        line.user_id.into(),
        line.action.into(),
        line.resource_type.into(),
        line.resource_id.into(),
        line.details.into(),
        line.ip_address.into(),
        line.user_agent.into(),
        line.request_id.into(),
    ];
    tx.execute_raw(sql(query, values)).await.map(drop)
}

/// Whether the same was written of the same request in the last days: of what may be told twice.
pub async fn is_written(tx: &Tx, line: &NewLine<'_>) -> Result<bool, Error> {
    let query = "SELECT EXISTS (SELECT FROM audit_logs WHERE action = $1 AND resource_id = $2 AND request_id = $3
        AND created_at > now() - interval '2 days')";
    let row =
        tx.query_one_raw(sql(query, [line.action.into(), line.resource_id.into(), line.request_id.into()])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// A page of lines, newest first, and how many there are in all.
pub async fn list(db: &impl Connection, filter: &Filter, limit: u64, offset: u64) -> Result<(Vec<Line>, u64), Error> {
    let total = count_listed(db, &format!("audit_logs a WHERE {LISTED}"), filter.values()).await?;
    let query = format!("{LINES} WHERE {LISTED} ORDER BY a.id DESC LIMIT $6 OFFSET $7");
    let [user_id, action, resource_type, from, until] = filter.values();
    let (limit, offset) = (as_bigint(limit).into(), as_bigint(offset).into());
    let values = [user_id, action, resource_type, from, until, limit, offset];
    Ok((Line::find_by_statement(sql(&query, values)).all(db).await?, total))
}

/// The lines that follow this one in the same order, for a reader that goes through all of them.
pub async fn list_after(
    db: &impl Connection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Line>, Error> {
    let query = format!("{LINES} WHERE {LISTED} AND ($6::uuid IS NULL OR a.id < $6) ORDER BY a.id DESC LIMIT $7");
    let [user_id, action, resource_type, from, until] = filter.values();
    let values = [user_id, action, resource_type, from, until, after.into(), as_bigint(limit).into()];
    Line::find_by_statement(sql(&query, values)).all(db).await
}

/// The last lines of what a user did, and of what was done to the account by others, by one of
/// these actions.
pub async fn list_about_user(
    db: &impl Connection,
    user_id: Uuid,
    actions: &[&str],
    limit: u64,
) -> Result<Vec<Line>, Error> {
    // Two lists, for there is an index for each, and none for both.
    let query = format!(
        "SELECT * FROM (
            ({LINES} WHERE a.user_id = $1 ORDER BY a.id DESC LIMIT $3)
            UNION ALL
            ({LINES} WHERE a.action = ANY($2) AND a.resource_id = $1 AND a.user_id IS DISTINCT FROM $1
                ORDER BY a.id DESC LIMIT $3)) l
        ORDER BY id DESC LIMIT $3"
    );
    let actions: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
    let values = [user_id.into(), actions.into(), as_bigint(limit).into()];
    Line::find_by_statement(sql(&query, values)).all(db).await
}

/// Makes the partitions of these days where they are missing.
pub async fn make_days(tx: &Tx, first: NaiveDate, last: NaiveDate) -> Result<(), Error> {
    tx.execute_raw(sql("SELECT audit_logs_make_days($1, $2)", [first.into(), last.into()])).await.map(drop)
}

/// Drops the days before this one; how many.
pub async fn drop_days(tx: &Tx, first: NaiveDate) -> Result<i32, Error> {
    let row = tx.query_one_raw(sql("SELECT audit_logs_drop_days($1)", [first.into()])).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}
