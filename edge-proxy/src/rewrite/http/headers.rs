//! Headers that name an origin. Whole origins only: a host that merely begins like the upstream's
//! stays as it is.

use url::Url;

use crate::{cookies, origin::Origin, rewrite::origins::OriginPatterns};

/// Maps a `Location` that names the upstream: to `shown`, or, where nobody's origin is known, to a
/// path. `None` leaves it as it is.
pub fn location(value: &str, upstreams: &OriginPatterns, shown: Option<&Origin>) -> Option<String> {
    match (after_upstream(value, upstreams), shown) {
        (Some(rest), Some(origin)) => {
            let slash = if rest.starts_with(['/', '\\']) { "" } else { "/" };
            let rest = names(rest, upstreams, origin).unwrap_or_else(|| rest.to_owned());
            Some(format!("{origin}{slash}{rest}"))
        }
        // Two slashes at the front would name a host, and a browser takes a backslash for a slash.
        (Some(rest), None) => Some(format!("/{}", rest.trim_start_matches(['/', '\\', '\t']))),
        // Where to come back to, in the address of another server or in a path.
        (None, Some(origin)) => {
            let (elsewhere, rest) = value.split_at(after_other_authority(value, upstreams));
            let rest = upstreams.rewrite_after(elsewhere.as_bytes(), rest.as_bytes(), origin)?;
            String::from_utf8(rest).ok().map(|rest| format!("{elsewhere}{rest}"))
        }
        (None, None) => None,
    }
}

/// Rewrites every spelling of the upstream's origins in a header that may name some. `None` leaves
/// it as it is.
pub fn names(value: &str, upstreams: &OriginPatterns, shown: &Origin) -> Option<String> {
    upstreams.rewrite(value.as_bytes(), shown).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Maps a request's `Origin` or `Referer` to the upstream's where it is one of `own`. Any other
/// passes unchanged (`None`), so that the upstream's own defence against other sites stands.
pub fn towards_upstream(value: &str, own: &[&Origin], upstream: &Origin) -> Option<String> {
    own.iter().find_map(|origin| after_origin(value, origin)).map(|rest| format!("{upstream}{rest}"))
}

/// Fits a `Set-Cookie` of the upstream to where it will be shown: `Domain` goes, and over plain
/// HTTP so do `Secure`, and `SameSite=None` and `Partitioned` that need it. `None` if its name is
/// one of the gateway's own: the upstream must not set those. Bytes, since a cookie's value may be
/// no text.
pub fn set_cookie(line: &[u8], shown: Option<&Origin>) -> Option<Vec<u8>> {
    // Where nothing stands before the first `=`, a browser sends back what follows it, as though
    // that had a name.
    let named = line.trim_ascii_start();
    let named = named.strip_prefix(b"=").unwrap_or(named);
    let name = named.split(|byte| b"=;".contains(byte)).next().unwrap_or_default().trim_ascii();
    if std::str::from_utf8(name).is_ok_and(cookies::is_ours) {
        return None;
    }
    let Some(shown) = shown else { return Some(line.to_owned()) };
    let mut parts = line.split(|&byte| byte == b';');
    let pair = parts.next().unwrap_or_default();
    let stays = |attribute: &&[u8]| {
        let mut halves = attribute.splitn(2, |&byte| byte == b'=').map(|half| half.trim_ascii().to_ascii_lowercase());
        match (halves.next().unwrap_or_default().as_slice(), halves.next().as_deref()) {
            (b"domain", _) => false,
            // With any value or none: a browser looks at the name alone.
            (b"secure" | b"partitioned", _) | (b"samesite", Some(b"none")) => shown.is_https(),
            _ => true,
        }
    };
    Some([pair].into_iter().chain(parts.filter(stays)).collect::<Vec<_>>().join(&b";"[..]))
}

/// Makes an answer private to one person, unless it already is, or stricter.
pub fn cache_control(value: Option<&str>) -> Option<String> {
    let Some(value) = value else { return Some("private".to_owned()) };
    let directives = || value.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let is_strict = directives().any(|directive| {
        let name = directive.split('=').next().unwrap_or_default().to_owned();
        name == "no-store" || directive == "private"
    });
    if is_strict {
        return None;
    }
    let shared_only = |directive: &str| {
        let lower = directive.to_ascii_lowercase();
        lower == "public" || lower.starts_with("s-maxage")
    };
    let kept = value.split(',').map(str::trim).filter(|directive| !directive.is_empty() && !shared_only(directive));
    Some(["private"].into_iter().chain(kept).collect::<Vec<_>>().join(", "))
}

/// Fits a `Content-Security-Policy` of the upstream to where its pages are shown: its origins
/// become `shown`, also where a source is a host alone. What would make a browser leave a plain
/// HTTP gateway for an HTTPS one goes, and what asks for an `integrity` that was taken off. `None`
/// leaves it as it is.
pub fn content_security_policy(value: &str, upstreams: &OriginPatterns, shown: &Origin) -> Option<String> {
    let source = |source: &str| {
        let rewritten = names(source, upstreams, shown).unwrap_or_else(|| source.to_owned());
        let (host, path) = rewritten.split_at(rewritten.find('/').unwrap_or(rewritten.len()));
        if upstreams.has_authority(host) { format!("{}{path}", shown.authority()) } else { rewritten }
    };
    // Several policies may stand in one line, after commas.
    let policies = value.split(',').map(|policy| {
        let directives = policy.split(';').filter(|directive| {
            let name = directive.split_ascii_whitespace().next().unwrap_or_default();
            let leaves = name.eq_ignore_ascii_case("upgrade-insecure-requests") && !shown.is_https();
            !leaves && !name.eq_ignore_ascii_case("require-sri-for")
        });
        let sources = |directive: &str| directive.split_ascii_whitespace().map(source).collect::<Vec<_>>().join(" ");
        directives.map(sources).filter(|directive| !directive.is_empty()).collect::<Vec<_>>().join("; ")
    });
    let fitted = policies.filter(|policy| !policy.is_empty()).collect::<Vec<_>>().join(", ");
    (fitted != value).then_some(fitted)
}

/// The front of an absolute or protocol-relative URL, as a browser reads it: any number of slashes
/// from two on are two, and backslashes are slashes.
struct Front<'a> {
    /// With its colon; empty where the URL has none.
    scheme: &'a str,
    authority: &'a str,
    /// What follows the authority.
    rest: &'a str,
}

