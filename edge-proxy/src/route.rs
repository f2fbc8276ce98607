//! What a path means on the edge: one of its own endpoints, the control API behind the front door,
//! or the upstream. Pure, and decided on canonical bytes: another spelling of a reserved path is
//! refused, never forwarded, so that nothing reaches the upstream by a name that belongs to the
//! gateway.

use shared::net::upstream_path::lenient;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    Authenticate,
    Status,
    Logout,
    Release,
    Health,
    SignIn,
    Enter,
    TakeOver,
    TimeLeft,
    Language,
    WhoAmI,
    Stylesheet,
    Icon,
    TimeLeftScript,
    /// What assertions are verified with, where they are made.
    KeySet,
    /// Below a reserved prefix, and nothing there.
    NotFound,
    /// The control API, where this edge is its front door.
    Control,
    /// The control plane at a host of its own: every path.
    Console,
    /// The upstream's `path`, which begins with a slash; `prefixed` if it came under
    /// `/api/v1/proxy`.
    Upstream {
        path: &'a str,
        prefixed: bool,
    },
    /// An encoded or doubled-slash spelling of a reserved path.
    Misspelled,
}

impl Route<'_> {
    /// A word for logs and metrics.
    pub fn class(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Authenticate | Self::Status | Self::Logout | Self::Release | Self::TimeLeft => "session",
            Self::SignIn
            | Self::Enter
            | Self::TakeOver
            | Self::Language
            | Self::WhoAmI
            | Self::Stylesheet
            | Self::Icon
            | Self::TimeLeftScript => "page",
            Self::KeySet => "keys",
            Self::Control => "control",
            Self::Console => "console",
            Self::Upstream { .. } => "upstream",
            Self::NotFound | Self::Misspelled => "none",
        }
    }
}

const PROXY: &str = "/api/v1/proxy";
const GATEWAY: &str = "/_gateway";
const HEALTH: &str = "/health";
/// As OpenID Connect and its libraries have it.
const KEY_SET: &str = "/.well-known/jwks.json";
const ACME_CHALLENGES: &str = "/.well-known/acme-challenge";
/// Longer than any authority's.
const MAX_CHALLENGE_BYTES: usize = 256;

/// The endpoints under [`PROXY`], where all else is the upstream's.
const SESSION: [(&str, Route<'static>); 4] = [
    ("/authenticate", Route::Authenticate),
    ("/status", Route::Status),
    ("/logout", Route::Logout),
    ("/session/release", Route::Release),
];

/// Paths of the control API behind the front door.
const CONTROL: [&str; 10] = [
    "/api/v1/auth",
    "/api/v1/users",
    "/api/v1/tokens",
    "/api/v1/currency",
    "/api/v1/bundles",
    "/api/v1/admin",
    "/api/v1/webhooks",
    "/docs",
    "/redoc",
    "/openapi.json",
];

/// Every reserved path that `RESERVED_PREFIX_OFF` can give back to the upstream: all but the proxy
/// and the gateway itself.
pub const RESERVED: [&str; 11] = {
    let mut reserved = [HEALTH; 11];
    let mut index = 0;
    while index < CONTROL.len() {
        reserved[index + 1] = CONTROL[index];
        index += 1;
    }
    reserved
};

/// The reserved paths of one edge.
#[derive(Clone, Debug)]
pub struct Routes {
    health: bool,
    key_set: bool,
    control: Vec<&'static str>,
}

impl Routes {
    /// The routes of an edge that is (or is not) the front door of the control API, less those
    /// given back to the upstream. It signs nothing.
    pub fn new(front_door: bool, given_back: &[String]) -> Self {
        let kept = |path: &&str| !given_back.iter().any(|given| given == path);
        let control = if front_door { CONTROL.into_iter().filter(kept).collect() } else { Vec::new() };
        Self { health: kept(&HEALTH), key_set: false, control }
    }

    /// The same of an edge that signs assertions, or does not.
    pub fn with_assertions(self, signs: bool) -> Self {
        Self { key_set: signs, ..self }
    }

    /// Whether a path is served without TLS too where all else is sent to https: to machines that
    /// look whether this edge lives, and to authorities that look whose a host name is (RFC 8555
    /// §8.3).
    pub fn is_plain(&self, path: &str) -> bool {
        self.of(path) == Route::Health || under(path, ACME_CHALLENGES).is_some()
    }

    /// Decides where `path` goes: the path as received, without its query.
    pub fn of<'a>(&self, path: &'a str) -> Route<'a> {
        if self.health && matches!(path, "/health" | "//health") {
            return Route::Health;
        }
        if self.key_set && path == KEY_SET {
            return Route::KeySet;
        }
        if let Some(below) = under(path, PROXY) {
            if let Some((_, endpoint)) = SESSION.into_iter().find(|(name, _)| *name == below) {
                return endpoint;
            }
            if is_spelled_oddly(below) && SESSION.iter().any(|(name, _)| name.as_bytes() == lenient(below)) {
                return Route::Misspelled;
            }
            return Route::Upstream { path: without_prefix(path), prefixed: true };
        }
        if let Some(below) = under(path, GATEWAY) {
            return match below {
                "/sign-in" => Route::SignIn,
                "/enter" => Route::Enter,
                "/take-over" => Route::TakeOver,
                "/time-left" => Route::TimeLeft,
                "/language" => Route::Language,
                "/whoami" => Route::WhoAmI,
                "/style.css" => Route::Stylesheet,
                "/icon.svg" => Route::Icon,
                "/time-left.js" => Route::TimeLeftScript,
                _ => Route::NotFound,
            };
        }
        if self.control.iter().any(|prefix| under(path, prefix).is_some()) {
            return Route::Control;
        }
        if self.is_reserved_leniently(path) {
            return Route::Misspelled;
        }
        Route::Upstream { path, prefixed: false }
    }

    /// Whether a lenient server might take `path` for a reserved one.
    fn is_reserved_leniently(&self, path: &str) -> bool {
        if !is_spelled_oddly(path) {
            return false;
        }
        let lenient = lenient(path);
        let lenient = String::from_utf8_lossy(&lenient);
        let reserved = [PROXY, GATEWAY].into_iter().chain(self.control.iter().copied());
        let is_exact = self.health && lenient == HEALTH || self.key_set && lenient == KEY_SET;
        is_exact || reserved.into_iter().any(|prefix| under(&lenient, prefix).is_some())
    }
}

