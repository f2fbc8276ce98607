//! The status of what went wrong.

use poem::http::StatusCode;

use crate::{db, domain::Error};

/// The status of an error, which is logged if the program or Postgres failed.
pub fn of(error: &Error) -> StatusCode {
    match error {
        Error::EmailTaken
        | Error::UsernameTaken
        | Error::UnknownReferralCode
        | Error::WrongPassword
        | Error::InvalidDuration
        | Error::TokenActivated
        | Error::TokenExpired
        | Error::TokenTooLong => StatusCode::BAD_REQUEST,
        Error::WrongCredentials | Error::InvalidJwt | Error::NoticeUnverified => StatusCode::UNAUTHORIZED,
        Error::InsufficientBalance { .. } => StatusCode::PAYMENT_REQUIRED,
        Error::InactiveUser => StatusCode::FORBIDDEN,
        Error::UnknownPasswordLink
        | Error::TokenNotFound
        | Error::TokenNotFoundOrRevoked
        | Error::SessionNotFound
        | Error::BundleNotFound
        | Error::UserNotFound => StatusCode::NOT_FOUND,
        Error::BalanceTooLarge
        | Error::TextGone
        | Error::TokenInUse
        | Error::BundleNameTaken
        | Error::LastSuperuser => StatusCode::CONFLICT,
        Error::KeyReused | Error::AmountTooSmall => StatusCode::UNPROCESSABLE_ENTITY,
        Error::TooManyFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::PaymentsNotConfigured | Error::Busy | Error::RedisUnavailable | Error::ProviderUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Database(error) => of_database(error),
    }
}

/// The status of what Postgres did not do; logs it.
pub fn of_database(error: &db::Error) -> StatusCode {
    if db::is_passing(error) {
        tracing::warn!(%error, "Postgres did not answer");
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        tracing::error!(%error, "a request failed");
        StatusCode::INTERNAL_SERVER_ERROR
    }
}
