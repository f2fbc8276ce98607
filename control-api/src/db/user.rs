//! The table `users`: accounts and their balances.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{FromQueryResult, QuerySelect, entity::prelude::*};
use shared::net::address::Networks;

use super::{Connection, Error, Tx, as_bigint, count_listed, sql};

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub email: String,
    pub username: String,
    pub password_hash: String,
    pub full_name: Option<String>,
    pub is_active: bool,
    pub is_superuser: bool,
    /// In ZNC.
    pub currency_balance: Decimal,
    pub referral_code: String,
    pub referred_by: Option<Uuid>,
    /// A JWT names the epoch that it was issued in; bumping it ends every JWT issued before.
    pub epoch: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The number of the ledger's last line.
    pub ledger_seq: i64,
    /// From where alone the user's tokens may be used; from everywhere, if empty.
    pub allowed_networks: Vec<String>,
    /// From where they may not be used, even if that is allowed.
    pub denied_networks: Vec<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Tells an account by its id alone, so that no log line can hold a password's hash.
impl fmt::Debug for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An account to create.
pub struct NewUser<'a> {
    pub email: &'a str,
    pub username: &'a str,
    pub password_hash: &'a str,
    pub full_name: Option<&'a str>,
    pub is_superuser: bool,
    pub referral_code: &'a str,
    pub referred_by: Option<Uuid>,
}

/// What an account is changed to; `None` leaves a field as it is.
#[derive(Default)]
pub struct Change {
    pub full_name: Option<Option<String>>,
    pub password_hash: Option<String>,
    pub is_active: Option<bool>,
    pub is_superuser: Option<bool>,
    pub allowed_networks: Option<Networks>,
    pub denied_networks: Option<Networks>,
    /// Ends every JWT issued before.
    pub bump_epoch: bool,
}

/// Which accounts a list shows.
#[derive(Default)]
pub struct Filter {
    /// A literal part of the e-mail or the username, compared without regard to case.
    pub search: Option<String>,
    pub is_active: Option<bool>,
}

/// What an account is called.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Named {
    pub id: Uuid,
    pub email: String,
    pub username: String,
}

pub async fn find_by_id(db: &impl Connection, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).one(db).await
}

/// Finds an account by its whole e-mail, without regard to case, or by its whole username.
pub async fn find_id_by_name(db: &impl Connection, name: &str) -> Result<Option<Uuid>, Error> {
    if let Some(user) = find_by_email(db, name).await? {
        return Ok(Some(user.id));
    }
    let row = db.query_one_raw(sql("SELECT id FROM users WHERE username = $1", [name.into()])).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// What these accounts are called.
pub async fn names(db: &impl Connection, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Named>, Error> {
    let query = "SELECT id, email, username FROM users WHERE id = ANY($1)";
    let named = Named::find_by_statement(sql(query, [ids.into()])).all(db).await?;
    Ok(named.into_iter().map(|named| (named.id, named)).collect())
}

/// Locks the account until the transaction ends.
pub async fn find_for_update(tx: &Tx, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).lock_exclusive().one(tx).await
}

/// Finds an account by its e-mail, without regard to case.
pub async fn find_by_email(db: &impl Connection, email: &str) -> Result<Option<Model>, Error> {
    let query = r#"SELECT * FROM users WHERE lower(email COLLATE "und-x-icu") = lower($1 COLLATE "und-x-icu")"#;
    Entity::find().from_raw_sql(sql(query, [email.into()])).one(db).await
}

pub async fn find_by_referral_code(db: &impl Connection, code: &str) -> Result<Option<Model>, Error> {
    Entity::find().filter(Column::ReferralCode.eq(code)).one(db).await
}

/// The account that a JWT names, if neither the account nor that JWT is gone. Whether it may still
/// be used is for the caller to judge by `is_active` and `epoch`.
pub async fn find_by_jwt(db: &impl Connection, id: Uuid, jti: Uuid) -> Result<Option<Model>, Error> {
    let query = "SELECT u.* FROM users u WHERE u.id = $1 AND NOT EXISTS (SELECT FROM ended_jwts WHERE jti = $2)";
    Entity::find().from_raw_sql(sql(query, [id.into(), jti.into()])).one(db).await
}

/// A page of accounts, newest first, and how many there are in all.
pub async fn list(db: &impl Connection, filter: &Filter, limit: u64, offset: u64) -> Result<(Vec<Model>, u64), Error> {
    const LISTED: &str = r#"($1::text IS NULL
            OR lower(email || chr(10) || username COLLATE "und-x-icu") LIKE lower($1 COLLATE "und-x-icu"))
        AND ($2::boolean IS NULL OR NOT $2 AND NOT is_active OR $2 AND is_active)"#;
    let search = filter.search.as_deref().map(containing);
    let of = || [search.clone().into(), filter.is_active.into()];
    let total = count_listed(db, &format!("users WHERE {LISTED}"), of()).await?;
    let query = format!("SELECT * FROM users WHERE {LISTED} ORDER BY id DESC LIMIT $3 OFFSET $4");
    let [search, is_active] = of();
    let values = [search, is_active, as_bigint(limit).into(), as_bigint(offset).into()];
    let items = Entity::find().from_raw_sql(sql(&query, values)).all(db).await?;
    Ok((items, total))
}

