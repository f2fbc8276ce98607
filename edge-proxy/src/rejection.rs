//! Every way in which the edge says no: why a request is rejected, why a credential is invalid, why
//! an open request is ended. Status, label and text of each stand side by side, and nothing else
//! decides them.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use shared::{net::upstream_path::PathFault, rate::Exceeded, token::scope::Scope};

/// Why a credential opens nothing, as far as it is known. An API client is told the same of all; a
/// page says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidCredential {
    Unknown,
    Expired,
    /// Or replaced by another.
    Revoked,
    /// Its user is disabled.
    Suspended,
}

/// Why a request is not let through. A refusal is an outcome, not an error; [`Rejection::detail`]
/// is the contract's very text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    WrongHost,
    /// Nobody may come from that address.
    ClientBlocked,
    /// Without TLS, where the edge serves https alone.
    PlainHttp,
    MalformedDevice,
    NoCredential,
    BadCredential(InvalidCredential),
    /// The token may not be used from that address.
    NetworkNotAllowed,
    DeviceRequired,
    Path(PathFault),
    MisspelledPath,
    OutsideScope {
        scope: Scope,
        path: String,
    },
    CrossSite,
    /// Another device holds the token, since then by Redis' clock; only how its name begins is
    /// told.
    InUse {
        device: String,
        since: Option<DateTime<Utc>>,
        lease: Duration,
    },
    /// The upstream failed a token that was never used too often.
    Throttled {
        retry_after: Duration,
    },
    /// This address has tried too many tokens that opened nothing.
    TooManyUnknown {
        retry_after: Duration,
    },
    /// The token makes too many requests.
    TooManyRequests(Exceeded),
    /// The token has too many requests or WebSockets open.
    TooManyOpen,
    /// This edge has.
    Full,
    NotFound,
    MethodNotAllowed {
        allow: &'static str,
    },
    TokenMissing,
    MalformedBody(&'static str),
    NotJson,
    BodyTooLarge,
    BodyTimeout,
    /// Not framed as HTTP asks, or broken off.
    BrokenBody,
    /// A head that HTTP does not allow, or that two servers could read differently.
    MalformedHead(&'static str),
    RequestLineTooLong,
    HeadersTooLarge,
    HeadTimeout,
    VersionNotSupported,
    MethodNotImplemented,
    CodingNotImplemented,
    /// Redis cannot say: nobody is told that a token is bad because a cache is away.
    Unavailable,
    HandoverGone,
    UpstreamUnreachable,
    UpstreamSilent,
    ControlUnreachable,
    ControlSilent,
    Fault,
}

impl Rejection {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::PlainHttp => StatusCode::UPGRADE_REQUIRED,
            Self::MalformedDevice
            | Self::Path(_)
            | Self::MisspelledPath
            | Self::TokenMissing
            | Self::BrokenBody
            | Self::MalformedHead(_) => StatusCode::BAD_REQUEST,
            Self::NoCredential | Self::BadCredential(_) | Self::HandoverGone => StatusCode::UNAUTHORIZED,
            Self::DeviceRequired
            | Self::OutsideScope { .. }
            | Self::CrossSite
            | Self::ClientBlocked
            | Self::NetworkNotAllowed => StatusCode::FORBIDDEN,
            Self::InUse { .. } => StatusCode::CONFLICT,
            Self::Throttled { .. } | Self::TooManyUnknown { .. } | Self::TooManyRequests(_) | Self::TooManyOpen => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::MalformedBody(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout | Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::MethodNotImplemented | Self::CodingNotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::ControlUnreachable => StatusCode::BAD_GATEWAY,
            Self::UpstreamSilent | Self::ControlSilent => StatusCode::GATEWAY_TIMEOUT,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One sentence for the client. It repeats nothing that was sent but the path of a scope
    /// refusal, as the contract has it.
    pub fn detail(&self) -> String {
        match self {
            Self::ClientBlocked => "Access from this address is not allowed".into(),
            Self::WrongHost => "This gateway does not serve that host".into(),
            Self::PlainHttp => "This gateway is reached by https and wss only".into(),
            Self::MalformedDevice => "Invalid X-Device-ID header format (must be 8-255 characters)".into(),
            Self::NoCredential => "Authentication required: provide cookie or X-Access-Token header".into(),
            Self::BadCredential(_) => "Invalid or expired access token".into(),
            Self::NetworkNotAllowed => "This access token may not be used from this address".into(),
            Self::DeviceRequired => "Device identification required: X-Device-ID header missing. Please update your \
                                     Desktop Client to the latest version."
                .into(),
            Self::Path(fault) => fault.to_string(),
            Self::MisspelledPath => "The path is another spelling of a reserved one".into(),
            Self::OutsideScope { scope, path } => {
                format!("Access denied: your token scope ('{scope}') does not allow access to '{path}'")
            }
            Self::CrossSite => "This request came from another site".into(),
            Self::InUse { device, since, lease } => {
                let since = since.map(|since| since.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default();
                let timeout = match (lease.as_secs() / 60, lease.as_secs()) {
                    (0, seconds) => format!("{seconds} seconds"),
                    (minutes, _) => format!("{minutes} minutes"),
                };
                format!(
                    "Token already in use on device '{device}'. Session started at {since}. Wait for session timeout ({timeout}) \
                     or stop the other device."
                )
            }
            Self::Throttled { .. } => {
                "Too many requests that Zenzefi could not answer; please wait before you try again".into()
            }
            Self::TooManyUnknown { .. } => "Too many unknown access tokens; please wait before you try again".into(),
            Self::TooManyRequests(_) => {
                "Too many requests with this access token; please wait before you try again".into()
            }
            Self::TooManyOpen => {
                "Too many requests with this access token are open; please wait until one has ended".into()
            }
            Self::Full => "The gateway serves as many as it can right now; please try again in a moment".into(),
            Self::NotFound => "Not found".into(),
            Self::MethodNotAllowed { allow } => format!("Method not allowed; use {allow}"),
            Self::TokenMissing => "Token is required in request body".into(),
            Self::MalformedBody(what) => (*what).into(),
            Self::NotJson => "The request body must be application/json".into(),
            Self::BodyTooLarge => "The request body is too large".into(),
            Self::BrokenBody => "The request could not be read to its end".into(),
            Self::BodyTimeout => "The request body did not arrive in time".into(),
            Self::MalformedHead(what) => (*what).into(),
            Self::RequestLineTooLong => "The request line is too long".into(),
            Self::HeadersTooLarge => "The request has too many or too large headers".into(),
            Self::HeadTimeout => "The request's head did not arrive in time".into(),
            Self::VersionNotSupported => "This version of HTTP is not supported".into(),
            Self::MethodNotImplemented => "This gateway does not implement that method".into(),
            Self::CodingNotImplemented => "This gateway implements no transfer coding but chunked".into(),
            Self::Unavailable => "The gateway cannot check tokens right now; please try again in a moment".into(),
            Self::HandoverGone => "This link was used already or has expired; please open Zenzefi again".into(),
            Self::UpstreamUnreachable => "Bad Gateway: Zenzefi server cannot be reached".into(),
            Self::UpstreamSilent => "Gateway Timeout: Zenzefi server did not respond".into(),
            Self::ControlUnreachable => "Bad Gateway: the control API cannot be reached".into(),
            Self::ControlSilent => "Gateway Timeout: the control API did not respond".into(),
            Self::Fault => "The gateway failed to handle this request".into(),
        }
    }

    /// A word for logs and metrics, from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::WrongHost => "wrong_host",
            Self::ClientBlocked => "client_blocked",
            Self::PlainHttp => "plain_http",
            Self::MalformedDevice => "malformed_device",
            Self::NoCredential => "no_credential",
            Self::BadCredential(_) => "bad_credential",
            Self::NetworkNotAllowed => "network_not_allowed",
            Self::DeviceRequired => "device_required",
            Self::Path(_) => "path",
            Self::MisspelledPath => "misspelled_path",
            Self::OutsideScope { .. } => "outside_scope",
            Self::CrossSite => "cross_site",
            Self::InUse { .. } => "in_use",
            Self::Throttled { .. } => "throttled",
            Self::TooManyUnknown { .. } => "too_many_unknown",
            Self::TooManyRequests(_) => "too_many_requests",
            Self::TooManyOpen => "too_many_open",
            Self::Full => "full",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::TokenMissing => "token_missing",
            Self::MalformedBody(_) => "malformed_body",
            Self::NotJson => "not_json",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BrokenBody => "broken_body",
            Self::MalformedHead(_) => "malformed_head",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::VersionNotSupported => "version_not_supported",
            Self::MethodNotImplemented => "method_not_implemented",
            Self::CodingNotImplemented => "coding_not_implemented",
            Self::Unavailable => "unavailable",
            Self::HandoverGone => "handover_gone",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamSilent => "upstream_silent",
            Self::ControlUnreachable => "control_unreachable",
            Self::ControlSilent => "control_silent",
            Self::Fault => "fault",
        }
    }
}

/// Why a grant ends while requests hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    Expired,
    Revoked,
    Suspended,
    /// Another device holds the token, or this one let it go.
    TakenOver,
    EndedByAdministrator,
    /// The token may no longer be used from the client's address.
    NetworkNotAllowed,
    /// Redis was away for longer than a grant is trusted without it.
    RedisUnavailable,
}

impl EndReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::TakenOver => "taken_over",
            Self::EndedByAdministrator => "ended_by_administrator",
            Self::NetworkNotAllowed => "network_not_allowed",
            Self::RedisUnavailable => "redis_unavailable",
        }
    }

    /// What that makes of the credential.
    pub fn as_bad(self) -> InvalidCredential {
        match self {
            Self::Expired => InvalidCredential::Expired,
            Self::Suspended => InvalidCredential::Suspended,
            _ => InvalidCredential::Revoked,
        }
    }
}
