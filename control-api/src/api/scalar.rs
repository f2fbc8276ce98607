//! What the fields of requests and answers are made of: strict types that never take a number for a text, and whose refusals
//! never repeat what was sent.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{MaybeUndefined, ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use rust_decimal::Decimal;
use serde_json::Value;
use shared::scope::Scope as TokenScope;
use uuid::Uuid;

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

macro_rules! openapi_types {
    ($($type:ident),*) => {$(
        impl Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(<Self as Scalar>::schema()))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                Self::read_field(value).map_err(ParseError::custom)
            }
        }

        impl ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                Some(self.render())
            }
        }
    )*};
}

macro_rules! parameter_types {
    ($($type:ident: $read:expr),* $(,)?) => {$(
        impl ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                let read: fn(&str) -> Result<Self, &'static str> = $read;
                read(text).map_err(ParseError::custom)
            }
        }
    )*};
}

openapi_types!(
    Email,
    Username,
    NewPassword,
    Password,
    FullName,
    Reason,
    Hours,
    Scope,
    Flag,
    Id,
    Limit,
    Offset,
    Znc,
    Timestamp,
    Search
);

parameter_types!(
    Id: |text| text.parse().map(Self).map_err(|_| "must be a UUID"),
    Limit: |text| text.parse().map_err(|_| LIMIT).and_then(Self::checked),
    Offset: |text| text.parse().map_err(|_| OFFSET).and_then(Self::checked),
    Flag: |text| match text {
        "true" | "1" => Ok(Self(true)),
        "false" | "0" => Ok(Self(false)),
        _ => Err("must be true or false"),
    },
    Search: |text| Self::read(Value::from(text)),
    ReferralCode: |text| text_within(text.to_owned(), 0, 100).map(Self),
);

openapi_types!(ReferralCode);

fn text_schema(min: usize, max: usize) -> MetaSchema {
    MetaSchema { min_length: Some(min), max_length: Some(max), ..MetaSchema::new("string") }
}

/// A text of so many characters, none of them a control character: Postgres takes no NUL, and a log no line break.
fn text_within(text: String, min: usize, max: usize) -> Result<String, &'static str> {
    match text.chars().count() {
        count if count < min => Err("is too short"),
        count if count > max => Err("is too long"),
        _ if text.chars().any(char::is_control) => Err("must not hold control characters"),
        _ => Ok(text),
    }
}

fn read_text(value: Value, min: usize, max: usize) -> Result<String, &'static str> {
    match value {
        Value::String(text) => text_within(text, min, max),
        _ => Err("must be a text"),
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $type:ident: $min:literal to $max:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $type(pub String);

        impl Scalar for $type {
            fn schema() -> MetaSchema {
                text_schema($min, $max)
            }

            fn read(value: Value) -> Result<Self, &'static str> {
                read_text(value, $min, $max).map(Self)
            }

            fn render(&self) -> Value {
                self.0.clone().into()
            }
        }
    )*};
}

texts!(
    Username: 3 to 50,
    FullName: 0 to 200,
    /// Why an admin changed something, for the record.
    Reason: 0 to 500,
    /// A part of an e-mail or a username.
    Search: 0 to 254,
    ReferralCode: 0 to 100,
);

/// An e-mail address, as given.
#[derive(Clone)]
pub struct Email(pub String);

impl Scalar for Email {
    fn schema() -> MetaSchema {
        MetaSchema { format: Some("email"), ..text_schema(3, 254) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let text = read_text(value, 3, 254)?;
        if is_email(&text) { Ok(Self(text)) } else { Err("must be an e-mail address") }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

/// Whether a text has the shape of an address that mail can be sent to: one that is wrong in other ways only bounces.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
    };
    let plain = |char: char| !char.is_whitespace() && !"@<>()[],;:\\\"".contains(char);
    !local.is_empty()
        && local.len() <= 64
        && local.chars().all(plain)
        && domain.contains('.')
        && domain.split('.').all(label)
}

const PASSWORD_CHARS: usize = 8;
/// argon2 takes more; the limit is the one that clients were always given.
const PASSWORD_BYTES: usize = 72;

/// A password to be set.
#[derive(Clone)]
pub struct NewPassword(pub String);

impl NewPassword {
    /// Checks a password that came another way than JSON.
    pub fn check(text: String) -> Result<Self, &'static str> {
        if text.chars().count() < PASSWORD_CHARS {
            Err("must have at least 8 characters")
        } else if text.len() > PASSWORD_BYTES {
            Err("must have at most 72 bytes")
        } else if text.contains('\0') {
            Err("must not hold a NUL")
        } else {
            Ok(Self(text))
        }
    }
}

