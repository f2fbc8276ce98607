//! The table `bundles`: several tokens that are sold at once for less.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{QuerySelect, entity::prelude::*};

use super::{Connection, Error, Tx, sql};

/// The most bundles that are listed; the list does not page.
const LISTED_MAX: i64 = 1_000;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "bundles")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub token_count: i32,
    /// Of each token.
    pub duration_hours: i32,
    pub scope: String,
    /// Off what the tokens cost one by one.
    pub discount_percent: Decimal,
    /// Whether it is sold.
    pub is_active: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A bundle to create.
pub struct NewBundle {
    pub name: String,
    pub description: Option<String>,
    pub token_count: i32,
    pub duration_hours: i32,
    pub scope: String,
    pub discount_percent: Decimal,
}

/// What a bundle is changed to; `None` leaves a field as it is.
#[derive(Default)]
pub struct Change {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub token_count: Option<i32>,
    pub duration_hours: Option<i32>,
    pub scope: Option<String>,
    pub discount_percent: Option<Decimal>,
    pub is_active: Option<bool>,
}

pub async fn find(db: &impl Connection, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).one(db).await
}

/// Locks a bundle until the transaction ends.
pub async fn find_for_update(tx: &Tx, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).lock_exclusive().one(tx).await
}

/// The bundles that are sold, or all, by name.
pub async fn list(db: &impl Connection, active_only: bool) -> Result<Vec<Model>, Error> {
    let query = "SELECT * FROM bundles WHERE is_active OR NOT $1 ORDER BY name LIMIT $2";
    Entity::find().from_raw_sql(sql(query, [active_only.into(), LISTED_MAX.into()])).all(db).await
}

/// Creates a bundle. Who is second to take a name violates `bundles_name_key`.
pub async fn insert(tx: &Tx, bundle: NewBundle) -> Result<Model, Error> {
    let query = "INSERT INTO bundles (id, name, description, token_count, duration_hours, scope, discount_percent)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *";
    let values = [
        Uuid::now_v7().into(),
        bundle.name.into(),
        bundle.description.into(),
        bundle.token_count.into(),
        bundle.duration_hours.into(),
        bundle.scope.into(),
        bundle.discount_percent.into(),
    ];
    returned(Entity::find().from_raw_sql(sql(query, values)).one(tx).await)
}

/// Changes a bundle that exists. Who is second to take a name violates `bundles_name_key`.
pub async fn update(tx: &Tx, id: Uuid, change: Change) -> Result<Model, Error> {
    let query = "UPDATE bundles SET
            name = coalesce($2, name),
            description = CASE WHEN $3 THEN $4 ELSE description END,
            token_count = coalesce($5, token_count),
            duration_hours = coalesce($6, duration_hours),
            scope = coalesce($7, scope),
            discount_percent = coalesce($8, discount_percent),
            is_active = coalesce($9, is_active),
            updated_at = now()
        WHERE id = $1 RETURNING *";
    let values = [
        id.into(),
        change.name.into(),
        change.description.is_some().into(),
        change.description.flatten().into(),
        change.token_count.into(),
        change.duration_hours.into(),
        change.scope.into(),
        change.discount_percent.into(),
        change.is_active.into(),
    ];
    returned(Entity::find().from_raw_sql(sql(query, values)).one(tx).await)
}

/// The row that a statement always returns.
fn returned(row: Result<Option<Model>, Error>) -> Result<Model, Error> {
    row?.ok_or_else(|| Error::RecordNotFound("bundles".to_owned()))
}
