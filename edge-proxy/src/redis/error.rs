//! Why Redis did not answer.

use shared::malformed::Malformed;

/// A question that got no reply, or none that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis cannot be reached, did not reply in time, or refused.
    #[error("{0}")]
    Redis(#[from] fred::error::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A token's networks changed as often as they were read.
    #[error("a token's networks change faster than they can be read")]
    UnreadNetworks,
    /// Redis may throw tokens away once its memory is full; what to do about it.
    #[error("{0}")]
    MayEvict(String),
    /// There is another connection, perhaps to another server.
    #[error("the connection to Redis was made anew")]
    Reconnected,
}
