//! `/currency`: credits.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Query},
    payload::Json,
};
use serde_json::json;

use super::{
    auth_guard::CurrentUser,
    body::{Body, body},
    tag::Tag,
};
use crate::{
    app::App,
    db::transaction,
    domain::{
        Error,
        idempotency::Idempotent,
        payments::{self, Payments},
    },
    http::error::{ApiError, FieldError},
    input::{Id, IdempotencyKey, Limit, Offset, ReturnUrl, SignedZnc, Timestamp, TopUp, TransactionType, Znc, znc},
    payments::Provider,
};

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
            payment_id: line.payment_id.map(Id),
            created_at: Timestamp(line.created_at),
        }
    }
}

#[derive(Object)]
struct TransactionPage {
    items: Vec<Transaction>,
    /// 10 000 stands for that many or more.
    total: u64,
    limit: u64,
    offset: u64,
}

body! {
    pub struct MockPurchase {
        pub amount: TopUp,
    }
}

body! {
    pub struct CreditPurchase {
        pub amount_znc: TopUp,
        /// Where the payer is sent afterwards: on an origin of this service, or one whose pages may
        /// call it.
        pub return_url: ReturnUrl,
    }
}

#[derive(Object)]
struct Bought {
    /// Always true.
    success: bool,
    amount: Znc,
    new_balance: Znc,
    message: String,
}

/// A payment to be made.
#[derive(Object)]
struct Payment {
    payment_id: Id,
    /// Where it is paid.
    payment_url: String,
    amount_znc: Znc,
    amount_rub: Znc,
    /// Always `pending`.
    status: String,
}

#[derive(ApiResponse)]
enum MockPurchased {
    /// The credits are there.
    #[oai(status = 201)]
    Created(Json<Bought>),
}

#[derive(ApiResponse)]
enum PaymentStarted {
    /// The payment, which is not paid yet.
    #[oai(status = 201)]
    Created(Json<Payment>),
}

#[OpenApi(prefix_path = "/api/v1/currency", tag = "Tag::Currency")]
impl Currency {
    /// The caller's balance
    #[oai(path = "/balance", method = "get", operation_id = "get_balance")]
    async fn balance(&self, user: CurrentUser) -> Result<Json<Balance>, ApiError> {
        Ok(Json(Balance { balance: Znc(user.0.user.currency_balance), currency: "ZNC".to_owned() }))
    }

    /// The caller's ledger, newest first
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
    /// Buys credits without paying
    ///
    /// For development: where the payment provider is not `mock`, there is no such call.
    #[oai(path = "/mock-purchase", method = "post", operation_id = "mock_purchase")]
    async fn mock_purchase(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        body: Body<MockPurchase>,
    ) -> Result<MockPurchased, ApiError> {
        let Some(payments @ Payments { provider: Provider::Mock(_), .. }) = app.payments.as_deref() else {
            return Err(ApiError::not_found("Not found"));
        };
        let amount = body.0.amount.0;
        let new_balance = payments::grant(&app.db, payments, &user.0, amount).await?;
        Ok(MockPurchased::Created(Json(Bought {
            success: true,
            amount: Znc(amount),
            new_balance: Znc(new_balance),
            message: format!("{} ZNC added to the balance.", znc(amount)),
        })))
    }

    /// Starts a payment for credits
    ///
    /// They are there as soon as the payment provider says that it was paid.
    #[oai(path = "/purchase", method = "post", operation_id = "purchase_credits")]
    async fn purchase(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        /// Makes repeating the call safe: the same key and body are the same payment, for 24 hours
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Body<CreditPurchase>,
    ) -> Result<PaymentStarted, ApiError> {
        let App { db, config, sealer, payments, .. } = &***app;
        let CreditPurchase { amount_znc: TopUp(amount), return_url: ReturnUrl(return_url) } = body.0;
        let payments = payments.as_ref().ok_or(Error::PaymentsNotConfigured)?;
        if !config.return_origins.contains(&return_url.origin().ascii_serialization()) {
            let error = FieldError::new("return_url", "must be on an origin of this service or one that may call it");
            return Err(ApiError::invalid(vec![error]));
        }
        let request = json!({ "amount_znc": amount.normalize(), "return_url": return_url.as_str() });
        let once = key.0.as_ref().map(|key| Idempotent { sealer, endpoint: "currency/purchase", key: &key.0, request });
        let started = payments::start(db, payments, &user.0, amount, return_url.as_str(), once.as_ref()).await?;
        Ok(PaymentStarted::Created(Json(Payment {
            payment_id: Id(started.id),
            payment_url: started.url,
            amount_znc: Znc(started.amount_znc),
            amount_rub: Znc(started.amount_rub),
            status: "pending".to_owned(),
        })))
    }
}
