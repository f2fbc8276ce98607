//! `/currency`: credits.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{
    Tag,
    error::ApiError,
    guard::CurrentUser,
    scalar::{Id, Limit, Offset, SignedZnc, Timestamp, TransactionType, Znc},
};
use crate::{App, db::transaction};

/// How many lines a page of the ledger has if nobody says.
const LINES: Limit = Limit(10);

pub struct Currency;

#[derive(Object)]
struct Balance {
    balance: Znc,
    /// Always `ZNC`.
    currency: String,
}

/// A line of the ledger.
#[derive(Object)]
struct Transaction {
    id: Id,
    /// In what direction it moved the balance.
    amount: SignedZnc,
    transaction_type: String,
    description: String,
    #[oai(nullable)]
    payment_id: Option<Id>,
    created_at: Timestamp,
}

impl From<transaction::Model> for Transaction {
    fn from(line: transaction::Model) -> Self {
        Self {
            id: Id(line.id),
            amount: SignedZnc(line.amount),
            transaction_type: line.kind,
            description: line.description,
            payment_id: None,
            created_at: Timestamp(line.created_at),
        }
    }
}

#[derive(Object)]
struct TransactionPage {
    items: Vec<Transaction>,
    total: u64,
    limit: u64,
    offset: u64,
}

#[OpenApi(prefix_path = "/api/v1/currency", tag = "Tag::Currency")]
impl Currency {
    /// What whoever calls can spend
    #[oai(path = "/balance", method = "get", operation_id = "get_balance")]
    async fn balance(&self, user: CurrentUser) -> Result<Json<Balance>, ApiError> {
        Ok(Json(Balance { balance: Znc(user.0.user.currency_balance), currency: "ZNC".to_owned() }))
    }

    /// The ledger of whoever calls, newest first
    #[oai(path = "/transactions", method = "get", operation_id = "list_transactions")]
    async fn transactions(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        /// 10 if absent
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        transaction_type: Query<Option<TransactionType>>,
    ) -> Result<Json<TransactionPage>, ApiError> {
        let (limit, offset) = (limit.0.unwrap_or(LINES).0, offset.0.unwrap_or_default().0);
        let kind = transaction_type.0.map(|kind| kind.0.as_str());
        let (lines, total) = transaction::list(&app.db, user.0.user.id, kind, limit, offset).await?;
        Ok(Json(TransactionPage { items: lines.into_iter().map(Transaction::from).collect(), total, limit, offset }))
    }
}
