//! The rules. One public function is one transaction with its outbox rows; it knows nothing of HTTP
//! and answers in facts.

pub mod access;
pub mod accounts;
pub mod administration;
pub mod audit;
pub mod bundles;
pub mod idempotency;
pub mod jwt;
pub mod ledger;
pub mod login_throttle;
pub mod passwords;
pub mod payments;
pub mod rate_limits;
pub mod referrals;
pub mod refunds;
pub mod sessions;
pub mod tokens;
pub mod unpublished;
pub mod usage;

use std::time::Duration;

use rust_decimal::Decimal;

use crate::{db, domain::login_throttle::Refused, redis::PublishError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the e-mail is taken")]
    EmailTaken,
    #[error("the username is taken")]
    UsernameTaken,
    #[error("no user has this referral code")]
    UnknownReferralCode,
    #[error("no active user has this e-mail and password")]
    WrongCredentials,
    #[error("too many logins failed")]
    TooManyFailures { wait: Duration },
    #[error("the JWT is forged, expired or ended")]
    InvalidJwt,
    #[error("the user is disabled")]
    InactiveUser,
    #[error("the current password is another")]
    WrongPassword,
    #[error("the link was used, replaced or has expired")]
    UnknownPasswordLink,
    #[error("no token is sold for this number of hours")]
    InvalidDuration,
    #[error("the balance is too low")]
    InsufficientBalance { required: Decimal, available: Decimal },
    #[error("the balance would be larger than any may be")]
    BalanceTooLarge,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the text of a token that was sold is no longer kept")]
    TextGone,
    #[error("no such token")]
    TokenNotFound,
    #[error("the user has no such token that is not revoked")]
    TokenNotFoundOrRevoked,
    #[error("the token was used")]
    TokenActivated,
    #[error("a first request is using the token")]
    TokenInUse,
    #[error("no such session")]
    SessionNotFound,
    #[error("the token's time is over")]
    TokenExpired,
    #[error("the token would exceed the maximum duration")]
    TokenTooLong,
    #[error("no such bundle is sold")]
    BundleNotFound,
    #[error("the name of the bundle is taken")]
    BundleNameTaken,
    #[error("no such user")]
    UserNotFound,
    #[error("the last active superuser cannot be taken away")]
    LastSuperuser,
    #[error("the amount is too small to charge")]
    AmountTooSmall,
    #[error("no payments are taken")]
    PaymentsNotConfigured,
    #[error("the payment provider may not have sent the notice, or tells of another payment")]
    NoticeUnverified,
    #[error("the payment provider does not answer")]
    ProviderUnavailable,
    #[error("too many passwords are being checked")]
    Busy,
    #[error("Redis cannot say")]
    RedisUnavailable,
    #[error("Postgres: {0}")]
    Database(#[from] db::Error),
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Database(error) => Self::Database(error),
            PublishError::Redis(_)
            | PublishError::Reply(_)
            | PublishError::TookTooLong(_)
            | PublishError::Contended => Self::RedisUnavailable,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany(wait) => Self::TooManyFailures { wait },
            Refused::Busy => Self::Busy,
        }
    }
}