/// The `LIKE` pattern of texts that contain this one.
fn containing(text: &str) -> String {
    format!("%{}%", text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"))
}

/// Creates an account. Who is second to take an e-mail, a username or a referral code violates
/// `users_email_key`, `users_username_key` or `users_referral_code_key`.
pub async fn insert(tx: &Tx, user: &NewUser<'_>) -> Result<Model, Error> {
    let query =
        "INSERT INTO users (id, email, username, password_hash, full_name, is_superuser, referral_code, referred_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *";
    let values = [
        Uuid::now_v7().into(),
        user.email.into(),
        user.username.into(),
        user.password_hash.into(),
        user.full_name.into(),
        user.is_superuser.into(),
        user.referral_code.into(),
        user.referred_by.into(),
    ];
    returned(Entity::find().from_raw_sql(sql(query, values)).one(tx).await)
}

/// Changes an account that exists.
pub async fn update(tx: &Tx, id: Uuid, change: Change) -> Result<Model, Error> {
    let query = "UPDATE users SET
            full_name = CASE WHEN $2 THEN $3 ELSE full_name END,
            password_hash = coalesce($4, password_hash),
            is_active = coalesce($5, is_active),
            is_superuser = coalesce($6, is_superuser),
            epoch = epoch + CASE WHEN $7 THEN 1 ELSE 0 END,
            allowed_networks = coalesce($8, allowed_networks),
            denied_networks = coalesce($9, denied_networks),
            updated_at = now()
        WHERE id = $1 RETURNING *";
    let values = [
        id.into(),
        change.full_name.is_some().into(),
        change.full_name.flatten().into(),
        change.password_hash.into(),
        change.is_active.into(),
        change.is_superuser.into(),
        change.bump_epoch.into(),
        change.allowed_networks.map(Vec::from).into(),
        change.denied_networks.map(Vec::from).into(),
    ];
    returned(Entity::find().from_raw_sql(sql(query, values)).one(tx).await)
}

/// Locks every active superuser, in the order of their ids, and tells who they are. Two
/// transactions that each take one away so see each other.
pub async fn lock_active_superusers(tx: &Tx) -> Result<Vec<Uuid>, Error> {
    let query = "SELECT id FROM users WHERE is_superuser AND is_active ORDER BY id FOR UPDATE";
    tx.query_all_raw(sql(query, [])).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Where a balance came to, and the number of the ledger's line that tells of it.
pub struct Moved {
    pub balance: Decimal,
    pub ledger_seq: i64,
}

/// Moves the balance by `change` ZNC, up or down, and counts a line of the ledger, which must be
/// written in the same transaction; `None` if the balance would be less than nothing, or more than
/// it can be.
pub async fn move_balance(tx: &Tx, id: Uuid, change: Decimal) -> Result<Option<Moved>, Error> {
    let query = "UPDATE users SET currency_balance = currency_balance + $2, ledger_seq = ledger_seq + 1
        WHERE id = $1 AND currency_balance + $2 BETWEEN 0 AND 9999999999.99 RETURNING currency_balance, ledger_seq";
    let row = tx.query_one_raw(sql(query, [id.into(), change.into()])).await?;
    row.map(|row| Ok(Moved { balance: row.try_get_by_index(0)?, ledger_seq: row.try_get_by_index(1)? })).transpose()
}

/// The row that a statement always returns.
fn returned<T>(row: Result<Option<T>, Error>) -> Result<T, Error> {
    row?.ok_or_else(|| Error::RecordNotFound("users".to_owned()))
}
