//! Values of options, and what is wrong with them.

use std::fmt;

/// A value that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The value, to be handed to what needs it and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// An option that is wrong. Says which and why, never what was given.
#[derive(Debug, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct ConfigError {
    option: &'static str,
    reason: String,
}

/// The error of an option that is wrong for this reason.
pub fn wrong(option: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError { option, reason: reason.into() }
}
