//! How the API's document describes the values of [`input`](crate::input), and how poem reads and
//! writes them.

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::MaybeUndefined,
};
use serde_json::Value;
use shared::{
    net::address::NETWORKS_MAX,
    token::{scope, state::DURATIONS_HOURS},
};

use crate::{
    domain::ledger,
    input::{
        Address, BundleName, Days, Description, Email, Fault, Field, Flag, FullName, Hours, Id, IdempotencyKey, Limit,
        METHOD_CHARS, Method, NETWORK_CHARS, Name, Networks, NewPassword, OFFSET_MAX, Offset, PASSWORD_BYTES,
        PASSWORD_CHARS, PATH_CHARS, Parameter, Password, Percent, Reason, ReferralCode, RequestPath, ReturnUrl, Scalar,
        Scope, Search, SignedZnc, SoldHours, TOKENS_MAX, Timestamp, TokenCount, TopUp, TransactionType, Username, Znc,
    },
};

/// A value that the document describes.
trait Documented: Scalar {
    fn schema() -> MetaSchema;
}

/// Makes values known to the document, and to the objects that hold them.
macro_rules! types {
    ($($type:ident: $schema:expr),* $(,)?) => {$(
        impl Documented for $type {
            fn schema() -> MetaSchema {
                $schema
            }
        }

        impl poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(<Self as Documented>::schema()))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> poem_openapi::types::ParseResult<Self> {
                <Self as Field>::read_field(value).map_err(poem_openapi::types::ParseError::custom)
            }
        }

        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                Some(Scalar::render(self))
            }
        }
    )*};
}

/// Makes values readable from paths, queries and headers.
macro_rules! parameters {
    ($($type:ident),* $(,)?) => {$(
        impl poem_openapi::types::ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> poem_openapi::types::ParseResult<Self> {
                <Self as Parameter>::read_parameter(text).map_err(poem_openapi::types::ParseError::custom)
            }
        }
    )*};
}

types!(
    Address: MetaSchema { example: Some("192.0.2.1".into()), ..string() },
    BundleName: text(*BundleName::CHARS.start(), *BundleName::CHARS.end()),
    Days: integer(1, 366),
    Description: text(*Description::CHARS.start(), *Description::CHARS.end()),
    Email: MetaSchema { format: Some("email"), ..text(3, 254) },
    Flag: MetaSchema::new("boolean"),
    FullName: text(*FullName::CHARS.start(), *FullName::CHARS.end()),
    Hours: MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "int64") },
    Id: MetaSchema::new_with_format("string", "uuid"),
    IdempotencyKey: MetaSchema { pattern: Some("^[!-~]{1,255}$".to_owned()), ..text(1, 255) },
    Limit: integer(1, 100),
    Method: MetaSchema { pattern: Some("^[A-Za-z-]+$".to_owned()), ..text(1, METHOD_CHARS) },
    Name: text(*Name::CHARS.start(), *Name::CHARS.end()),
    Networks: networks(),
    NewPassword: MetaSchema { format: Some("password"), ..text(PASSWORD_CHARS, PASSWORD_BYTES) },
    Offset: integer(0, OFFSET_MAX),
    Password: MetaSchema { format: Some("password"), ..text(0, 1024) },
    Percent: decimal(r"^(100(\.00?)?|\d{1,2}(\.\d{1,2})?)$", "15.00"),
    Reason: text(*Reason::CHARS.start(), *Reason::CHARS.end()),
    ReferralCode: text(*ReferralCode::CHARS.start(), *ReferralCode::CHARS.end()),
    RequestPath: text(1, PATH_CHARS),
    ReturnUrl: MetaSchema { format: Some("uri"), ..text(8, 2_048) },
    Scope: one_of(scope::Scope::ALL.map(|scope| Value::from(scope.as_str())), string()),
    Search: text(*Search::CHARS.start(), *Search::CHARS.end()),
    SignedZnc: decimal(r"^-?\d{1,10}\.\d{2}$", "-18.00"),
    SoldHours: one_of(DURATIONS_HOURS.map(Value::from), MetaSchema::new_with_format("integer", "int32")),
    Timestamp: MetaSchema::new_with_format("string", "date-time"),
    TokenCount: MetaSchema {
        minimum: Some(1.0),
        maximum: Some(TOKENS_MAX.into()),
        ..MetaSchema::new_with_format("integer", "int32")
    },
    TopUp: decimal(r"^(1000000(\.00?)?|[1-9]\d{0,5}(\.\d{1,2})?|0\.(0[1-9]|[1-9]\d?))$", "100.00"),
    TransactionType: one_of(ledger::Kind::ALL.map(|kind| Value::from(kind.as_str())), string()),
    Username: text(*Username::CHARS.start(), *Username::CHARS.end()),
    Znc: decimal(r"^\d{1,10}(\.\d{1,2})?$", "482.00"),
);

parameters!(
    Address,
    Days,
    Flag,
    Id,
    IdempotencyKey,
    Limit,
    Method,
    Name,
    Offset,
    ReferralCode,
    RequestPath,
    Search,
    TransactionType,
);

impl<S: Scalar> Field for MaybeUndefined<S> {
    fn read_field(value: Option<Value>) -> Result<Self, Fault> {
        match value {
            None => Ok(Self::Undefined),
            Some(Value::Null) => Ok(Self::Null),
            Some(value) => S::read(value).map(Self::Value),
        }
    }
}

fn string() -> MetaSchema {
    MetaSchema::new("string")
}

/// A text with bounds on its length, in characters.
fn text(min: usize, max: usize) -> MetaSchema {
    MetaSchema { min_length: Some(min), max_length: Some(max), ..string() }
}

fn integer(min: u32, max: u32) -> MetaSchema {
    MetaSchema {
        minimum: Some(min.into()),
        maximum: Some(max.into()),
        ..MetaSchema::new_with_format("integer", "int64")
    }
}

/// A decimal number, written as a text.
fn decimal(pattern: &str, example: &str) -> MetaSchema {
    MetaSchema {
        pattern: Some(pattern.to_owned()),
        example: Some(example.into()),
        ..MetaSchema::new_with_format("string", "decimal")
    }
}

fn one_of<const N: usize>(values: [Value; N], schema: MetaSchema) -> MetaSchema {
    MetaSchema { enum_items: values.to_vec(), ..schema }
}

fn networks() -> MetaSchema {
    let network = MetaSchema { max_length: Some(NETWORK_CHARS), ..string() };
    MetaSchema {
        items: Some(Box::new(MetaSchemaRef::Inline(Box::new(network)))),
        max_items: Some(NETWORKS_MAX),
        example: Some(vec!["192.0.2.0/24", "2001:db8::1"].into()),
        ..MetaSchema::new("array")
    }
}