impl Scalar for NewPassword {
    fn schema() -> MetaSchema {
        MetaSchema { format: Some("password"), ..text_schema(PASSWORD_CHARS, PASSWORD_BYTES) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        match value {
            Value::String(text) => Self::check(text),
            _ => Err("must be a text"),
        }
    }

    fn render(&self) -> Value {
        Value::Null
    }
}

/// A password to be checked. One that could never have been set is wrong, not malformed.
#[derive(Clone)]
pub struct Password(pub String);

impl Scalar for Password {
    fn schema() -> MetaSchema {
        MetaSchema { format: Some("password"), ..text_schema(0, 1024) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        match value {
            Value::String(text) if text.len() <= 1024 => Ok(Self(text)),
            Value::String(_) => Err("is too long"),
            _ => Err("must be a text"),
        }
    }

    fn render(&self) -> Value {
        Value::Null
    }
}

/// A number of hours, at least one.
#[derive(Clone, Copy)]
pub struct Hours(pub i64);

impl Scalar for Hours {
    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        match value.as_i64() {
            Some(hours) if hours >= 1 => Ok(Self(hours)),
            Some(_) => Err("must be at least 1"),
            None => Err("must be an integer"),
        }
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// Which paths a token opens.
#[derive(Clone, Copy)]
pub struct Scope(pub TokenScope);

impl Scalar for Scope {
    fn schema() -> MetaSchema {
        let names = TokenScope::ALL.map(|scope| Value::from(scope.as_str()));
        MetaSchema { enum_items: names.to_vec(), ..MetaSchema::new("string") }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let scope = value.as_str().and_then(|name| name.parse().ok());
        scope.map(Self).ok_or("must be full or certificates_only")
    }

    fn render(&self) -> Value {
        self.0.as_str().into()
    }
}

#[derive(Clone, Copy)]
pub struct Flag(pub bool);

impl Scalar for Flag {
    fn schema() -> MetaSchema {
        MetaSchema::new("boolean")
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        value.as_bool().map(Self).ok_or("must be true or false")
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

#[derive(Clone, Copy)]
pub struct Id(pub Uuid);

impl Scalar for Id {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let id = value.as_str().and_then(|text| text.parse().ok());
        id.map(Self).ok_or("must be a UUID")
    }

    fn render(&self) -> Value {
        self.0.to_string().into()
    }
}

const LIMIT: &str = "must be an integer from 1 to 100";
const OFFSET: &str = "must be an integer from 0 to 1000000000";
const OFFSET_MAX: u64 = 1_000_000_000;

/// How many items a page has at most.
#[derive(Clone, Copy)]
pub struct Limit(pub u64);

impl Limit {
    fn checked(limit: u64) -> Result<Self, &'static str> {
        if (1..=100).contains(&limit) { Ok(Self(limit)) } else { Err(LIMIT) }
    }
}

impl Scalar for Limit {
    fn schema() -> MetaSchema {
        MetaSchema { minimum: Some(1.0), maximum: Some(100.0), ..MetaSchema::new_with_format("integer", "int64") }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        value.as_u64().ok_or(LIMIT).and_then(Self::checked)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// How many items come before a page.
#[derive(Clone, Copy)]
pub struct Offset(pub u64);

impl Offset {
    fn checked(offset: u64) -> Result<Self, &'static str> {
        if offset <= OFFSET_MAX { Ok(Self(offset)) } else { Err(OFFSET) }
    }
}

impl Scalar for Offset {
    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(0.0),
            maximum: Some(OFFSET_MAX as f64),
            ..MetaSchema::new_with_format("integer", "int64")
        }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        value.as_u64().ok_or(OFFSET).and_then(Self::checked)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// The largest amount that is taken.
const ZNC_MAX: u32 = 1_000_000_000;

/// An amount of ZNC: a text with two decimals in answers, a text or a number in requests, never computed as a float.
#[derive(Clone, Copy)]
pub struct Znc(pub Decimal);

impl Scalar for Znc {
    fn schema() -> MetaSchema {
        let decimal = MetaSchema::new_with_format("string", "decimal");
        MetaSchema { pattern: Some(r"^\d{1,10}(\.\d{1,2})?$".to_owned()), example: Some("482.00".into()), ..decimal }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return Err("must be an amount such as \"482.00\""),
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let amount: Decimal =
            text.parse().ok().filter(|_| plain).ok_or("must be an amount from 0 such as \"482.00\"")?;
        if amount.normalize().scale() > 2 {
            Err("must have at most two decimals")
        } else if amount > Decimal::from(ZNC_MAX) {
            Err("is too large")
        } else {
            Ok(Self(amount))
        }
    }

