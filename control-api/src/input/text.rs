//! Texts, each with its bounds. Postgres takes no NUL, and a log no line break, so none holds a
//! control character.

use std::ops::RangeInclusive;

use serde_json::Value;
use url::Url;

use super::{
    fault::Fault,
    scalar::{Parameter, Scalar},
};

fn text_within(text: String, min: usize, max: usize) -> Result<String, Fault> {
    match text.chars().count() {
        count if count < min => Err(Fault::TooShort),
        count if count > max => Err(Fault::TooLong),
        _ if text.chars().any(char::is_control) => Err(Fault::ControlCharacters),
        _ => Ok(text),
    }
}

fn read_text(value: Value, min: usize, max: usize) -> Result<String, Fault> {
    match value {
        Value::String(text) => text_within(text, min, max),
        _ => Err(Fault::NotText),
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $type:ident: $min:literal to $max:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $type(pub String);

        impl $type {
            /// How many characters it may have.
            pub const CHARS: RangeInclusive<usize> = $min..=$max;
        }

        impl Scalar for $type {
            fn read(value: Value) -> Result<Self, Fault> {
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
    fn read(value: Value) -> Result<Self, Fault> {
        let text = read_text(value, 1, 255).map_err(|_| Fault::IdempotencyKey)?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(Self(text)) } else { Err(Fault::IdempotencyKey) }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

/// The method of a request.
#[derive(Clone)]
pub struct Method(pub String);

pub const METHOD_CHARS: usize = 32;

impl Scalar for Method {
    fn read(value: Value) -> Result<Self, Fault> {
        let text = read_text(value, 1, METHOD_CHARS)?;
        let is_name = text.chars().all(|char| char.is_ascii_alphabetic() || char == '-');
        if is_name { Ok(Self(text)) } else { Err(Fault::Method) }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

/// The path of a request, whatever it holds: what a token would be refused for can be asked about.
#[derive(Clone)]
pub struct RequestPath(pub String);

pub const PATH_CHARS: usize = 4_096;

impl Scalar for RequestPath {
    fn read(value: Value) -> Result<Self, Fault> {
        match value {
            Value::String(text) if text.is_empty() => Err(Fault::TooShort),
            Value::String(text) if text.chars().count() > PATH_CHARS => Err(Fault::TooLong),
            Value::String(text) => Ok(Self(text)),
            _ => Err(Fault::NotText),
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
    fn read(value: Value) -> Result<Self, Fault> {
        let text = read_text(value, 3, 254)?;
        if is_email(&text) { Ok(Self(text)) } else { Err(Fault::Email) }
    }

    fn render(&self) -> Value {
        self.0.clone().into()
    }
}

/// Whether a text has the shape of an address that mail can be sent to: one that is wrong in other
/// ways only bounces.
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
    fn read(value: Value) -> Result<Self, Fault> {
        let text = read_text(value, 8, 2_048)?;
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        url.map(Self).ok_or(Fault::Url)
    }

    fn render(&self) -> Value {
        self.0.as_str().into()
    }
}

pub const PASSWORD_CHARS: usize = 8;
/// argon2 takes more; the limit is the one that clients were always given.
pub const PASSWORD_BYTES: usize = 72;

/// A password to be set.
#[derive(Clone)]
pub struct NewPassword(pub String);

impl NewPassword {
    /// Checks a password that came another way than JSON.
    pub fn check(text: String) -> Result<Self, Fault> {
        if text.chars().count() < PASSWORD_CHARS {
            Err(Fault::PasswordTooShort)
        } else if text.len() > PASSWORD_BYTES {
            Err(Fault::PasswordTooLong)
        } else if text.contains('\0') {
            Err(Fault::Nul)
        } else {
            Ok(Self(text))
        }
    }
}

impl Scalar for NewPassword {
    fn read(value: Value) -> Result<Self, Fault> {
        match value {
            Value::String(text) => Self::check(text),
            _ => Err(Fault::NotText),
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
    fn read(value: Value) -> Result<Self, Fault> {
        match value {
            Value::String(text) if text.len() <= 1024 => Ok(Self(text)),
            Value::String(_) => Err(Fault::TooLong),
            _ => Err(Fault::NotText),
        }
    }

    fn render(&self) -> Value {
        Value::Null
    }
}

impl Parameter for Method {}
impl Parameter for ReferralCode {}
impl Parameter for RequestPath {}
impl Parameter for IdempotencyKey {}
impl Parameter for Search {}
impl Parameter for Name {}

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
