//! The tables `proxy_sessions` and `proxy_session_figures`: who used a token from where, and how
//! much.
//!
//! Lock order, here and wherever both are written: tokens, then sessions, each in the order of
//! their ids.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{FromQueryResult, entity::prelude::*};
use serde::Serialize;

use super::{Connection, Error, Tx, count_listed, sql};

/// A session as it stands: its row, and the sum of what the edges counted.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Session {
    pub id: Uuid,
    pub user_id: Uuid,
    pub token_id: Uuid,
    pub device_id: String,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub started_at: DateTime<Utc>,
    pub last_activity: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub requests: i64,
    /// Of bodies, towards the upstream.
    pub bytes_in: i64,
    /// Of bodies, towards the client.
    pub bytes_out: i64,
    pub open_connections: i64,
}

/// What one edge process has counted of a session so far. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub session_id: Uuid,
    pub instance_id: Uuid,
    pub token_id: Uuid,
    pub device_id: String,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub started_at_ms: i64,
    pub last_activity_ms: i64,
    pub reported_at_ms: i64,
    pub requests: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub open_connections: i32,
}

/// Which sessions a list shows.
#[derive(Default)]
pub struct Filter {
    pub user_id: Option<Uuid>,
    pub token_id: Option<Uuid>,
    /// Hides what has ended.
    pub active_only: bool,
}

const LISTED: &str = "($1::uuid IS NULL OR s.user_id = $1) AND ($2::uuid IS NULL OR s.token_id = $2)
    AND (NOT $3 OR s.ended_at IS NULL)";

/// A page of sessions, newest first, and how many there are in all. Connections count as open if
/// their edge has reported since `reported_since`: one that died closes none.
pub async fn list(
    db: &impl Connection,
    filter: &Filter,
    reported_since: DateTime<Utc>,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Session>, u64), Error> {
    let filters = || [filter.user_id.into(), filter.token_id.into(), filter.active_only.into()];
    let total = count_listed(db, &format!("proxy_sessions s WHERE {LISTED}"), filters()).await?;
    let query = format!(
        "SELECT s.*, f.* FROM (
            SELECT * FROM proxy_sessions s WHERE {LISTED} ORDER BY s.started_at DESC, s.id DESC LIMIT $4 OFFSET $5) s,
        LATERAL ({}) f
        ORDER BY s.started_at DESC, s.id DESC",
        counted("$6")
    );
    let [user_id, token_id, active_only] = filters();
    let page = [limit, offset].map(|number| Value::from(i64::try_from(number).unwrap_or(i64::MAX)));
    let [limit, offset] = page;
    let values = [user_id, token_id, active_only, limit, offset, reported_since.into()];
    let items = Session::find_by_statement(sql(&query, values)).all(db).await?;
    Ok((items, total))
}

/// What a user's sessions that began on one day (UTC) have used.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Day {
    pub day: NaiveDate,
    pub requests: i64,
    /// Of bodies, both ways.
    pub bytes: i64,
}

/// Each day from `first` to `last`; days on which no session began as well.
pub async fn days_of_user(
    db: &impl Connection,
    user_id: Uuid,
    first: NaiveDate,
    last: NaiveDate,
) -> Result<Vec<Day>, Error> {
    let query = "WITH used AS (
            SELECT (s.started_at AT TIME ZONE 'UTC')::date AS day, sum(f.requests) AS requests,
                sum(f.bytes_in + f.bytes_out) AS bytes
            FROM proxy_sessions s JOIN proxy_session_figures f ON f.session_id = s.id
            WHERE s.user_id = $1 AND s.started_at >= $2::timestamp AT TIME ZONE 'UTC' GROUP BY 1
        )
        SELECT days.day::date AS day, coalesce(requests, 0)::bigint AS requests, coalesce(bytes, 0)::bigint AS bytes
        FROM generate_series($2::timestamp, $3::timestamp, interval '1 day') AS days (day)
        LEFT JOIN used ON used.day = days.day::date ORDER BY days.day";
    Day::find_by_statement(sql(query, [user_id.into(), first.into(), last.into()])).all(db).await
}

