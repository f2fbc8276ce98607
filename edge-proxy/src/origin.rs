//! An origin: scheme, host and port. What people see, what the upstream is, and what a browser says
//! that it comes from.

use std::{fmt, str::FromStr, sync::Arc};

use url::{Host, Url};

/// A web origin, normalised: the host in lower case, the port always known. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    https: bool,
    host: Host<String>,
    port: u16,
    /// Written once, for every request asks for it.
    authority: String,
}

/// A text that is not `http(s)://host[:port]`.
#[derive(Debug, thiserror::Error)]
#[error("must be http://host[:port] or https://host[:port], without a path")]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let url = Url::parse(text.trim()).map_err(|_| NotAnOrigin)?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(NotAnOrigin);
        }
        Self::of_url(&url).ok_or(NotAnOrigin)
    }
}

impl Origin {
    /// The origin of a URL; `None` unless it is an http(s) one.
    pub fn of_url(url: &Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = (url.host()?.to_owned(), url.port_or_known_default()?);
        let is_own_port = port == if https { 443 } else { 80 };
        let authority = if is_own_port { host.to_string() } else { format!("{host}:{port}") };
        Some(Self(Arc::new(Parts { https, host, port, authority })))
    }

    /// The origin that a `Host` header names under a scheme.
    pub fn of_host(https: bool, host: &str) -> Option<Self> {
        let scheme = if https { "https" } else { "http" };
        format!("{scheme}://{host}").parse().ok()
    }

    pub fn is_https(&self) -> bool {
        self.0.https
    }

    pub fn scheme(&self) -> &'static str {
        if self.0.https { "https" } else { "http" }
    }

    /// The host, an IPv6 one without brackets: as SNI and resolvers want it.
    pub fn host(&self) -> String {
        match &self.0.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// `host` or `host:port`, as the `Host` header has it: without the scheme's own port.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// Whether a `Host` header names this origin.
    pub fn is_named_by(&self, host: &str) -> bool {
        Self::of_host(self.0.https, host).is_some_and(|named| named == *self)
    }

    /// Whether its host is an address and not a name.
    pub fn is_address(&self) -> bool {
        !matches!(self.0.host, Host::Domain(_))
    }

    /// Whether it names this very machine, as the origin of a desktop client's local proxy must.
    pub fn is_loopback(&self) -> bool {
        match &self.0.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    #[test]
    fn the_schemes_own_port_and_the_case_of_the_host_do_not_matter() {
        assert_eq!(origin("https://Zenzefi.local:443/"), origin("https://zenzefi.local"));
        assert_ne!(origin("https://zenzefi.local"), origin("http://zenzefi.local"));
        assert_eq!(origin("https://zenzefi.local:443").to_string(), "https://zenzefi.local");
        assert_eq!(origin("http://[::1]:8000").to_string(), "http://[::1]:8000");
        assert_eq!(origin("http://[::1]:8000").host(), "::1");
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in
            ["zenzefi.local", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u:p@a", "javascript:alert(1)"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_header_names_an_origin_only_with_its_port() {
        let public = origin("http://127.0.0.1:8000");
        assert!(public.is_named_by("127.0.0.1:8000"));
        assert!(!public.is_named_by("127.0.0.1"));
        assert!(!public.is_named_by("127.0.0.1:8000.evil.com"));
        assert!(!public.is_named_by("evil@127.0.0.1:8000"));
        assert!(origin("https://a").is_named_by("A:443"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        assert!(origin("https://127.0.0.1:61000").is_loopback());
        assert!(origin("https://localhost:61000").is_loopback());
        assert!(!origin("https://localhost.evil.com").is_loopback());
        assert!(!origin("https://10.0.0.1").is_loopback());
    }
}
