//! The table `access_tokens`: what people bought, and how it stands.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{FromQueryResult, QueryResult, Statement, entity::prelude::*};
use serde::{Deserialize, Serialize};
use shared::{
    net::address::{AddressFilter, NetworkPolicy},
    redis::replies::CutReason,
};

use super::{Connection, Error, Tx, address_filter, as_bigint, count_listed, referral, sql};

use crate::config::TokenHour;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DeriveEntityModel)]
#[sea_orm(table_name = "access_tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub token_prefix: String,
    pub scope: String,
    pub duration_hours: i32,
    /// What was paid for it in all, in ZNC.
    pub cost: Decimal,
    /// Bumped by every change that an edge must know.
    pub version: i64,
    /// Only credentials of this generation open anything.
    pub credential_gen: i64,
    /// By Redis' clock.
    pub activated_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// Stands while a refund is being settled.
    pub refund_requested_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// Counts the cuts of what is open.
    pub cut_gen: i64,
    /// Why the last one was: the code of a WebSocket's close frame.
    pub cut_code: Option<i32>,
    /// Whom it met; `None` for every device.
    pub cut_device: Option<String>,
    /// From where alone it may be used; from everywhere, if empty. Absent in what was kept before
    /// there were lists.
    #[serde(default)]
    pub allowed_networks: Vec<String>,
    /// From where it may not be used, even if that is allowed.
    #[serde(default)]
    pub denied_networks: Vec<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// How long it lasts from its activation.
    pub fn duration(&self, hour: TokenHour) -> chrono::Duration {
        hour.times(self.duration_hours)
    }

    /// When its time is over; `None` before its activation.
    pub fn expires_at(&self, hour: TokenHour) -> Option<DateTime<Utc>> {
        self.activated_at.map(|activated| activated + self.duration(hour))
    }
}

/// A token with whom it belongs to, as lists read it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Owned {
    #[sea_orm(nested)]
    pub token: Model,
    pub user_email: String,
    pub user_username: String,
    pub user_is_active: bool,
    pub user_allowed_networks: Vec<String>,
    pub user_denied_networks: Vec<String>,
}

impl Owned {
    /// From where the token may be used.
    pub fn network_policy(&self) -> Result<NetworkPolicy, Error> {
        let Self { token, user_allowed_networks, user_denied_networks, .. } = self;
        Ok(NetworkPolicy {
            user: address_filter(user_allowed_networks, user_denied_networks)?,
            token: address_filter(&token.allowed_networks, &token.denied_networks)?,
        })
    }
}

/// What an edge must know of a token. Nothing else is read where there may be a million, and none
/// of it by its column's name.
#[derive(Clone, Debug)]
pub struct Publishable {
    pub id: Uuid,
    pub user_id: Uuid,
    pub scope: String,
    pub duration_hours: i32,
    pub version: i64,
    pub credential_gen: i64,
    pub activated_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub refund_requested_at: Option<DateTime<Utc>>,
    pub cut_gen: i64,
    pub cut_code: Option<i32>,
    pub cut_device: Option<String>,
    pub user_is_active: bool,
    /// From where it may be used; `None` for everywhere.
    network_policy: Option<Json>,
}

impl Publishable {
    /// As [`PUBLISHED`] has the columns.
    fn read(row: &QueryResult) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get_by_index(0)?,
            user_id: row.try_get_by_index(1)?,
            scope: row.try_get_by_index(2)?,
            duration_hours: row.try_get_by_index(3)?,
            version: row.try_get_by_index(4)?,
            credential_gen: row.try_get_by_index(5)?,
            activated_at: row.try_get_by_index(6)?,
            revoked_at: row.try_get_by_index(7)?,
            refund_requested_at: row.try_get_by_index(8)?,
            cut_gen: row.try_get_by_index(9)?,
            cut_code: row.try_get_by_index(10)?,
            cut_device: row.try_get_by_index(11)?,
            user_is_active: row.try_get_by_index(12)?,
            network_policy: row.try_get_by_index(13)?,
        })
    }

    /// When its time is over; `None` before its activation.
    pub fn expires_at(&self, hour: TokenHour) -> Option<DateTime<Utc>> {
        self.activated_at.map(|activated| activated + hour.times(self.duration_hours))
    }

    /// From where the token may be used.
    pub fn network_policy(&self) -> Result<NetworkPolicy, Error> {
        let Some(network_policy) = &self.network_policy else { return Ok(NetworkPolicy::default()) };
        NetworkPolicy::deserialize(network_policy).map_err(|error| Error::Type(error.to_string()))
    }
}

