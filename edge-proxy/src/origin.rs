//! An origin: scheme, host and port. What people see, what the upstream is, and what a browser says that it comes from.

use std::{fmt, str::FromStr};

use url::{Host, Url};

/// A web origin, normalised: the host in lower case, the port always known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    host: Host<String>,
    port: u16,
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
        Some(Self { https, host: url.host()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// The origin that a `Host` header names under a scheme.
    pub fn of_host(https: bool, host: &str) -> Option<Self> {
        let scheme = if https { "https" } else { "http" };
        format!("{scheme}://{host}").parse().ok()
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host, an IPv6 one without brackets: as SNI and resolvers want it.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host` or `host:port`, as the `Host` header has it: without the scheme's own port.
    pub fn authority(&self) -> String {
        if self.port == if self.https { 443 } else { 80 } {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether a `Host` header names this origin.
    pub fn is_named_by(&self, host: &str) -> bool {
        Self::of_host(self.https, host).is_some_and(|named| named == *self)
    }

    /// Whether its host is an address and not a name.
    pub fn is_address(&self) -> bool {
        !matches!(self.host, Host::Domain(_))
    }

    /// Whether it names this very machine, as the origin of a desktop client's local proxy must.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
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