/// The name of the challenge that a path asks for.
pub fn acme_challenge(path: &str) -> Option<&str> {
    let token = under(path, ACME_CHALLENGES)?.strip_prefix('/')?;
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!token.is_empty() && token.len() <= MAX_CHALLENGE_BYTES && token.bytes().all(is_base64url)).then_some(token)
}

/// The upstream's path that a path of the gateway means, whether or not it came under the proxy's
/// prefix.
pub fn without_prefix(path: &str) -> &str {
    match under(path, PROXY) {
        Some("") => "/",
        Some(below) => below,
        None => path,
    }
}

/// Whether a path may mean another one to a lenient server.
fn is_spelled_oddly(path: &str) -> bool {
    path.contains(['%', '\\']) || path.contains("//")
}

/// What follows `prefix` in `path`: nothing, or something that begins with a slash. `None` if it
/// does not lie under it.
fn under<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|below| below.is_empty() || below.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Route<'_> {
        Routes::new(true, &[]).of(path)
    }

    #[test]
    fn what_is_not_reserved_goes_to_the_upstream_at_the_same_path() {
        for path in [
            "/",
            "/certificates/filter",
            "/healthy",
            "/api/v1/other",
            "/api/v1/proxying",
            "/docsish",
            "/a%2Fb",
            "/a//b",
        ] {
            assert_eq!(of(path), Route::Upstream { path, prefixed: false }, "{path}");
        }
    }

    #[test]
    fn the_proxy_prefix_is_taken_off() {
        assert_eq!(
            of("/api/v1/proxy/users/currentUser"),
            Route::Upstream { path: "/users/currentUser", prefixed: true }
        );
        assert_eq!(of("/api/v1/proxy"), Route::Upstream { path: "/", prefixed: true });
        assert_eq!(of("/api/v1/proxy/health"), Route::Upstream { path: "/health", prefixed: true });
        assert_eq!(of("/api/v1/proxy/session/other"), Route::Upstream { path: "/session/other", prefixed: true });
    }

    #[test]
    fn the_endpoints_of_the_session_are_reserved() {
        assert_eq!(of("/api/v1/proxy/authenticate"), Route::Authenticate);
        assert_eq!(of("/api/v1/proxy/status"), Route::Status);
        assert_eq!(of("/api/v1/proxy/logout"), Route::Logout);
        assert_eq!(of("/api/v1/proxy/session/release"), Route::Release);
    }

    #[test]
    fn another_spelling_of_a_reserved_path_is_never_forwarded() {
        for path in [
            "/%68ealth",
            "/health%2F..",
            "/%5fgateway/sign-in",
            "//_gateway/sign-in",
            "/api//v1/proxy/x",
            "/api/v1%2Fproxy/x",
            "\\api\\v1\\proxy",
            "/api/v1/toke%6es",
            "//docs",
            "/api/v1/proxy/%73tatus",
            "/api/v1/proxy//logout",
            "/api/v1/proxy/session%2frelease",
        ] {
            let route = of(path);
            assert!(route == Route::Misspelled || path == "/health%2F..", "{path}: {route:?}");
        }
        assert_eq!(of("//health"), Route::Health);
    }

    #[test]
    fn the_key_set_is_the_gateways_only_where_something_is_signed() {
        let path = "/.well-known/jwks.json";
        assert_eq!(of(path), Route::Upstream { path, prefixed: false });
        let routes = Routes::new(true, &[]).with_assertions(true);
        assert_eq!(routes.of(path), Route::KeySet);
        for path in ["//.well-known/jwks.json", "/.well-known/%6awks.json", "/.well-known//jwks.json"] {
            assert_eq!(routes.of(path), Route::Misspelled, "{path}");
        }
        for path in ["/.well-known/jwks.json/x", "/.well-known/jwks", "/.well-known/openid-configuration"] {
            assert_eq!(routes.of(path), Route::Upstream { path, prefixed: false }, "{path}");
        }
    }

    #[test]
    fn reserved_paths_can_be_given_back() {
        let routes = Routes::new(true, &["/health".into(), "/docs".into()]);
        assert_eq!(routes.of("/health"), Route::Upstream { path: "/health", prefixed: false });
        assert_eq!(routes.of("/docs"), Route::Upstream { path: "/docs", prefixed: false });
        assert_eq!(routes.of("/redoc"), Route::Control);
        let no_front_door = Routes::new(false, &[]);
        assert_eq!(no_front_door.of("/api/v1/tokens"), Route::Upstream { path: "/api/v1/tokens", prefixed: false });
    }
}