/// Which tokens a list shows.
pub struct Filter {
    pub user_id: Option<Uuid>,
    /// Hides what is revoked, or expired at this time.
    pub live_at: Option<DateTime<Utc>>,
}

const OWNED: &str = "SELECT t.*, u.email AS user_email, u.username AS user_username, u.is_active AS user_is_active,
        u.allowed_networks AS user_allowed_networks, u.denied_networks AS user_denied_networks
    FROM access_tokens t JOIN users u ON u.id = t.user_id";

/// The columns of a [`Publishable`], in its order; the last as a `NetworkPolicy` is written.
const PUBLISHED: &str =
    "SELECT t.id, t.user_id, t.scope, t.duration_hours, t.version, t.credential_gen, t.activated_at,
        t.revoked_at, t.refund_requested_at, t.cut_gen, t.cut_code, t.cut_device, u.is_active,
        CASE WHEN cardinality(t.allowed_networks) + cardinality(t.denied_networks)
                + cardinality(u.allowed_networks) + cardinality(u.denied_networks) > 0
            THEN jsonb_build_object(
                'user', jsonb_build_object('allowed', u.allowed_networks, 'denied', u.denied_networks),
                'token', jsonb_build_object('allowed', t.allowed_networks, 'denied', t.denied_networks)) END
    FROM access_tokens t JOIN users u ON u.id = t.user_id";

/// The last condition follows from the one before where an hour is one or less, and there is an
/// index for it.
const LISTED: &str = "($1::uuid IS NULL OR t.user_id = $1) AND ($2::timestamptz IS NULL
    OR t.revoked_at IS NULL
        AND (t.activated_at IS NULL OR t.activated_at + t.duration_hours * make_interval(secs => $3) > $2)
        AND ($3 > 3600 OR t.time_up_at IS NULL OR t.time_up_at > $2 AT TIME ZONE 'UTC'))";

pub async fn find(db: &impl Connection, id: Uuid) -> Result<Option<Owned>, Error> {
    Owned::find_by_statement(sql(&format!("{OWNED} WHERE t.id = $1"), [id.into()])).one(db).await
}

