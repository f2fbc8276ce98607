//! The values that requests and forms hold: strict types, so that a number is never taken for a text, and
//! one list of what can be wrong with them. What was given is never repeated.

mod fault;
mod network;
mod number;
mod offer;
mod text;

use serde_json::Value;

pub use fault::Fault;
pub use network::{Address, NETWORK_CHARS, Networks};
pub use number::{
    Days, Flag, Hours, Id, Limit, OFFSET_MAX, Offset, Scope, SignedZnc, Timestamp, TopUp, TransactionType, Znc, znc,
};
pub use offer::{Percent, SoldHours, TOKENS_MAX, TokenCount};
pub use text::{
    BundleName, Description, Email, FullName, IdempotencyKey, METHOD_CHARS, Method, Name, NewPassword, PASSWORD_BYTES,
    PASSWORD_CHARS, PATH_CHARS, Password, Reason, ReferralCode, RequestPath, ReturnUrl, Search, Username,
};

/// One kind of value.
pub trait Scalar: Clone + Send + Sync + 'static {
    /// Reads a value, or says what is wrong with it.
    fn read(value: Value) -> Result<Self, Fault>;
    fn render(&self) -> Value;
}

/// A value that stands in a path, a query or a header.
pub trait Parameter: Scalar {
    fn read_parameter(text: &str) -> Result<Self, Fault> {
        Self::read(text.into())
    }
}

/// A field of a JSON body: a scalar that is required, or an optional one.
pub trait Field: Sized {
    fn read_field(value: Option<Value>) -> Result<Self, Fault>;
}

impl<S: Scalar> Field for S {
    fn read_field(value: Option<Value>) -> Result<Self, Fault> {
        S::read(value.ok_or(Fault::Required)?)
    }
}

impl<S: Scalar> Field for Option<S> {
    fn read_field(value: Option<Value>) -> Result<Self, Fault> {
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => S::read(value).map(Some),
        }
    }
}
