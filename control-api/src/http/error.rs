//! Refusals as `application/problem+json` (RFC 9457): the one place where a fact of the domain
//! becomes a status and a sentence.

use std::{fmt::Display, time::Duration};

use poem::{
    IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::StatusCode,
};
use poem_openapi::{
    ApiResponse, Object,
    error::{AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
    payload::Json,
};
use shared::{rate::Exceeded, token::state::DURATIONS_HOURS};

use crate::{domain, input::znc};

/// When to ask again for what only an operator can switch on.
const NOT_CONFIGURED_FOR_SECONDS: &str = "3600";

/// What went wrong, for a program (`status`) and for a person (`detail`).
#[derive(Object, Clone)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[oai(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    status: u16,
    /// A sentence.
    detail: String,
    /// With `422`: what is wrong with which field.
    #[oai(skip_serializing_if_is_none)]
    errors: Option<Vec<FieldError>>,
}

/// What is wrong with one field. Never says what was sent.
#[derive(Object, Clone)]
pub struct FieldError {
    field: String,
    message: String,
}

impl FieldError {
    pub fn new(field: &str, message: impl Display) -> Self {
        Self { field: field.to_owned(), message: message.to_string() }
    }
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Json<Self> {
        Json(Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: None,
        })
    }
}

/// A refusal, by status.
#[derive(ApiResponse)]
pub enum ApiError {
    /// The request cannot be done as it stands.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// Who calls is not known.
    #[oai(status = 401, content_type = "application/problem+json")]
    Unauthorized(Json<Problem>, #[oai(header = "WWW-Authenticate")] String),
    /// The balance is too low.
    #[oai(status = 402, content_type = "application/problem+json")]
    PaymentRequired(Json<Problem>),
    /// Who calls may not.
    #[oai(status = 403, content_type = "application/problem+json")]
    Forbidden(Json<Problem>),
    /// There is no such thing.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Problem>),
    /// The path knows other methods.
    #[oai(status = 405, content_type = "application/problem+json")]
    MethodNotAllowed(Json<Problem>),
    /// The body did not come in time.
    #[oai(status = 408, content_type = "application/problem+json")]
    RequestTimeout(Json<Problem>),
    /// How things stand forbids it.
    #[oai(status = 409, content_type = "application/problem+json")]
    Conflict(Json<Problem>),
    /// The body is too large.
    #[oai(status = 413, content_type = "application/problem+json")]
    TooLarge(Json<Problem>),
    /// The body is not JSON by its `Content-Type`.
    #[oai(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Json<Problem>),
    /// A field or parameter is malformed.
    #[oai(status = 422, content_type = "application/problem+json")]
    Invalid(Json<Problem>),
    /// Too many tries, or too much at once.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooManyRequests(
        Json<Problem>,
        #[oai(header = "Retry-After")] u64,
        /// How many times fit at once
        #[oai(header = "RateLimit-Limit")]
        Option<u64>,
        /// How many fit now
        #[oai(header = "RateLimit-Remaining")]
        Option<u64>,
        /// Seconds after which all of them fit again
        #[oai(header = "RateLimit-Reset")]
        Option<u64>,
    ),
    /// A fault of the program.
    #[oai(status = 500, content_type = "application/problem+json")]
    Internal(Json<Problem>),
    /// Something that is needed is away; worth another try.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(Json<Problem>, #[oai(header = "Retry-After")] String),
}

impl ApiError {
    /// The status of what went wrong, which is logged if the program or Postgres failed.
    pub fn status_of(error: domain::Error) -> StatusCode {
        Self::from(error).into_response().status()
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::BadRequest(Problem::new(StatusCode::BAD_REQUEST, detail))
    }

    /// No credentials came.
    pub fn not_authenticated() -> Self {
        Self::unauthorized("Not authenticated")
    }

    fn unauthorized(detail: &str) -> Self {
        Self::Unauthorized(Problem::new(StatusCode::UNAUTHORIZED, detail), "Bearer".to_owned())
    }

