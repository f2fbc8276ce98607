//! Kinds of values that options have, and how each is read. An error never repeats what was given
//! where that may be a secret.

use std::fmt;

use clap::ValueEnum;
use shared::net::address::{Networks, NotANetwork, TrustedProxies};

use tracing_subscriber::EnvFilter;

use crate::origin::Origin;

/// When a request must say which device it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DevicePolicy {
    Optional,
    Required,
    /// Bodies stay as Zenzefi sent them.
    Off,
}

/// The `SameSite` attribute of the gateway's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// Which of Zenzefi's addresses takes the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Balance {
    /// The one with the fewest open requests.
    LeastConnections,
    /// Each in its turn.
    RoundRobin,
}

/// What becomes of text in the bodies of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rewrite {
    /// Zenzefi's origins become the origin at which the page is shown.
    Origins,
    /// Bodies stay as Zenzefi sent them.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A text that must not be seen in a log.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A URL that may hold a password; shown without it.
#[derive(Clone)]
pub struct SecretUrl(url::Url);

impl SecretUrl {
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

/// Checks a log filter; returns it unchanged.
pub fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

pub fn redis_url(text: &str) -> Result<SecretUrl, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    match (url.scheme(), url.host_str(), fred::types::config::Config::from_url(text)) {
        ("redis" | "redis-sentinel", Some(_), Ok(_)) => Ok(SecretUrl(url)),
        _ => Err("must be redis://[user:password@]host:port[/database], or \
                  redis-sentinel://host:port?sentinelServiceName=name"
            .into()),
    }
}

pub fn trusted_proxies(text: &str) -> Result<TrustedProxies, NotANetwork> {
    TrustedProxies::parse(text.split(','))
}

pub fn networks(text: &str) -> Result<Networks, NotANetwork> {
    Networks::parse(text.split(','))
}

pub fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
    if is_path { Ok(text.to_owned()) } else { Err("must be a path, such as /health".into()) }
}

pub fn host(text: &str) -> Result<String, String> {
    let named = Origin::of_host(false, text).filter(|_| !text.contains(['/', '@', '?', '#']));
    named.map(|_| text.to_owned()).ok_or_else(|| "must be host or host:port, without a scheme".into())
}

/// The address of a page, without a slash at its end, to which a path can be added.
pub fn page_url(text: &str) -> Result<String, String> {
    let is_page = url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_page && is_plain {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("must be http(s)://host[:port]/path".into())
    }
}

pub fn https_url(text: &str) -> Result<String, String> {
    let is_https = url::Url::parse(text).is_ok_and(|url| url.scheme() == "https");
    if is_https { Ok(text.to_owned()) } else { Err("must be https://host[:port]/path".into()) }
}

pub fn basic_auth(text: &str) -> Result<Secret, String> {
    let (user, _) = text.split_once(':').ok_or("must be user:password")?;
    if user.is_empty() { Err("the user is empty".into()) } else { Ok(Secret(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_is_named_by_address_or_sentinels_and_never_shown_with_its_password() {
        for url in ["redis://localhost:6379/1", "redis-sentinel://u:secret@one:26379?sentinelServiceName=gateway"] {
            let url = redis_url(url).expect(url);
            assert!(!format!("{url:?}").contains("secret"));
        }
        for url in ["redis-sentinel://one:26379", "redis-cluster://one:6379", "http://one", "redis://", "one:6379"] {
            let refusal = redis_url(url).expect_err(url);
            assert!(!refusal.contains("one:"), "{refusal}");
        }
    }
}
