//! `/webhooks`: what payment providers tell.

use std::sync::Arc;

use chrono::Utc;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Header, payload::Json};

use super::{body::Raw, tag::Tag};
use crate::{
    app::App,
    domain::{Error, audit::Origin, payments},
    http::error::ApiError,
    payments::Notice,
};

pub struct Webhooks;

#[derive(Object)]
struct Received {
    /// Always true.
    received: bool,
    /// Whether it changed anything.
    processed: bool,
}

#[OpenApi(prefix_path = "/api/v1/webhooks", tag = "Tag::Currency")]
impl Webhooks {
    /// Takes a notice of the payment provider
    ///
    /// A notification from any other sender is refused. A notice that comes again, late or out of
    /// order credits nothing twice.
    #[oai(path = "/payment", method = "post", operation_id = "notify_payment")]
    async fn payment(
        &self,
        app: Data<&Arc<App>>,
        origin: Data<&Origin>,
        /// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body" in hexadecimal>`, where the provider
        /// signs
        #[oai(name = "X-Signature")]
        signature: Header<Option<String>>,
        body: Raw,
    ) -> Result<Json<Received>, ApiError> {
        let payments = app.payments.as_ref().ok_or(Error::PaymentsNotConfigured)?;
        let notice = Notice { body: &body.0, signature: signature.0.as_deref(), sender: origin.ip_address };
        let processed = payments::take_notice(&app.db, payments, &notice, origin.0, Utc::now()).await?;
        Ok(Json(Received { received: true, processed }))
    }
}