impl<'a> Front<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(is_of_scheme)
        };
        let scheme = url.find(':').filter(|&colon| is_scheme(&url[..colon])).map_or(0, |colon| colon + 1);
        let (scheme, slashed) = url.split_at(scheme);
        let authority = slashed.trim_start_matches(['/', '\\', '\t']);
        let slashes = slashed[..slashed.len() - authority.len()].matches(['/', '\\']).count();
        let end = authority.find(['/', '?', '#', '\\']).unwrap_or(authority.len());
        let (authority, rest) = authority.split_at(end);
        (slashes >= 2).then_some(Self { scheme, authority, rest })
    }

    fn has_scheme(&self, schemes: &[&str]) -> bool {
        self.scheme.is_empty() || schemes.iter().any(|known| self.scheme.eq_ignore_ascii_case(known))
    }
}

/// What follows one of the upstream's origins in an absolute or protocol-relative URL.
fn after_upstream<'a>(value: &'a str, upstreams: &OriginPatterns) -> Option<&'a str> {
    let front = Front::of(value)?;
    (front.has_scheme(&["http:", "https:"]) && upstreams.has_authority(front.authority)).then_some(front.rest)
}

/// Where the authority of another server ends, at the front of a URL; 0 where there is none. It may
/// hold what would end an origin in a text, such as a semicolon, and its scheme may end like one of
/// ours: both are others.
fn after_other_authority(value: &str, upstreams: &OriginPatterns) -> usize {
    let Some(front) = Front::of(value) else { return 0 };
    let is_ours = front.has_scheme(&["http:", "https:", "ws:", "wss:"]) && upstreams.has_authority(front.authority);
    if is_ours { 0 } else { value.len() - front.rest.len() }
}