/// A session, with its connections counted as in a list.
pub async fn find_counted(
    db: &impl Connection,
    id: Uuid,
    reported_since: DateTime<Utc>,
) -> Result<Option<Session>, Error> {
    let query = format!("SELECT s.*, f.* FROM proxy_sessions s, LATERAL ({}) f WHERE s.id = $1", counted("$2"));
    Session::find_by_statement(sql(&query, [id.into(), reported_since.into()])).one(db).await
}

/// What the edges counted of the session `s`, given the parameter that tells since when an edge
/// must have reported for its connections to count.
fn counted(reported_since: &str) -> String {
    format!(
        "SELECT coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(bytes_in), 0)::bigint AS bytes_in,
            coalesce(sum(bytes_out), 0)::bigint AS bytes_out,
            coalesce(sum(open_connections) FILTER (WHERE reported_at >= {reported_since} AND s.ended_at IS NULL), 0)::bigint
                AS open_connections
        FROM proxy_session_figures WHERE session_id = s.id"
    )
}

/// An edge's process, as far as it tells of sessions.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Edge {
    pub instance_id: Uuid,
    pub reported_at: DateTime<Utc>,
    pub sessions: i64,
    pub open_connections: i64,
}

/// The edges that told of sessions which are open or began since then, the last heard of first.
pub async fn list_edges(
    db: &impl Connection,
    begun_since: DateTime<Utc>,
    reported_since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Edge>, Error> {
    let query = "SELECT f.instance_id, max(f.reported_at) AS reported_at,
            count(*) FILTER (WHERE s.ended_at IS NULL) AS sessions,
            coalesce(sum(f.open_connections) FILTER (WHERE f.reported_at >= $2 AND s.ended_at IS NULL), 0)::bigint
                AS open_connections
        FROM proxy_sessions s JOIN proxy_session_figures f ON f.session_id = s.id
        WHERE s.ended_at IS NULL OR s.started_at >= $1
        GROUP BY f.instance_id ORDER BY reported_at DESC LIMIT $3";
    Edge::find_by_statement(sql(query, [begun_since.into(), reported_since.into(), limit.into()])).all(db).await
}

/// How many connections are open on sessions that have not ended.
pub async fn count_connections(db: &impl Connection, reported_since: DateTime<Utc>) -> Result<i64, Error> {
    let query = "SELECT coalesce(sum(f.open_connections), 0)::bigint
        FROM proxy_sessions s JOIN proxy_session_figures f ON f.session_id = s.id
        WHERE s.ended_at IS NULL AND f.reported_at >= $1";
    match db.query_one_raw(sql(query, [reported_since.into()])).await? {
        Some(row) => row.try_get_by_index(0),
        None => Ok(0),
    }
}

/// How many have not ended.
pub async fn count_open(db: &impl Connection) -> Result<i64, Error> {
    match db.query_one_raw(sql("SELECT count(*) FROM proxy_sessions WHERE ended_at IS NULL", [])).await? {
        Some(row) => row.try_get_by_index(0),
        None => Ok(0),
    }
}

/// Which device a session is of.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Holder {
    pub token_id: Uuid,
    pub device_id: String,
}

pub async fn find(db: &impl Connection, id: Uuid) -> Result<Option<Holder>, Error> {
    let query = "SELECT token_id, device_id FROM proxy_sessions WHERE id = $1";
    Holder::find_by_statement(sql(query, [id.into()])).one(db).await
}

/// Ends an open session for good; whether it was open.
pub async fn end(tx: &Tx, id: Uuid) -> Result<bool, Error> {
    let query = "UPDATE proxy_sessions SET ended_at = now(), ended_by_administrator = true
        WHERE id = $1 AND ended_at IS NULL";
    Ok(tx.execute_raw(sql(query, [id.into()])).await?.rows_affected() > 0)
}

/// How the rows of a report reach Postgres: as one JSON text.
const REPORT: &str = "jsonb_to_recordset($1::jsonb) AS r (session_id uuid, instance_id uuid, token_id uuid, device_id text,
    ip_address text, user_agent text, started_at_ms bigint, last_activity_ms bigint, reported_at_ms bigint, requests bigint,
    bytes_in bigint, bytes_out bigint, open_connections integer)";

