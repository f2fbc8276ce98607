//! The check of a request against what it carries and what is known of its token. Everything here is pure: the effects (asking
//! Redis, answering) are the callers'.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared::{
    net::upstream_path::PathFault,
    rate::Exceeded,
    token::{
        device::Device,
        scope::{Closed, Scope},
    },
    web::cookie,
};

use crate::{
    admission::{concurrency::Kind, credential},
    config::DevicePolicy,
    origin::Origin,
    proxy::context::Request,
};

/// The header by which a client names its device.
pub const DEVICE_HEADER: &str = "x-device-id";

/// Why a credential opens nothing, as far as it is known. An API client is told the same of all; a page says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Unknown,
    Expired,
    /// Or replaced by another.
    Revoked,
    /// Its user is disabled.
    Suspended,
}

/// Why a request is not let through. A refusal is an outcome, not an error; [`Denied::detail`] is the contract's very text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    WrongHost,
    /// Nobody may come from that address.
    AddressRefused,
    /// Without TLS, where the edge serves https alone.
    PlainHttp,
    MalformedDevice,
    NoCredential,
    BadCredential(Bad),
    /// The token may not be used from that address.
    KeptOut,
    DeviceRequired,
    Path(PathFault),
    MisspelledPath,
    OutsideScope {
        scope: Scope,
        path: String,
    },
    CrossSite,
    /// Another device holds the token, since then by Redis' clock; only how its name begins is told.
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

impl Denied {
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
            | Self::AddressRefused
            | Self::KeptOut => StatusCode::FORBIDDEN,
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

    /// One sentence for the client. It repeats nothing that was sent but the path of a scope refusal, as the contract has it.
    pub fn detail(&self) -> String {
        match self {
            Self::AddressRefused => "Access from this address is not allowed".into(),
            Self::WrongHost => "This gateway does not serve that host".into(),
            Self::PlainHttp => "This gateway is reached by https and wss only".into(),
            Self::MalformedDevice => "Invalid X-Device-ID header format (must be 8-255 characters)".into(),
            Self::NoCredential => "Authentication required: provide cookie or X-Access-Token header".into(),
            Self::BadCredential(_) => "Invalid or expired access token".into(),
            Self::KeptOut => "This access token may not be used from this address".into(),
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
            Self::AddressRefused => "address_refused",
            Self::PlainHttp => "plain_http",
            Self::MalformedDevice => "malformed_device",
            Self::NoCredential => "no_credential",
            Self::BadCredential(_) => "bad_credential",
            Self::KeptOut => "kept_out",
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

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origination {
    pub device: Device,
    /// It said so itself, by header or by our cookie.
    pub is_named: bool,
}

/// A request that asks to be let through.
pub struct Caller<'a> {
    pub from: Origination,
    /// The scopes that open its paths; at least one.
    pub scopes: Vec<Scope>,
    /// The path that it asks for, and where it would copy that to.
    pub paths: &'a [&'a str],
    pub request: &'a Request,
    pub agent: Option<&'a HeaderValue>,
    /// What it opens.
    pub opens: Kind,
}

/// Reads the device that a request comes from: its header, else our cookie, else its address and agent.
pub fn origination(headers: &HeaderMap, client: Option<IpAddr>) -> Result<Origination, Denied> {
    if let Some(value) = headers.get(DEVICE_HEADER) {
        let name = value.to_str().map_err(|_| Denied::MalformedDevice)?.trim();
        let device = Device::named(name).ok_or(Denied::MalformedDevice)?;
        return Ok(Origination { device, is_named: true });
    }
    if let Some(browser) = credential::cookie(headers, cookie::DEVICE) {
        return Ok(Origination { device: Device::of_cookie(browser), is_named: true });
    }
    let agent = headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    Ok(Origination { device: Device::of_address(client, agent.as_deref().unwrap_or_default()), is_named: false })
}

/// Checks what does not depend on Redis' answer, in the contract's order: device, path, scope.
pub fn authorize(policy: DevicePolicy, has_device: bool, scope: Scope, paths: &[&str]) -> Result<(), Denied> {
    if policy == DevicePolicy::Required && !has_device {
        return Err(Denied::DeviceRequired);
    }
    paths.iter().try_for_each(|path| {
        scope.opens(path).map_err(|closed| match closed {
            Closed::Fault(fault) => Denied::Path(fault),
            Closed::Outside => Denied::OutsideScope { scope, path: (*path).to_owned() },
        })
    })
}

/// Refuses what another site makes a browser send along with our cookie: an unsafe method, or a WebSocket.
///
/// `own` are the origins that may: the public ones, and the local one of a desktop client.
pub fn check_cross_site(method: &Method, is_upgrade: bool, headers: &HeaderMap, own: &[&Origin]) -> Result<(), Denied> {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if is_safe && !is_upgrade {
        return Ok(());
    }
    match headers.get(header::ORIGIN) {
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok());
            if origin.is_some_and(|origin| own.contains(&&origin)) { Ok(()) } else { Err(Denied::CrossSite) }
        }
        None if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") => Err(Denied::CrossSite),
        None => Ok(()),
    }
}

