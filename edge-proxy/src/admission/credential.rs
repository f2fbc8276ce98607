//! Finds the credentials of a request and takes them out again before it goes to the upstream.
//! Pure.
//!
//! A request can carry several: in the query (first on a GET or an upgrade), in our cookie, in
//! `X-Access-Token`. All are candidates in that order, so that a dead cookie does not hide a good
//! header.

use http::{HeaderMap, Method};
use shared::{token::credential::Credential, web::cookie};

use crate::cookies;

/// The header that desktop and API clients send.
pub const HEADER: &str = "x-access-token";

/// Where a credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Query,
    Cookie,
    Header,
}

/// A credential of a request. `credential` is `None` where what stands there cannot be one: it
/// counts as unknown.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub source: Source,
    pub credential: Option<Credential>,
}

/// The credentials of a request in the order in which they are tried.
pub fn candidates(method: &Method, headers: &HeaderMap, query: Option<&str>) -> Vec<Candidate> {
    let query_comes_first = *method == Method::GET;
    let from_query = query_tokens(query).next().filter(|_| query_comes_first);
    let query = from_query.map(|credential| Candidate { source: Source::Query, credential: Some(credential) });
    let cookie = cookies::get(headers, cookie::ACCESS_TOKEN);
    let cookie = cookie.map(|text| Candidate { source: Source::Cookie, credential: Credential::parse(text) });
    let header = headers.get(HEADER).map(|value| Candidate {
        source: Source::Header,
        credential: value.to_str().ok().and_then(|text| Credential::parse(text.trim())),
    });
    query.into_iter().chain(cookie).chain(header).collect()
}

/// The query without what is ours: every `token=` with 64 URL-safe characters. The rest stays byte
/// for byte; `None` if nothing is left.
pub fn strip_query(query: &str) -> Option<String> {
    let kept: Vec<&str> = query.split('&').filter(|pair| query_token(pair).is_none()).collect();
    let all_were_ours = kept.is_empty();
    (!all_were_ours).then(|| kept.join("&"))
}

/// A path with its query, if it has one.
pub fn with_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// A `Referer` without the query parameters that are secrets of ours.
pub fn clean_referer(referer: &str) -> String {
    let Some((url, query)) = referer.split_once('?') else { return referer.to_owned() };
    let secret = |pair: &&str| matches!(pair.split_once('='), Some(("token" | "code", _)));
    let kept: Vec<&str> = query.split('&').filter(|pair| !secret(pair)).collect();
    if kept.is_empty() { url.to_owned() } else { format!("{url}?{}", kept.join("&")) }
}

fn query_tokens(query: Option<&str>) -> impl Iterator<Item = Credential> {
    query.into_iter().flat_map(|query| query.split('&')).filter_map(query_token)
}

fn query_token(pair: &str) -> Option<Credential> {
    let (name, value) = pair.split_once('=')?;
    if name == "token" { Credential::parse_token_text(value) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: &str = cookie::ACCESS_TOKEN;
    const TEXT: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn sources(method: Method, headers: &HeaderMap, query: Option<&str>) -> Vec<Source> {
        candidates(&method, headers, query).into_iter().map(|candidate| candidate.source).collect()
    }

    #[test]
    fn the_query_comes_first_on_a_get_then_cookie_then_header() {
        let cookie = format!("a=b; {COOKIE}={TEXT}");
        let headers = headers(&[("cookie", &cookie), (HEADER, TEXT)]);
        let query = format!("x=1&token={TEXT}");
        assert_eq!(sources(Method::GET, &headers, Some(&query)), [Source::Query, Source::Cookie, Source::Header]);
        assert_eq!(sources(Method::POST, &headers, Some(&query)), [Source::Cookie, Source::Header]);
        assert_eq!(sources(Method::GET, &headers, Some("token=theirs")), [Source::Cookie, Source::Header]);
    }

    #[test]
    fn what_cannot_be_a_credential_is_still_a_candidate_that_fails() {
        let candidates = candidates(&Method::GET, &headers(&[(HEADER, "nonsense")]), None);
        assert!(matches!(&candidates[..], [Candidate { source: Source::Header, credential: None }]));
    }

    #[test]
    fn a_token_in_the_query_is_ours_only_with_64_url_safe_characters() {
        assert_eq!(strip_query(&format!("b=2&token={TEXT}&a=1&a=%31")).as_deref(), Some("b=2&a=1&a=%31"));
        assert_eq!(strip_query(&format!("token={TEXT}")), None);
        assert_eq!(strip_query(&format!("token={TEXT}&")).as_deref(), Some(""));
        assert_eq!(strip_query("token=theirs&&x").as_deref(), Some("token=theirs&&x"));
    }

    #[test]
    fn a_referer_keeps_all_but_our_secrets() {
        assert_eq!(clean_referer("https://a/b?x=1&token=s&code=s&y"), "https://a/b?x=1&y");
        assert_eq!(clean_referer("https://a/b?token=s"), "https://a/b");
        assert_eq!(clean_referer("https://a/b"), "https://a/b");
    }
}