/// Takes in what the edges counted, one row for each session and instance, of tokens that exist.
/// What is known already, or older than that, changes nothing. A session that only idleness ended
/// goes on if it was used since, or is still connected.
pub async fn record(tx: &Tx, figures: &[Figures]) -> Result<(), Error> {
    if figures.is_empty() {
        return Ok(());
    }
    let report = || Value::from(serde_json::to_string(figures).expect("figures have only texts and numbers"));
    let sessions = format!(
        "INSERT INTO proxy_sessions AS s
            (id, token_id, user_id, device_id, ip_address, user_agent, started_at, last_activity)
        SELECT DISTINCT ON (r.session_id) r.session_id, t.id, t.user_id, r.device_id, r.ip_address, r.user_agent,
            to_timestamp(min(r.started_at_ms) OVER every / 1000.0), to_timestamp(max(r.last_activity_ms) OVER every / 1000.0)
        FROM {REPORT} JOIN access_tokens t ON t.id = r.token_id
        WINDOW every AS (PARTITION BY r.session_id)
        ORDER BY r.session_id, r.started_at_ms
        ON CONFLICT (id) DO UPDATE SET started_at = least(s.started_at, excluded.started_at),
            last_activity = greatest(s.last_activity, excluded.last_activity)"
    );
    tx.execute_raw(sql(&sessions, [report()])).await?;
    let counted = format!(
        "INSERT INTO proxy_session_figures AS f
            (session_id, instance_id, requests, bytes_in, bytes_out, last_activity, reported_at, open_connections)
        SELECT r.session_id, r.instance_id, r.requests, r.bytes_in, r.bytes_out, to_timestamp(r.last_activity_ms / 1000.0),
            to_timestamp(r.reported_at_ms / 1000.0), r.open_connections
        FROM {REPORT} JOIN access_tokens t ON t.id = r.token_id
        ORDER BY r.session_id, r.instance_id
        ON CONFLICT (session_id, instance_id) DO UPDATE SET requests = greatest(f.requests, excluded.requests),
            bytes_in = greatest(f.bytes_in, excluded.bytes_in), bytes_out = greatest(f.bytes_out, excluded.bytes_out),
            last_activity = greatest(f.last_activity, excluded.last_activity),
            reported_at = excluded.reported_at, open_connections = excluded.open_connections
        WHERE excluded.reported_at > f.reported_at
        RETURNING session_id, open_connections > 0"
    );
    let rows = tx.query_all_raw(sql(&counted, [report()])).await?;
    let told = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    let told: Vec<(Uuid, bool)> = rows.iter().map(told).collect::<Result<_, Error>>()?;
    let connected: Vec<Uuid> = told.iter().filter(|(_, is_open)| *is_open).map(|(id, _)| *id).collect();
    let told: Vec<Uuid> = told.into_iter().map(|(id, _)| id).collect();
    let reopen = "UPDATE proxy_sessions SET ended_at = NULL
        WHERE id = ANY($1) AND NOT ended_by_administrator AND (last_activity > ended_at OR ended_at IS NOT NULL AND id = ANY($2))";
    tx.execute_raw(sql(reopen, [told.into(), connected.into()])).await.map(drop)
}

/// Ends sessions that have been idle since before `idle_since` and have no connection open at an
/// edge that has reported since `reported_since`; how many. Those that a report is being taken in
/// for wait for the next round.
pub async fn end_idle(
    tx: &Tx,
    idle_since: DateTime<Utc>,
    reported_since: DateTime<Utc>,
    limit: u64,
) -> Result<u64, Error> {
    let query = "UPDATE proxy_sessions SET ended_at = last_activity WHERE id IN (
        SELECT id FROM proxy_sessions s WHERE ended_at IS NULL AND last_activity < $1
            AND NOT EXISTS (SELECT FROM proxy_session_figures f
                WHERE f.session_id = s.id AND f.open_connections > 0 AND f.reported_at >= $2)
        ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = [idle_since.into(), reported_since.into(), limit.into()];
    Ok(tx.execute_raw(sql(query, values)).await?.rows_affected())
}

/// How long the edges may be silent about a session's connections before those count as closed,
/// given how long a lease is.
pub fn silence(lease: Duration) -> Duration {
    lease.saturating_mul(3).min(Duration::from_secs(180))
}