/// Whether a browser is about to show the answer as a page of its own, whatever it sends: a form, too.
pub fn shows_answer(method: &Method, headers: &HeaderMap) -> bool {
    is_navigation(method, headers) || headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
}

/// Whether a browser goes to a page, to show it as one of its own.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if *method != Method::GET && *method != Method::HEAD {
        return false;
    }
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => headers.get(header::ACCEPT).is_some_and(|accept| {
            accept.to_str().is_ok_and(|accept| accept.split(',').any(|part| part.trim().starts_with("text/html")))
        }),
    }
}

/// Reads where to go after a sign-in: a path on the same origin, or nothing. One slash, not followed by another or by a
/// backslash, and no control characters: anything else could name another host.
pub fn next_path(next: &str) -> Option<&str> {
    let mut bytes = next.bytes();
    let is_local = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
    (is_local && !next.chars().any(char::is_control)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_device_id_has_8_to_255_characters() {
        let named = Origination { device: Device::known("12345678"), is_named: true };
        assert_eq!(origination(&headers(&[(DEVICE_HEADER, "12345678")]), None), Ok(named));
        for id in ["", "1234567", &"x".repeat(256)] {
            assert_eq!(origination(&headers(&[(DEVICE_HEADER, id)]), None), Err(Denied::MalformedDevice), "{id}");
        }
    }

    #[test]
    fn a_device_is_known_by_its_header_then_its_cookie_then_its_address() {
        let cookie = format!("{}=a-cookie", cookie::DEVICE);
        let both = headers(&[(DEVICE_HEADER, "12345678"), ("cookie", &cookie)]);
        let device = |headers: &HeaderMap| origination(headers, None).expect("a device");
        assert_eq!(device(&both).device, Device::known("12345678"));
        let browser = device(&headers(&[("cookie", &cookie)]));
        assert_eq!(browser, Origination { device: Device::of_cookie("a-cookie"), is_named: true });
        assert!(!device(&headers(&[("user-agent", "curl")])).is_named);
    }

    #[test]
    fn the_device_is_asked_for_before_the_path_and_the_path_before_the_scope() {
        let scope = Scope::CertificatesOnly;
        assert_eq!(authorize(DevicePolicy::Required, false, scope, &["/a/../b"]), Err(Denied::DeviceRequired));
        assert!(matches!(authorize(DevicePolicy::Required, true, scope, &["/a/../b"]), Err(Denied::Path(_))));
        let denied = authorize(DevicePolicy::Optional, false, scope, &["/users/currentUser"]).expect_err("outside");
        assert_eq!(
            denied.detail(),
            "Access denied: your token scope ('certificates_only') does not allow access to '/users/currentUser'"
        );
    }

    #[test]
    fn another_site_cannot_use_the_cookie_to_change_something_or_to_open_a_websocket() {
        let public: Origin = "https://gateway.example".parse().expect("an origin");
        let check = |method: Method, upgrade, lines| check_cross_site(&method, upgrade, &headers(lines), &[&public]);
        assert_eq!(check(Method::POST, false, &[("origin", "https://gateway.example")]), Ok(()));
        assert_eq!(check(Method::POST, false, &[]), Ok(()), "no browser");
        assert_eq!(check(Method::GET, false, &[("origin", "https://evil.example")]), Ok(()));
        for lines in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "https://gateway.example.evil.example")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(check(Method::DELETE, false, lines), Err(Denied::CrossSite), "{lines:?}");
            assert_eq!(check(Method::GET, true, lines), Err(Denied::CrossSite), "{lines:?}");
        }
    }

    #[test]
    fn next_is_a_path_on_the_same_origin_or_nothing() {
        assert_eq!(next_path("/certificates?x=1#y"), Some("/certificates?x=1#y"));
        for next in ["", "//evil.com", "/\\evil.com", "https://evil.com", "certificates", "/a\nb", "/\u{85}"] {
            assert_eq!(next_path(next), None, "{next:?}");
        }
    }
}
