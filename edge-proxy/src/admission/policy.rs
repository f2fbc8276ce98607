//! The check of a request against what it carries and what is known of its token. Everything here
//! is pure: the effects (asking Redis, answering) are the callers'.

use http::{HeaderMap, HeaderValue, Method, header};
use shared::token::scope::{Closed, Scope};

use crate::{
    admission::{
        concurrency::RequestKind,
        facts::{ClientDevice, Facts},
    },
    config::DevicePolicy,
    origin::Origin,
    rejection::Rejection,
};

/// A request that asks to be let through.
pub struct Caller<'a> {
    pub from: ClientDevice,
    /// The scopes that open its paths; at least one.
    pub scopes: Vec<Scope>,
    /// The path that it asks for, and where it would copy that to.
    pub paths: &'a [&'a str],
    pub request: &'a Facts,
    pub agent: Option<&'a HeaderValue>,
    /// What it opens.
    pub opens: RequestKind,
}

/// Checks what does not depend on Redis' answer, in the contract's order: device, path, scope.
pub fn authorize(policy: DevicePolicy, has_device: bool, scope: Scope, paths: &[&str]) -> Result<(), Rejection> {
    if policy == DevicePolicy::Required && !has_device {
        return Err(Rejection::DeviceRequired);
    }
    paths.iter().try_for_each(|path| {
        scope.opens(path).map_err(|closed| match closed {
            Closed::Fault(fault) => Rejection::Path(fault),
            Closed::Outside => Rejection::OutsideScope { scope, path: (*path).to_owned() },
        })
    })
}

/// Refuses what another site makes a browser send along with our cookie: an unsafe method, or a
/// WebSocket.
///
/// `own` are the origins that may: the public ones, and the local one of a desktop client.
pub fn check_cross_site(
    method: &Method,
    is_upgrade: bool,
    headers: &HeaderMap,
    own: &[&Origin],
) -> Result<(), Rejection> {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if is_safe && !is_upgrade {
        return Ok(());
    }
    match headers.get(header::ORIGIN) {
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok());
            if origin.is_some_and(|origin| own.contains(&&origin)) { Ok(()) } else { Err(Rejection::CrossSite) }
        }
        None if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") => Err(Rejection::CrossSite),
        None => Ok(()),
    }
}

/// Whether a browser is about to show the answer as a page of its own, whatever it sends: a form,
/// too.
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

/// Reads where to go after a sign-in: a path on the same origin, or nothing. One slash, not
/// followed by another or by a backslash, and no control characters: anything else could name
/// another host.
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
    fn the_device_is_asked_for_before_the_path_and_the_path_before_the_scope() {
        let scope = Scope::CertificatesOnly;
        assert_eq!(authorize(DevicePolicy::Required, false, scope, &["/a/../b"]), Err(Rejection::DeviceRequired));
        assert!(matches!(authorize(DevicePolicy::Required, true, scope, &["/a/../b"]), Err(Rejection::Path(_))));
        let rejection = authorize(DevicePolicy::Optional, false, scope, &["/users/currentUser"]).expect_err("outside");
        assert_eq!(
            rejection.detail(),
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
            assert_eq!(check(Method::DELETE, false, lines), Err(Rejection::CrossSite), "{lines:?}");
            assert_eq!(check(Method::GET, true, lines), Err(Rejection::CrossSite), "{lines:?}");
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
