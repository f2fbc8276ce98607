//! `/webhooks`: what payment providers tell.

use std::sync::Arc;

use chrono::Utc;
use poem::{FromRequest, Request, RequestBody, Result, web::Data};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi,
    error::ContentTypeError,
    param::Header,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};

use super::{Tag, error::ApiError};
use crate::{
    App,
    domain::{Error, audit::Origin, payments},
    provider::Notice,
};

pub struct Webhooks;

#[derive(Object)]
struct Received {
    /// Always true.
    received: bool,
    /// Whether it changed anything.
    processed: bool,
}

/// A JSON body as it came, byte for byte: it may be signed.
struct Raw(Vec<u8>);

impl<'a> ApiExtractor<'a> for Raw {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new("object")));
        let content = vec![MetaMediaType { content_type: "application/json", schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        match request.content_type() {
            Some(given) if <Json<String> as Payload>::check_content_type(given) => {}
            Some(_) => return Err(ContentTypeError::NotSupported { content_type: String::new() }.into()),
            None => return Err(ContentTypeError::ExpectContentType.into()),
        }
        <Vec<u8> as FromRequest>::from_request(request, body).await.map(Self)
    }
}

#[OpenApi(prefix_path = "/api/v1/webhooks", tag = "Tag::Currency")]
impl Webhooks {
    /// Takes a notice of the payment provider
    ///
    /// Whoever else sends one is refused. A notice that comes again, late or out of order credits nothing twice.
    #[oai(path = "/payment", method = "post", operation_id = "notify_payment")]
    async fn payment(
        &self,
        app: Data<&Arc<App>>,
        origin: Data<&Origin>,
        /// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body" in hexadecimal>`, where the provider signs
        #[oai(name = "X-Signature")]
        signature: Header<Option<String>>,
        body: Raw,
    ) -> Result<Json<Received>, ApiError> {
        let till = app.till.as_ref().ok_or(Error::PaymentsNotConfigured)?;
        let notice = Notice { body: &body.0, signature: signature.0.as_deref(), sender: origin.ip_address };
        let processed = payments::take_notice(&app.db, till, &notice, origin.0, Utc::now()).await?;
        Ok(Json(Received { received: true, processed }))
    }
}
