//! The table `outbox`: which tokens changed since Redis was last told.

use sea_orm::ConnectionTrait;
use shared::process::trace::Span;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::{Connection, Error, Tx, sql};

/// The channel that the table's trigger notifies.
const CHANNEL: &str = "outbox";

/// A row that this transaction holds.
pub struct Row {
    pub id: i64,
    pub token_id: Uuid,
    /// Where in a trace the request stands that changed it.
    pub traceparent: Option<String>,
}

/// Notes, in the caller's transaction, that tokens changed, and by which request.
pub async fn insert(tx: &Tx, token_ids: &[Uuid], traceparent: Option<String>) -> Result<(), Error> {
    let query = "INSERT INTO outbox (token_id, traceparent) SELECT unnest($1::uuid[]), $2";
    tx.execute_raw(sql(query, [token_ids.to_vec().into(), traceparent.into()])).await.map(drop)
}

/// Takes the oldest rows that no other relay holds. The pick stands in a materialised expression,
/// for without it the planner may run it again and lock more than the limit.
pub async fn take(tx: &Tx, limit: i64) -> Result<Vec<Row>, Error> {
    let query = "WITH picked AS MATERIALIZED (SELECT * FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
        SELECT id, token_id, traceparent FROM picked ORDER BY id";
    rows(tx, query, [limit.into()]).await
}

/// Takes the rows of these tokens, waiting for a relay that holds them: none are left if that relay
/// delivered them.
pub async fn take_of_tokens(tx: &Tx, token_ids: &[Uuid]) -> Result<Vec<Row>, Error> {
    let query = "SELECT id, token_id, traceparent FROM outbox WHERE token_id = ANY($1) ORDER BY id FOR UPDATE";
    rows(tx, query, [token_ids.to_vec().into()]).await
}

/// Deletes rows whose tokens were published.
pub async fn delete(tx: &Tx, rows: &[Row]) -> Result<(), Error> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    tx.execute_raw(sql("DELETE FROM outbox WHERE id = ANY($1)", [ids.into()])).await.map(drop)
}

/// How many rows wait, and for how many seconds the oldest has.
pub async fn backlog(db: &impl Connection) -> Result<(i64, f64), Error> {
    let query =
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM outbox";
    match db.query_one_raw(sql(query, [])).await? {
        Some(row) => Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)),
        None => Ok((0, 0.0)),
    }
}

async fn rows<const N: usize>(tx: &Tx, query: &str, values: [sea_orm::Value; N]) -> Result<Vec<Row>, Error> {
    let rows = tx.query_all_raw(sql(query, values)).await?;
    let read = |row: &sea_orm::QueryResult| {
        let (id, token_id, traceparent) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        Ok(Row { id, token_id, traceparent })
    };
    rows.iter().map(read).collect()
}

/// Hears when rows are added, on a connection of its own. What is said while that connection is
/// being remade is lost, so a listener must poll as well.
pub struct Listener(PgListener);

impl Listener {
    pub async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Returns once rows were added, or may have been.
    pub async fn heard(&mut self) -> Result<(), sqlx::Error> {
        self.0.try_recv().await.map(drop)
    }
}

/// Notes, in the transaction that changes them, that these tokens must be published.
pub async fn push(tx: &Tx, token_ids: &[Uuid]) -> Result<(), Error> {
    if token_ids.is_empty() {
        return Ok(());
    }
    insert(tx, token_ids, Span::current().traceparent()).await
}
