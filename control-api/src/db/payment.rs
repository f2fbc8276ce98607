//! The table `payments`: what users pay for credits. The database refuses a payment that comes back
//! from its end, and one that has succeeded without its line in the ledger.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{QuerySelect, entity::prelude::*};

use super::{Connection, Error, Tx, as_bigint, count_listed, sql};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    /// Also the key by which asking the provider to make it can be repeated.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub provider: String,
    /// What the provider calls it; `None` until it has answered.
    pub provider_payment_id: Option<String>,
    /// Where it is paid; there as soon as the provider's name for it is.
    pub confirmation_url: Option<String>,
    pub status: String,
    pub amount_znc: Decimal,
    pub amount_rub: Decimal,
    /// Where the provider sends the payer afterwards; a payment that nobody is sent away for has
    /// none.
    pub return_url: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// From when on it counts as expired if the provider says that it will not be paid.
    pub expires_at: DateTime<Utc>,
    pub settled_at: Option<DateTime<Utc>>,
    pub check_after: DateTime<Utc>,
    pub checks: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn is_pending(&self) -> bool {
        self.status == "pending"
    }
}

/// How a payment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// The provider says that it will not be paid.
    Canceled,
    /// The same, after its time.
    Expired,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

/// A payment to ask for.
pub struct NewPayment<'a> {
    pub id: Uuid,
    pub user_id: Uuid,
    pub provider: &'a str,
    pub amount_znc: Decimal,
    pub amount_rub: Decimal,
    pub return_url: Option<&'a str>,
    pub expires_at: DateTime<Utc>,
}

/// How long the process that asks for a payment waits for it before others ask too, in seconds.
const FIRST_CHECK_SECONDS: i32 = 60;
/// How long the provider is left alone after the first question, doubled with each, and at most, in
/// seconds.
const CHECK_AGAIN_SECONDS: i32 = 30;
const CHECK_AGAIN_SECONDS_MAX: i32 = 3_600;

pub async fn insert(tx: &Tx, payment: &NewPayment<'_>) -> Result<Model, Error> {
    let query = "INSERT INTO payments
            (id, user_id, provider, amount_znc, amount_rub, return_url, expires_at, check_after)
        VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) RETURNING *";
    let values = [
        payment.id.into(),
        payment.user_id.into(),
        payment.provider.into(),
        payment.amount_znc.into(),
        payment.amount_rub.into(),
        payment.return_url.into(),
        payment.expires_at.into(),
        FIRST_CHECK_SECONDS.into(),
    ];
    let inserted = Entity::find().from_raw_sql(sql(query, values)).one(tx).await?;
    inserted.ok_or_else(|| Error::RecordNotFound("payments".to_owned()))
}

/// Which payments a list shows.
#[derive(Default)]
pub struct Filter {
    pub user_id: Option<Uuid>,
    pub status: Option<String>,
}

/// A page of payments, newest first, and how many there are in all.
pub async fn list(db: &impl Connection, filter: &Filter, limit: u64, offset: u64) -> Result<(Vec<Model>, u64), Error> {
    const LISTED: &str = "($1::uuid IS NULL OR user_id = $1) AND ($2::text IS NULL OR status = $2)";
    let of = || [filter.user_id.into(), filter.status.clone().into()];
    let total = count_listed(db, &format!("payments WHERE {LISTED}"), of()).await?;
    let query = format!("SELECT * FROM payments WHERE {LISTED} ORDER BY id DESC LIMIT $3 OFFSET $4");
    let [user_id, status] = of();
    let values = [user_id, status, as_bigint(limit).into(), as_bigint(offset).into()];
    Ok((Entity::find().from_raw_sql(sql(&query, values)).all(db).await?, total))
}

pub async fn find(db: &impl Connection, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).one(db).await
}

/// The payment that a user comes back from by an address that holds this order.
pub async fn find_of_order(db: &impl Connection, user_id: Uuid, order: Uuid) -> Result<Option<Model>, Error> {
    let of_user = Entity::find().filter(Column::UserId.eq(user_id));
    of_user.filter(Column::ReturnUrl.contains(format!("?order={order}"))).order_by_id_desc().one(db).await
}

/// The payment that a provider calls so.
pub async fn find_of_provider(
    db: &impl Connection,
    provider: &str,
    provider_payment_id: &str,
) -> Result<Option<Model>, Error> {
    let of_provider = Entity::find().filter(Column::Provider.eq(provider));
    of_provider.filter(Column::ProviderPaymentId.eq(provider_payment_id)).one(db).await
}

/// Locks the payment until the transaction ends; after its user.
pub async fn find_for_update(tx: &Tx, id: Uuid) -> Result<Option<Model>, Error> {
    Entity::find_by_id(id).lock_exclusive().one(tx).await
}

/// Notes what the provider calls a payment and where it is paid, unless that was noted before.
pub async fn record_made(tx: &Tx, id: Uuid, provider_payment_id: &str, confirmation_url: &str) -> Result<(), Error> {
    let query = "UPDATE payments SET provider_payment_id = $2, confirmation_url = $3, updated_at = now()
        WHERE id = $1 AND provider_payment_id IS NULL AND status = 'pending'";
    tx.execute_raw(sql(query, [id.into(), provider_payment_id.into(), confirmation_url.into()])).await.map(drop)
}

/// Ends a payment that is pending.
pub async fn end(tx: &Tx, id: Uuid, end: End) -> Result<(), Error> {
    let query = "UPDATE payments SET status = $2, settled_at = now(), updated_at = now() WHERE id = $1";
    tx.execute_raw(sql(query, [id.into(), end.as_str().into()])).await.map(drop)
}

/// Takes pending payments of a provider that it is time to ask about, the longest due first. Nobody
/// else gets them before they are due again, later each time; so a process that takes them and dies
/// holds nothing up.
pub async fn take_due(tx: &Tx, provider: &str, limit: u64) -> Result<Vec<Model>, Error> {
    let query = "UPDATE payments SET checks = checks + 1,
            check_after = now() + make_interval(secs => least($3 * 2 ^ least(checks, 20), $4))
        WHERE id IN (SELECT id FROM payments WHERE status = 'pending' AND provider = $1 AND check_after <= now()
            ORDER BY check_after LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING *";
    let values = [provider.into(), as_bigint(limit).into(), CHECK_AGAIN_SECONDS.into(), CHECK_AGAIN_SECONDS_MAX.into()];
    Entity::find().from_raw_sql(sql(query, values)).all(tx).await
}
