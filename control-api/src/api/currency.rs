//! `/currency`: credits.

use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Tag, error::ApiError, guard::CurrentUser, scalar::Znc};

pub struct Currency;

#[derive(Object)]
struct Balance {
    balance: Znc,
    /// Always `ZNC`.
    currency: String,
}

#[OpenApi(prefix_path = "/api/v1/currency", tag = "Tag::Currency")]
impl Currency {
    /// What whoever calls can spend
    #[oai(path = "/balance", method = "get", operation_id = "get_balance")]
    async fn balance(&self, user: CurrentUser) -> Result<Json<Balance>, ApiError> {
        Ok(Json(Balance { balance: Znc(user.0.user.balance), currency: "ZNC".to_owned() }))
    }
}