/// How the texts of these tokens begin.
pub async fn prefixes(db: &impl Connection, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, Error> {
    let query = "SELECT id, token_prefix FROM access_tokens WHERE id = ANY($1)";
    let rows = db.query_all_raw(sql(query, [ids.to_vec().into()])).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Locks a token until the transaction ends.
pub async fn find_for_update(tx: &Tx, id: Uuid) -> Result<Option<Model>, Error> {
    by(tx, "SELECT * FROM access_tokens WHERE id = $1 FOR UPDATE", [id.into()]).await
}

/// Locks a token of this user until the transaction ends.
pub async fn find_of_user_for_update(tx: &Tx, user_id: Uuid, id: Uuid) -> Result<Option<Model>, Error> {
    by(tx, "SELECT * FROM access_tokens WHERE id = $2 AND user_id = $1 FOR UPDATE", [user_id.into(), id.into()]).await
}

/// Tokens by id, in its order; those that do not exist are left out.
pub async fn list_by_ids(db: &impl Connection, ids: &[Uuid]) -> Result<Vec<Publishable>, Error> {
    let query = format!("{PUBLISHED} WHERE t.id = ANY($1) ORDER BY t.id");
    publishable(db, sql(&query, [ids.to_vec().into()])).await
}

/// A page of tokens, newest first, and how many there are in all.
pub async fn list(
    db: &impl Connection,
    hour: TokenHour,
    filter: &Filter,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Owned>, u64), Error> {
    let (user_id, live_at) = (Value::from(filter.user_id), Value::from(filter.live_at));
    let listed = format!("access_tokens t WHERE {LISTED}");
    let total = count_listed(db, &listed, [user_id.clone(), live_at.clone(), hour.seconds().into()]).await?;
    let query = format!("{OWNED} WHERE {LISTED} ORDER BY t.id DESC LIMIT $4 OFFSET $5");
    let values = [user_id, live_at, hour.seconds().into(), as_bigint(limit).into(), as_bigint(offset).into()];
    let items = Owned::find_by_statement(sql(&query, values)).all(db).await?;
    Ok((items, total))
}

/// What Redis must know of the tokens `t`: those that still work or may work again, and those that
/// ended a tombstone's time ago at most. Parameters: the seconds of an hour ($1) and of a tombstone
/// ($2).
pub const PUBLISHABLE: &str = "(t.revoked_at IS NULL OR t.revoked_at > now() - make_interval(secs => $2))
    AND (t.activated_at IS NULL
        OR t.activated_at + t.duration_hours * make_interval(secs => $1) > now() - make_interval(secs => $2))";

/// A page of the tokens that Redis must know, in the order of their ids.
pub async fn list_publishable(
    db: &impl Connection,
    hour: TokenHour,
    tombstone: Duration,
    after: Uuid,
    limit: u64,
) -> Result<Vec<Publishable>, Error> {
    let query = format!("{PUBLISHED} WHERE {PUBLISHABLE} AND t.id > $3 ORDER BY t.id LIMIT $4");
    let values = [hour.seconds().into(), tombstone.as_secs_f64().into(), after.into(), as_bigint(limit).into()];
    publishable(db, sql(&query, values)).await
}

async fn publishable(db: &impl Connection, query: Statement) -> Result<Vec<Publishable>, Error> {
    db.query_all_raw(query).await?.iter().map(Publishable::read).collect()
}

/// Which of these tokens Redis must know.
pub async fn filter_publishable(
    db: &impl Connection,
    hour: TokenHour,
    tombstone: Duration,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    let query = format!("SELECT t.id FROM access_tokens t WHERE {PUBLISHABLE} AND t.id = ANY($3)");
    let values = [hour.seconds().into(), tombstone.as_secs_f64().into(), ids.to_vec().into()];
    let rows = db.query_all_raw(sql(&query, values)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Tokens whose refund was asked for before then and is not settled yet.
pub async fn list_unsettled(db: &impl Connection, before: DateTime<Utc>, limit: u64) -> Result<Vec<Uuid>, Error> {
    let query = "SELECT id FROM access_tokens WHERE refund_requested_at < $1 ORDER BY refund_requested_at LIMIT $2";
    let rows = db.query_all_raw(sql(query, [before.into(), as_bigint(limit).into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Keeps these tokens, in the order of their ids, from being locked by others until the transaction
/// ends; those that exist.
pub async fn keep(tx: &Tx, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let query = "SELECT id FROM access_tokens WHERE id = ANY($1) ORDER BY id FOR KEY SHARE";
    let rows = tx.query_all_raw(sql(query, [ids.to_vec().into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Creates a token, never used.
pub async fn insert(
    tx: &Tx,
    id: Uuid,
    user_id: Uuid,
    token_prefix: &str,
    scope: &str,
    duration_hours: i32,
    cost: Decimal,
) -> Result<Model, Error> {
    let query = "INSERT INTO access_tokens (id, user_id, token_prefix, scope, duration_hours, cost)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING *";
    let values = [id.into(), user_id.into(), token_prefix.into(), scope.into(), duration_hours.into(), cost.into()];
    returned(by(tx, query, values).await)
}

/// Whether a user ever bought a token that is none of these.
pub async fn has_others(tx: &Tx, user_id: Uuid, ids: &[Uuid]) -> Result<bool, Error> {
    let query = "SELECT EXISTS (SELECT FROM access_tokens WHERE user_id = $1 AND id <> ALL($2))";
    let row = tx.query_one_raw(sql(query, [user_id.into(), ids.to_vec().into()])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// Ends a token, whatever was asked for it before.
pub async fn revoke(tx: &Tx, id: Uuid) -> Result<Model, Error> {
    let query = "UPDATE access_tokens SET revoked_at = now(), refund_requested_at = NULL, version = version + 1
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into()]).await)
}

/// Gives a token more hours, and adds what they cost.
pub async fn extend(tx: &Tx, id: Uuid, duration_hours: i32, cost: Decimal) -> Result<Model, Error> {
    let query = "UPDATE access_tokens SET duration_hours = duration_hours + $2, cost = cost + $3, version = version + 1
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into(), duration_hours.into(), cost.into()]).await)
}

/// Starts a new generation of credentials, whose text begins so; those of older generations open
/// nothing any more.
pub async fn rotate(tx: &Tx, id: Uuid, token_prefix: &str) -> Result<Model, Error> {
    let query = "UPDATE access_tokens
        SET credential_gen = credential_gen + 1, token_prefix = $2, version = version + 1
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into(), token_prefix.into()]).await)
}

/// Cuts what is open on a token, for this reason: on one device, or on every one.
pub async fn cut(tx: &Tx, id: Uuid, reason: CutReason, device: Option<&str>) -> Result<Model, Error> {
    let query = "UPDATE access_tokens SET cut_gen = cut_gen + 1, cut_code = $2, cut_device = $3, version = version + 1
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into(), i32::from(reason.code()).into(), device.map(str::to_owned).into()]).await)
}

/// Sets from where a token may be used.
pub async fn restrict(tx: &Tx, id: Uuid, to: &AddressFilter) -> Result<Model, Error> {
    let query = "UPDATE access_tokens SET allowed_networks = $2, denied_networks = $3, version = version + 1
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into(), to.allowed.texts().into(), to.denied.texts().into()]).await)
}

