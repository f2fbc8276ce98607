//! The table `transactions`: the ledger, append-only. The database refuses a line that does not go
//! on from the one before, and a balance that is not the last line's.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{FromQueryResult, entity::prelude::*};

use super::{Connection, Error, Tx, as_bigint, count_listed, sql};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "transactions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    /// The number of the line in its user's ledger, from 1.
    pub seq: i64,
    /// ZNC, in what direction it moved the balance.
    pub amount: Decimal,
    pub balance_after: Decimal,
    #[sea_orm(column_name = "type")]
    pub kind: String,
    pub description: String,
    pub token_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub bundle_id: Option<Uuid>,
    pub payment_id: Option<Uuid>,
    /// What the description says, as kind and figures; none in old lines.
    pub details: Option<Json>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A line to write.
pub struct NewLine<'a> {
    pub user_id: Uuid,
    pub seq: i64,
    pub amount: Decimal,
    pub balance_after: Decimal,
    pub kind: &'a str,
    pub description: &'a str,
    pub details: Json,
    pub token_id: Option<Uuid>,
    pub bundle_id: Option<Uuid>,
    pub payment_id: Option<Uuid>,
}

pub async fn insert(tx: &Tx, line: &NewLine<'_>) -> Result<Uuid, Error> {
    let query =
        "INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description, token_id, bundle_id,
        payment_id, details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let id = Uuid::now_v7();
    let values = [
        id.into(),
        line.user_id.into(),
        line.seq.into(),
        line.amount.into(),
        line.balance_after.into(),
        line.kind.into(),
        line.description.into(),
        line.token_id.into(),
        line.bundle_id.into(),
        line.payment_id.into(),
        line.details.clone().into(),
    ];
    tx.execute_raw(sql(query, values)).await?;
    Ok(id)
}

/// A page of a user's lines, newest first, and how many there are in all; of one type, or of every
/// one.
pub async fn list(
    db: &impl Connection,
    user_id: Uuid,
    kind: Option<&str>,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Model>, u64), Error> {
    const LISTED: &str = "user_id = $1 AND ($2::text IS NULL OR type = $2)";
    let total = count_listed(db, &format!("transactions WHERE {LISTED}"), [user_id.into(), kind.into()]).await?;
    let query = format!("SELECT * FROM transactions WHERE {LISTED} ORDER BY seq DESC LIMIT $3 OFFSET $4");
    let values = [user_id.into(), kind.into(), as_bigint(limit).into(), as_bigint(offset).into()];
    let lines = Entity::find().from_raw_sql(sql(&query, values)).all(db).await?;
    Ok((lines, total))
}

/// A user whose balance and ledger part, or whose ledger is broken in itself.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Difference {
    pub user_id: Uuid,
    pub balance: Decimal,
    /// The sum of the ledger's lines.
    pub ledger: Decimal,
    pub lines: i64,
}

/// Checks the users after this one, in the order of their ids, each line of each: how many there
/// were, the last of them, and those that differ.
pub async fn differences(
    db: &impl Connection,
    after: Uuid,
    limit: u64,
) -> Result<(u64, Option<Uuid>, Vec<Difference>), Error> {
    let query = "SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = db.query_all_raw(sql(query, [after.into(), as_bigint(limit).into()])).await?;
    let checked: Vec<Uuid> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    let query = "WITH lines AS (
            SELECT user_id, seq, amount, balance_after,
                sum(amount) OVER ledger AS running, row_number() OVER ledger AS number
            FROM transactions WHERE user_id = ANY($1) WINDOW ledger AS (PARTITION BY user_id ORDER BY seq)
        ), ledgers AS (
            SELECT user_id, sum(amount) AS total, count(*) AS lines, max(seq) AS last,
                bool_and(running = balance_after AND number = seq AND running >= 0) AS holds
            FROM lines GROUP BY user_id
        )
        SELECT u.id AS user_id, u.currency_balance AS balance, coalesce(l.total, 0) AS ledger,
            coalesce(l.lines, 0) AS lines
        FROM users u LEFT JOIN ledgers l ON l.user_id = u.id
        WHERE u.id = ANY($1) AND (u.currency_balance <> coalesce(l.total, 0) OR u.ledger_seq <> coalesce(l.last, 0)
            OR NOT coalesce(l.holds, true))
        ORDER BY u.id";
    let differing = Difference::find_by_statement(sql(query, [checked.clone().into()])).all(db).await?;
    Ok((checked.len() as u64, checked.last().copied(), differing))
}
