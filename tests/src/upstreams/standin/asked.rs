//! What a request asks, and of which origin.

use http::{HeaderName, HeaderValue, header};
use url::form_urlencoded;

/// Headers that a query adds to an answer at most.
const MOST_HEADERS: usize = 20;

/// The query of a request, decoded value by value.
pub struct Query<'a>(pub &'a str);

impl Query<'_> {
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = String> {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The headers that `header=Name:Value` asks for; `None` where one of them is none.
    pub fn headers(&self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        self.all("header").take(MOST_HEADERS).map(|line| header_line(&line)).collect()
    }
}

/// Reads `Name: value`.
pub fn header_line(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// The origin that a request was sent to: what the server takes for its own.
pub struct Origin {
    pub scheme: &'static str,
    pub authority: String,
}

impl Origin {
    pub fn of(scheme: Scheme, head: &http::request::Parts) -> Self {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let authority = head.uri.authority().map(ToString::to_string).or(host).unwrap_or_default();
        Self { scheme: scheme.as_str(), authority }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }

    /// The same server as WebSockets name it.
    pub fn socket_url(&self) -> String {
        self.url("").replacen("http", "ws", 1)
    }

    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host)
    }
}

/// The scheme that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
