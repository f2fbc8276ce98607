//! Bodies of requests: JSON objects read field by field, so that one answer names everything that
//! is wrong with them.

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ContentTypeError,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::{Map, Value};

use crate::{
    http::error::{ApiError, FieldError},
    input::Field,
};

/// An object whose fields are read one by one.
pub trait FromFields: Sized {
    fn from_fields(fields: Map<String, Value>) -> Result<Self, Vec<FieldError>>;
}

/// Reads a field, or notes what is wrong with it. Fields that nobody reads are ignored.
pub fn read<F: Field>(fields: &mut Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> Option<F> {
    F::read_field(fields.remove(name)).map_err(|message| errors.push(FieldError::new(name, message))).ok()
}

/// Declares the object of a request's body: its schema and how it is read.
macro_rules! body {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(poem_openapi::Object)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::api::body::FromFields for $name {
            fn from_fields(
                mut fields: serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, Vec<$crate::http::error::FieldError>> {
                let mut errors = Vec::new();
                $(let $field = $crate::api::body::read::<$type>(&mut fields, stringify!($field), &mut errors);)*
                match ($($field,)*) {
                    ($(Some($field),)*) => Ok(Self { $($field,)* }),
                    _ => Err(errors),
                }
            }
        }
    };
}
pub(crate) use body;

/// The JSON body of a request.
pub struct Body<T>(pub T);

impl<'a, T: FromFields + Type> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(json_of(T::schema_ref()))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let bytes = json_bytes(request, body).await?;
        let fields = match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(ApiError::invalid(vec![FieldError::new("body", "must be a JSON object")]).into()),
            Err(_) => return Err(ApiError::invalid(vec![FieldError::new("body", "must be JSON")]).into()),
        };
        T::from_fields(fields).map(Self).map_err(|errors| ApiError::invalid(errors).into())
    }
}

/// A JSON body as it came, byte for byte: it may be signed.
pub struct Raw(pub Vec<u8>);

impl<'a> ApiExtractor<'a> for Raw {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        Some(json_of(MetaSchemaRef::Inline(Box::new(MetaSchema::new("object")))))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        json_bytes(request, body).await.map(Self)
    }
}

fn json_of(schema: MetaSchemaRef) -> MetaRequest {
    let content = vec![MetaMediaType { content_type: "application/json", schema }];
    MetaRequest { description: None, content, required: true }
}

/// The bytes of a body that says that it is JSON.
async fn json_bytes(request: &Request, body: &mut RequestBody) -> Result<Vec<u8>> {
    match request.content_type() {
        Some(given) if <Json<String> as Payload>::check_content_type(given) => {}
        Some(_) => return Err(ContentTypeError::NotSupported { content_type: String::new() }.into()),
        None => return Err(ContentTypeError::ExpectContentType.into()),
    }
    <Vec<u8> as FromRequest>::from_request(request, body).await
}