    fn render(&self) -> Value {
        znc(self.0).into()
    }
}

/// An amount of ZNC as people read it.
pub fn znc(amount: Decimal) -> String {
    format!("{amount:.2}")
}

/// A moment, as RFC 3339 in UTC with `Z`.
#[derive(Clone, Copy)]
pub struct Timestamp(pub DateTime<Utc>);

impl Scalar for Timestamp {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date-time")
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let moment = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        moment.map(|moment| Self(moment.to_utc())).ok_or("must be a moment as RFC 3339 writes it")
    }

    fn render(&self) -> Value {
        self.0.to_rfc3339_opts(SecondsFormat::Micros, true).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_must_have_the_shape_of_one() {
        for good in ["a@b.example", "A.b+c@sub.example.com", "имя@почта.рф", "x@1.example"] {
            assert!(Email::read(json!(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@b",
            "@b.example",
            "a@",
            "a@.example",
            "a b@c.example",
            "a@b..example",
            "a@b.example\0",
            "a@@b.c",
        ] {
            assert!(Email::read(json!(bad)).is_err(), "{bad}");
        }
        assert!(Email::read(json!(5)).is_err());
    }

    #[test]
    fn a_password_has_at_least_8_characters_and_at_most_72_bytes() {
        assert!(NewPassword::read(json!("12345678")).is_ok());
        assert!(NewPassword::read(json!("1234567")).is_err());
        assert!(NewPassword::read(json!("é".repeat(36))).is_ok());
        assert!(NewPassword::read(json!("é".repeat(37))).is_err());
        assert!(NewPassword::read(json!(12_345_678)).is_err());
    }

    #[test]
    fn an_amount_is_decimal_and_shown_with_two_decimals() {
        for (given, shown) in
            [(json!("482"), "482.00"), (json!(18.5), "18.50"), (json!("0.10"), "0.10"), (json!(0), "0.00")]
        {
            assert_eq!(Znc::read(given).map(|amount| amount.render()), Ok(json!(shown)));
        }
        for bad in [
            json!("-1"),
            json!(-1),
            json!("1.001"),
            json!("1e3"),
            json!("NaN"),
            json!(true),
            json!("1000000000.01"),
            json!(""),
        ] {
            assert!(Znc::read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_shown_in_utc_with_z() {
        let moment = Timestamp::read(json!("2026-11-22T20:00:00+02:00")).map(|moment| moment.render());
        assert_eq!(moment, Ok(json!("2026-11-22T18:00:00.000000Z")));
    }

    #[test]
    fn a_number_is_no_text_and_a_text_no_number() {
        assert!(Username::read(json!(12345)).is_err());
        assert!(Hours::read(json!("24")).is_err());
        assert!(Hours::read(json!(24.0)).is_err());
        assert!(Hours::read(json!(0)).is_err());
        assert!(Flag::read(json!("true")).is_err());
        assert!(FullName::read(json!("a\0b")).is_err());
    }
}
