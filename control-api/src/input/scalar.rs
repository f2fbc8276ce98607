//! How a value is read, wherever it stands.

use serde_json::Value;

use super::fault::Fault;

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