/// What follows `origin` in an absolute or protocol-relative URL, byte for byte; `None` if the URL
/// has another origin.
fn after_origin<'a>(value: &'a str, origin: &Origin) -> Option<&'a str> {
    let absolute = if value.starts_with("//") { format!("{}:{value}", origin.scheme()) } else { value.to_owned() };
    let url = Url::parse(&absolute).ok()?;
    if Origin::of_url(&url)? != *origin || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    // Fewer than two slashes name no authority where the page has that scheme.
    Front::of(value).map(|front| front.rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    #[test]
    fn a_redirect_to_the_upstream_stays_behind_the_gateway() {
        let upstreams = OriginPatterns::of(&[origin("https://zenzefi.local:8443"), origin("https://zenzefi.alias")]);
        let public = origin("https://gateway.example");
        let mapped = |value| location(value, &upstreams, Some(&public));
        assert_eq!(
            mapped("https://zenzefi.local:8443/a%20b?x=1#y").as_deref(),
            Some("https://gateway.example/a%20b?x=1#y")
        );
        assert_eq!(mapped("//ZENZEFI.local:8443/a").as_deref(), Some("https://gateway.example/a"));
        assert_eq!(mapped("https://zenzefi.local:8443?x").as_deref(), Some("https://gateway.example/?x"));
        assert_eq!(mapped("https://zenzefi.local:8443\\a").as_deref(), Some("https://gateway.example\\a"));
        assert_eq!(mapped("http://zenzefi.alias/a").as_deref(), Some("https://gateway.example/a"));
        for front in ["///", "/\\", "\\\\", "/\t/", "https:\\/", "http:////"] {
            let spelled = format!("{front}zenzefi.alias/a");
            let mapped = location(&spelled, &upstreams, Some(&public));
            assert_eq!(mapped.as_deref(), Some("https://gateway.example/a"), "{front:?}");
        }
        assert_eq!(
            mapped("https://login.example/?back=https%3A%2F%2Fzenzefi.alias%2Fa").as_deref(),
            Some("https://login.example/?back=https%3A%2F%2Fgateway.example%2Fa")
        );
        assert_eq!(mapped("in'https://zenzefi.alias/a").as_deref(), Some("in'https://gateway.example/a"));
        assert_eq!(mapped("/in?back=//zenzefi.alias/a").as_deref(), Some("/in?back=//gateway.example/a"));
        for other in [
            "/a",
            "a",
            "https:/zenzefi.local:8443/a//b",
            "https://zenzefi.local/a",
            "https://zenzefi.local:8443.evil.com/",
            "https://u@zenzefi.local:8443/",
            "https://zenzefi.alias;443/a",
            "xhttps://zenzefi.alias/a",
            "https://other.example//zenzefi.alias/a",
            "",
        ] {
            assert_eq!(mapped(other), None, "{other}");
        }
    }

    #[test]
    fn a_redirect_to_another_host_leads_there_however_its_slashes_are_spelled() {
        let upstreams = OriginPatterns::of(&[origin("https://zenzefi.local")]);
        let shown = origin("https://gateway.example");
        for front in ["//", "///", "\\\\", "/\\", "\\/\\/", "/\t/", "https:\\/", "https:/\\", "https:////"] {
            let other = format!("{front}other.example0https://zenzefi.local/a");
            assert_eq!(location(&other, &upstreams, Some(&shown)), None, "{other:?}");
        }
    }

    #[test]
    fn an_api_client_gets_a_path_and_never_a_host() {
        let upstreams = OriginPatterns::of(&[origin("https://zenzefi.local")]);
        assert_eq!(location("https://zenzefi.local/a?b", &upstreams, None).as_deref(), Some("/a?b"));
        for other in ["//evil.com", "/\\evil.com", "/\t/evil.com"] {
            let absolute = format!("https://zenzefi.local{other}");
            assert_eq!(location(&absolute, &upstreams, None).as_deref(), Some("/evil.com"), "{other:?}");
        }
    }

    #[test]
    fn only_our_own_origins_become_the_upstreams() {
        let upstream = origin("https://zenzefi.local");
        let public = origin("http://127.0.0.1:8000");
        assert_eq!(
            towards_upstream("http://127.0.0.1:8000/a?b", &[&public], &upstream).as_deref(),
            Some("https://zenzefi.local/a?b")
        );
        assert_eq!(
            towards_upstream("http://127.0.0.1:8000", &[&public], &upstream).as_deref(),
            Some("https://zenzefi.local")
        );
        assert_eq!(
            towards_upstream("http:////127.0.0.1:8000/a", &[&public], &upstream).as_deref(),
            Some("https://zenzefi.local/a")
        );
        assert_eq!(towards_upstream("http:/127.0.0.1:8000/a//b", &[&public], &upstream), None);
        assert_eq!(towards_upstream("https://evil.example", &[&public], &upstream), None);
        assert_eq!(towards_upstream("null", &[&public], &upstream), None);
    }

    #[test]
    fn cookies_fit_the_place_where_they_are_shown() {
        let http = origin("http://127.0.0.1:8000");
        let https = origin("https://gateway.example");
        let line = b"id=\xff; Domain=zenzefi.local; Path=/a; Secure; HttpOnly; SameSite=None";
        let fitted = |line: &[u8], shown| set_cookie(line, shown).map(|line| line.escape_ascii().to_string());
        assert_eq!(fitted(line, Some(&http)).as_deref(), Some("id=\\xff; Path=/a; HttpOnly"));
        assert_eq!(fitted(line, Some(&https)).as_deref(), Some("id=\\xff; Path=/a; Secure; HttpOnly; SameSite=None"));
        assert_eq!(set_cookie(line, None).as_deref(), Some(&line[..]));
        let valued = b"id=1; domain ; Secure=; SameSite = None; Partitioned=1";
        assert_eq!(fitted(valued, Some(&http)).as_deref(), Some("id=1"));
        assert_eq!(fitted(b"zenzefi_access_token=\xff; Path=/", Some(&https)), None);
        assert_eq!(fitted(b"__Host-zenzefi_console=x; Path=/; Secure", Some(&https)), None);
        assert_eq!(fitted(b"zenzefi_language=ru", Some(&https)), None);
        assert_eq!(fitted(b" zenzefi_device = x", None), None);
        assert_eq!(fitted(b"=zenzefi_access_token=x", Some(&https)), None);
    }

    #[test]
    fn a_policy_lets_pages_reach_the_gateway_where_it_let_them_reach_the_upstream() {
        let upstreams = OriginPatterns::of(&[origin("https://zenzefi.local:8443")]);
        let fitted = |value, shown: &str| content_security_policy(value, &upstreams, &origin(shown));
        let policy = "default-src 'self' https://zenzefi.local:8443; connect-src ZENZEFI.local:8443 wss://zenzefi.local:8443/ws \
                      https://cdn.example; upgrade-insecure-requests";
        assert_eq!(
            fitted(policy, "https://gateway.example").as_deref(),
            Some(
                "default-src 'self' https://gateway.example; connect-src gateway.example wss://gateway.example/ws \
                 https://cdn.example; upgrade-insecure-requests"
            )
        );
        assert_eq!(
            fitted(
                "img-src zenzefi.local:8443/a; upgrade-insecure-requests, script-src 'none'; require-sri-for script",
                "http://127.0.0.1:8000"
            )
            .as_deref(),
            Some("img-src 127.0.0.1:8000/a, script-src 'none'")
        );
        assert_eq!(
            fitted("img-src zenzefi.local:8443/to/https://zenzefi.local:8443/a", "https://gateway.example").as_deref(),
            Some("img-src gateway.example/to/https://gateway.example/a")
        );
        for other in
            ["default-src 'self'", "img-src zenzefi.local *.zenzefi.local:8443 https://zenzefi.local:8443.evil.com"]
        {
            assert_eq!(fitted(other, "https://gateway.example"), None, "{other}");
        }
    }

    #[test]
    fn answers_are_private_unless_they_are_stricter() {
        assert_eq!(cache_control(None).as_deref(), Some("private"));
        assert_eq!(cache_control(Some("public, max-age=60, s-maxage=9")).as_deref(), Some("private, max-age=60"));
        assert_eq!(cache_control(Some("No-Store")), None);
        assert_eq!(cache_control(Some("private, max-age=1")), None);
        assert_eq!(cache_control(Some("private=\"x\"")).as_deref(), Some("private, private=\"x\""));
    }
}
