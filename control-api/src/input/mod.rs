//! What the fields of requests and answers are made of: strict types that never take a number for a text, and whose refusals
//! never repeat what was sent.

use poem_openapi::{registry::MetaSchema, types::MaybeUndefined};
use serde_json::Value;

/// Makes scalars known to the OpenAPI document, and to objects that hold them.
macro_rules! openapi_types {
    ($($type:ident),*) => {$(
        impl poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Inline(Box::new(<Self as $crate::input::Scalar>::schema()))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(value: Option<serde_json::Value>) -> poem_openapi::types::ParseResult<Self> {
                <Self as $crate::input::Field>::read_field(value).map_err(poem_openapi::types::ParseError::custom)
            }
        }

        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<serde_json::Value> {
                Some($crate::input::Scalar::render(self))
            }
        }
    )*};
}

/// Makes scalars readable from paths and queries.
macro_rules! parameter_types {
    ($($type:ident: $read:expr),* $(,)?) => {$(
        impl poem_openapi::types::ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> poem_openapi::types::ParseResult<Self> {
                let read: fn(&str) -> Result<Self, &'static str> = $read;
                read(text).map_err(poem_openapi::types::ParseError::custom)
            }
        }
    )*};
}

mod network;
pub mod number;
mod offer;
mod text;

pub use network::{Address, Networks};
pub use number::{Days, Flag, Hours, Id, Limit, Offset, Scope, SignedZnc, Timestamp, TopUp, TransactionType, Znc, znc};
pub use offer::{Percent, SoldHours, TokenCount};
pub use text::{
    BundleName, Description, Email, FullName, IdempotencyKey, Method, Name, NewPassword, Password, Reason,
    ReferralCode, RequestPath, ReturnUrl, Search, Username,
};

/// One kind of value.
pub trait Scalar: Clone + Send + Sync + 'static {
    fn schema() -> MetaSchema;
    /// Reads a value, or says what is wrong with it without repeating it.
    fn read(value: Value) -> Result<Self, &'static str>;
    fn render(&self) -> Value;
}

/// What a field of a request may be: a scalar that must be there, or an optional one.
pub trait Field: Sized {
    fn read_field(value: Option<Value>) -> Result<Self, &'static str>;
}

impl<S: Scalar> Field for S {
    fn read_field(value: Option<Value>) -> Result<Self, &'static str> {
        S::read(value.ok_or("is required")?)
    }
}

impl<S: Scalar> Field for Option<S> {
    fn read_field(value: Option<Value>) -> Result<Self, &'static str> {
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => S::read(value).map(Some),
        }
    }
}

impl<S: Scalar> Field for MaybeUndefined<S> {
    fn read_field(value: Option<Value>) -> Result<Self, &'static str> {
        match value {
            None => Ok(Self::Undefined),
            Some(Value::Null) => Ok(Self::Null),
            Some(value) => S::read(value).map(Self::Value),
        }
    }
}
