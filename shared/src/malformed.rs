//! The error of a text that is not of the contract's shape.

use std::str::FromStr;

/// A text from Redis that is not of the contract's shape: written by another version, or by a hand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a reply from Redis is not of the contract's shape")]
pub struct Malformed;

/// Reads a field that may be empty.
pub(crate) fn optional<T: FromStr>(text: &str) -> Result<Option<T>, Malformed> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
}

/// Reads a field.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed)
}
