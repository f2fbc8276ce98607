//! Texts, each with its bounds. Postgres takes no NUL, and a log no line break, so none holds a control character.

use poem_openapi::registry::MetaSchema;
use serde_json::Value;
use url::Url;

use super::Scalar;

openapi_types!(
    BundleName,
    Description,
    Email,
    FullName,
    IdempotencyKey,
    Method,
    Name,
    NewPassword,
    Password,
    Reason,
    ReferralCode,
    RequestPath,
    ReturnUrl,
    Search,
    Username
);

parameter_types!(
    Method: |text| Self::read(Value::from(text)),
    ReferralCode: |text| Self::read(Value::from(text)),
    RequestPath: |text| Self::read(Value::from(text)),
    IdempotencyKey: |text| Self::read(Value::from(text)),
    Search: |text| Self::read(Value::from(text)),
Name: |text| Self::read(Value::from(text)),
);

fn text_schema(min: usize, max: usize) -> MetaSchema {
    MetaSchema { min_length: Some(min), max_length: Some(max), ..MetaSchema::new("string") }
}

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
    BundleName: 1 to 100,
    Description: 0 to 1000,
    /// The name of an action or of a kind of thing.
    Name: 1 to 50,
);

/// What a client drew to name a call by.
#[derive(Clone)]
pub struct IdempotencyKey(pub String);

impl Scalar for IdempotencyKey {
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^[!-~]{1,255}$".to_owned()), ..text_schema(1, 255) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let text = read_text(value, 1, 255).map_err(|_| IDEMPOTENCY_KEY)?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(Self(text)) } else { Err(IDEMPOTENCY_KEY) }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

const IDEMPOTENCY_KEY: &str = "must have 1 to 255 visible ASCII characters";

/// The method of a request.
#[derive(Clone)]
pub struct Method(pub String);

const METHOD_CHARS: usize = 32;

impl Scalar for Method {
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^[A-Za-z-]+$".to_owned()), ..text_schema(1, METHOD_CHARS) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let text = read_text(value, 1, METHOD_CHARS)?;
        let is_name = text.chars().all(|char| char.is_ascii_alphabetic() || char == '-');
        if is_name { Ok(Self(text)) } else { Err("must be the name of a method") }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

/// The path of a request, whatever it holds: what a token would be refused for can be asked about.
#[derive(Clone)]
pub struct RequestPath(pub String);

const PATH_CHARS: usize = 4_096;

impl Scalar for RequestPath {
    fn schema() -> MetaSchema {
        text_schema(1, PATH_CHARS)
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        match value {
            Value::String(text) if text.is_empty() => Err("is too short"),
            Value::String(text) if text.chars().count() > PATH_CHARS => Err("is too long"),
            Value::String(text) => Ok(Self(text)),
            _ => Err("must be a text"),
        }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

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

/// A page to be sent back to, by HTTP. Only in requests.
#[derive(Clone)]
pub struct ReturnUrl(pub Url);

impl Scalar for ReturnUrl {
    fn schema() -> MetaSchema {
        MetaSchema { format: Some("uri"), ..text_schema(8, 2_048) }
    }

    fn read(value: Value) -> Result<Self, &'static str> {
        let text = read_text(value, 8, 2_048)?;
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        url.map(Self).ok_or("must be an http:// or https:// URL")
    }

    fn render(&self) -> Value {
        self.0.as_str().into()
    }
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
    fn a_number_is_no_text_and_no_text_holds_a_control_character() {
        assert!(Username::read(json!(12345)).is_err());
        assert!(FullName::read(json!("a\0b")).is_err());
        assert!(Search::read(json!("a\nb")).is_err());
    }
}