/// Notes that a refund is asked for. A request that stands already stays as it is, version and all.
pub async fn request_refund(tx: &Tx, id: Uuid) -> Result<Model, Error> {
    let query = "UPDATE access_tokens SET refund_requested_at = coalesce(refund_requested_at, now()),
            version = version + CASE WHEN refund_requested_at IS NULL THEN 1 ELSE 0 END
        WHERE id = $1 RETURNING *";
    returned(by(tx, query, [id.into()]).await)
}

/// Takes a refund's request back; `None` if none stands.
pub async fn clear_refund_request(tx: &Tx, id: Uuid) -> Result<Option<Model>, Error> {
    let query = "UPDATE access_tokens SET refund_requested_at = NULL, version = version + 1
        WHERE id = $1 AND refund_requested_at IS NOT NULL RETURNING *";
    by(tx, query, [id.into()]).await
}

/// Records an activation if it is the earliest one told, and ends a request for a refund with it;
/// `None` if it changes nothing. What others get for it is due from then.
pub async fn record_activation(tx: &Tx, id: Uuid, at: DateTime<Utc>) -> Result<Option<Model>, Error> {
    let query = "UPDATE access_tokens SET activated_at = $2, refund_requested_at = NULL, version = version + 1
        WHERE id = $1 AND (activated_at IS NULL OR activated_at > $2) RETURNING *";
    let recorded = by(tx, query, [id.into(), at.into()]).await?;
    if recorded.is_some() {
        referral::make_due(tx, id).await?;
    }
    Ok(recorded)
}

/// Makes every token of a user that has not ended be published anew, because the user's own state
/// changed. They are locked in the order of their ids, as everywhere that several are.
pub async fn touch_of_user(tx: &Tx, hour: TokenHour, user_id: Uuid) -> Result<Vec<Uuid>, Error> {
    let lock = "SELECT id FROM access_tokens WHERE user_id = $1 AND revoked_at IS NULL
            AND (activated_at IS NULL OR activated_at + duration_hours * make_interval(secs => $2) > now())
        ORDER BY id FOR UPDATE";
    let rows = tx.query_all_raw(sql(lock, [user_id.into(), hour.seconds().into()])).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    let touch = "UPDATE access_tokens SET version = version + 1 WHERE id = ANY($1)";
    tx.execute_raw(sql(touch, [ids.clone().into()])).await?;
    Ok(ids)
}

async fn by<const N: usize>(db: &impl Connection, query: &str, values: [Value; N]) -> Result<Option<Model>, Error> {
    Entity::find().from_raw_sql(sql(query, values)).one(db).await
}

/// The row that a statement always returns.
fn returned(row: Result<Option<Model>, Error>) -> Result<Model, Error> {
    row?.ok_or_else(|| Error::RecordNotFound("access_tokens".to_owned()))
}