    pub fn forbidden(detail: &str) -> Self {
        Self::Forbidden(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    pub fn not_found(detail: &str) -> Self {
        Self::NotFound(Problem::new(StatusCode::NOT_FOUND, detail))
    }

    pub fn method_not_allowed() -> Self {
        Self::MethodNotAllowed(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
    }

    pub fn request_timeout() -> Self {
        Self::RequestTimeout(Problem::new(StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time"))
    }

    fn conflict(detail: &str) -> Self {
        Self::Conflict(Problem::new(StatusCode::CONFLICT, detail))
    }

    pub fn too_large() -> Self {
        Self::TooLarge(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large"))
    }

    fn unsupported_media_type() -> Self {
        let detail = "The request body must be application/json";
        Self::UnsupportedMediaType(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
    }

    /// A `422` that names what is wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let Json(problem) = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "The request is not valid");
        Self::Invalid(Json(Problem { errors: Some(errors), ..problem }))
    }

    fn too_many_failed_logins(wait: Duration) -> Self {
        let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
        let problem = Self::try_again("Too many failed logins", seconds);
        Self::TooManyRequests(problem, seconds, None, None, None)
    }

    pub fn too_many_calls(exceeded: Exceeded) -> Self {
        Self::exceeded("Too many requests", exceeded)
    }

    pub fn too_many_registrations(exceeded: Exceeded) -> Self {
        Self::exceeded("Too many registrations from this address", exceeded)
    }

    fn exceeded(what: &str, exceeded: Exceeded) -> Self {
        let [retry_after, limit, remaining, reset] = exceeded.headers().map(|(_, value)| value);
        let problem = Self::try_again(what, retry_after);
        Self::TooManyRequests(problem, retry_after, Some(limit), Some(remaining), Some(reset))
    }

    fn try_again(what: &str, seconds: u64) -> Json<Problem> {
        let unit = if seconds == 1 { "second" } else { "seconds" };
        Problem::new(StatusCode::TOO_MANY_REQUESTS, format!("{what}. Try again in {seconds} {unit}."))
    }

    pub fn internal() -> Self {
        Self::Internal(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"))
    }

    pub fn unavailable() -> Self {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable, try again");
        Self::Unavailable(problem, "1".to_owned())
    }
}

impl From<domain::Error> for ApiError {
    fn from(error: domain::Error) -> Self {
        use domain::Error;
        match error {
            Error::EmailTaken => Self::bad_request("Email already registered"),
            Error::UsernameTaken => Self::bad_request("Username already taken"),
            Error::UnknownReferralCode => Self::bad_request("Invalid referral code"),
            Error::WrongCredentials => Self::unauthorized("Incorrect email or password"),
            Error::TooManyFailures { wait } => Self::too_many_failed_logins(wait),
            Error::InvalidJwt => Self::unauthorized("Could not validate credentials"),
            Error::InactiveUser => Self::forbidden("Inactive user"),
            Error::WrongPassword => Self::bad_request("Current password is incorrect"),
            Error::UnknownPasswordLink => Self::not_found("Link not found or expired"),
            Error::InvalidDuration => {
                Self::bad_request(format!("Invalid duration. Must be one of: {DURATIONS_HOURS:?}"))
            }
            Error::InsufficientBalance { required, available } => Self::PaymentRequired(Problem::new(
                StatusCode::PAYMENT_REQUIRED,
                format!("Insufficient balance. Required: {} ZNC, Available: {} ZNC", znc(required), znc(available)),
            )),
            Error::BalanceTooLarge => Self::conflict("The balance would become too large"),
            Error::KeyReused => {
                let message = "was used for another request";
                Self::invalid(vec![FieldError::new("Idempotency-Key", message)])
            }
            Error::TextGone => Self::conflict("This purchase exists; rotate the token to get a new text"),
            Error::TokenNotFound => Self::not_found("Token not found"),
            Error::TokenNotFoundOrRevoked => Self::not_found("Token not found or already revoked"),
            Error::TokenActivated => {
                Self::bad_request("Cannot revoke activated token. Refunds are only available for non-activated tokens.")
            }
            Error::TokenInUse => Self::conflict("Token is being used"),
            Error::SessionNotFound => Self::not_found("Session not found"),
            Error::TokenExpired => Self::bad_request("Token has expired"),
            Error::TokenTooLong => Self::bad_request("Token cannot be extended any further"),
            Error::BundleNotFound => Self::not_found("Bundle not found or inactive"),
            Error::BundleNameTaken => Self::conflict("Bundle name already taken"),
            Error::UserNotFound => Self::not_found("User not found"),
            Error::LastSuperuser => Self::conflict("The last active superuser cannot be disabled or demoted"),
            Error::AmountTooSmall => Self::invalid(vec![FieldError::new(
                "amount_znc",
                "costs less than the smallest amount that can be paid",
            )]),
            Error::PaymentsNotConfigured => {
                let detail = "Payments are not configured";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                Self::Unavailable(problem, NOT_CONFIGURED_FOR_SECONDS.to_owned())
            }
            Error::NoticeUnverified => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "The notification could not be verified");
                Self::Unauthorized(problem, "Signature".to_owned())
            }
            Error::Busy | Error::RedisUnavailable | Error::ProviderUnavailable => Self::unavailable(),
            Error::Database(error) => Self::from(error),
        }
    }
}

impl From<crate::db::Error> for ApiError {
    fn from(error: crate::db::Error) -> Self {
        if crate::db::is_passing(&error) {
            tracing::warn!(%error, "Postgres did not answer");
            Self::unavailable()
        } else {
            tracing::error!(%error, "a request failed");
            Self::internal()
        }
    }
}

/// The response to whatever a request failed with, errors of poem included: always problem JSON.
pub fn respond(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let parameter = |name: &str, reason: &str| {
        // Our own scalars say what is wrong after the last colon, and never what was sent; poem
        // puts the names of types around it.
        let missing = if reason.ends_with("expects an input value.") { "is required" } else { "is not valid" };
        let message = reason.rsplit_once(": ").map_or(missing, |(_, message)| message);
        let message = message.split_once(" (occurred while parsing ").map_or(message, |(message, _)| message);
        ApiError::invalid(vec![FieldError::new(name, message)])
    };
    let refusal = if error.is::<AuthorizationError>() {
        ApiError::not_authenticated()
    } else if error.is::<NotFoundError>() {
        ApiError::not_found("Not found")
    } else if error.is::<MethodNotAllowedError>() {
        ApiError::method_not_allowed()
    } else if error.is::<ContentTypeError>() {
        ApiError::unsupported_media_type()
    } else if let Some(error) = error.downcast_ref::<ParseParamError>() {
        parameter(error.name, &error.reason)
    } else if let Some(error) = error.downcast_ref::<ParsePathError>() {
        // Every path here has one parameter, and poem does not know its name.
        parameter("id", &error.reason)
    } else if error.is::<poem::error::ParsePathError>() {
        // poem drops a parameter that is not UTF-8, and then misses it.
        ApiError::invalid(vec![FieldError::new("id", "must be a UUID")])
    } else if error.is::<ParseRequestPayloadError>() {
        ApiError::invalid(vec![FieldError::new("body", "is not valid")])
    } else if error.status().is_client_error() {
        ApiError::bad_request("The request cannot be read")
    } else {
        tracing::error!(%error, "a request failed");
        ApiError::internal()
    };
    refusal.into_response()
}
