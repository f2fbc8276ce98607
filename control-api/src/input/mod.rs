//! The values that requests and forms hold: strict types, so that a number is never taken for a
//! text, and one list of what can be wrong with them. What was given is never repeated.

mod fault;
mod network;
mod number;
mod offer;
mod scalar;
mod text;

pub use fault::Fault;
pub use network::{Address, NETWORK_CHARS, Networks};
pub use number::{
    Days, Flag, Hours, Id, Limit, OFFSET_MAX, Offset, Scope, SignedZnc, Timestamp, TopUp, TransactionType, Znc, znc,
};
pub use offer::{Percent, SoldHours, TOKENS_MAX, TokenCount};
pub use scalar::{Field, Parameter, Scalar};
pub use text::{
    BundleName, Description, Email, FullName, IdempotencyKey, METHOD_CHARS, Method, Name, NewPassword, PASSWORD_BYTES,
    PASSWORD_CHARS, PATH_CHARS, Password, Reason, ReferralCode, RequestPath, ReturnUrl, Search, Username,
};
