//! An answer's head on its way to the client.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use uuid::Uuid;

use super::REQUEST_ID;
use crate::{
    admission::facts::Facts,
    connection::is_tls,
    edge::Edge,
    origin::Origin,
    proxy::target::Admitted,
    rewrite::{
        html::script::policy_with_notice,
        http::{
            headers as rewrite,
            media::Text,
            plan::{self, Plan, joined},
            validators,
        },
        origins::OriginPatterns,
    },
};

/// Headers of the upstream that speak for its own host and must not bind the public one.
const NOT_FROM_UPSTREAM: [HeaderName; 5] = [
    header::ALT_SVC,
    HeaderName::from_static("expect-ct"),
    header::PUBLIC_KEY_PINS,
    header::PUBLIC_KEY_PINS_REPORT_ONLY,
    header::STRICT_TRANSPORT_SECURITY,
];

/// Headers that hold URLs or origins as text does.
const NAMING_ORIGINS: [HeaderName; 9] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::LINK,
    HeaderName::from_static("permissions-policy"),
    header::REFRESH,
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("sourcemap"),
    HeaderName::from_static("timing-allow-origin"),
    HeaderName::from_static("x-sourcemap"),
];

const POLICIES: [HeaderName; 2] = [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY];

/// Headers that tell of the very bytes of a body, or how many they are.
const OF_THE_BYTES: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

const INTEGRITY_POLICIES: [HeaderName; 2] =
    [HeaderName::from_static("integrity-policy"), HeaderName::from_static("integrity-policy-report-only")];

/// What tells answers to the same path apart, besides the credential itself: caches must not mix
/// them.
const VARY: &str = "X-Local-Url, X-Access-Token";

/// And pages that get a script where a browser shows them, and none where a script asks for them.
const VARY_WITH_NOTICE: &str = "X-Local-Url, X-Access-Token, Sec-Fetch-Dest";

/// Makes the upstream's answer ready for the client that sent `asked`.
pub fn from_upstream(
    head: &mut ResponseHeader,
    asked: &RequestHeader,
    request: &Facts,
    admitted: &Admitted,
    upstreams: &OriginPatterns,
) -> pingora::Result<()> {
    NOT_FROM_UPSTREAM.iter().for_each(|name| drop(head.remove_header(name)));
    let shown = admitted.shown.as_ref();
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        map(head, &name, &|value| rewrite::location(value, upstreams, shown))?;
    }
    if let Some(shown) = shown {
        for name in &NAMING_ORIGINS {
            map(head, name, &|value| rewrite::names(value, upstreams, shown))?;
        }
        for name in &POLICIES {
            map(head, name, &|value| rewrite::content_security_policy(value, upstreams, shown))?;
        }
    }
    fit_cookies(head, shown)?;
    if let Some(private) = rewrite::cache_control(joined(&head.headers, &header::CACHE_CONTROL).as_deref()) {
        head.insert_header(header::CACHE_CONTROL, private)?;
    }
    let is_not_modified = head.status == StatusCode::NOT_MODIFIED;
    // A `304` says as little of its type as it may, and must say what the answer that it stands for
    // varies by.
    if is_not_modified || plan::text(&head.headers).is_some() {
        vary(head, if admitted.gets_notice { VARY_WITH_NOTICE } else { VARY })?;
    }
    if is_not_modified {
        keep_weak(head, &asked.headers)?;
    }
    head.insert_header("X-Access-Expires-In", admitted.permit.grant.left(Instant::now()).as_secs())?;
    head.insert_header(REQUEST_ID, &*request.id.simple().encode_lower(&mut Uuid::encode_buffer()))?;
    Ok(())
}

/// Fits a head to a body that does not pass as it came: without what tells of its bytes.
pub fn fit_body(head: &mut ResponseHeader, plan: &Plan) -> pingora::Result<()> {
    OF_THE_BYTES.iter().for_each(|name| drop(head.remove_header(name)));
    map(head, &header::ETAG, &|tag| Some(validators::weak(tag)))?;
    head.insert_header(header::ACCEPT_RANGES, "none")?;
    match plan.to {
        Some(coding) => head.insert_header(header::CONTENT_ENCODING, coding.as_str())?,
        None => drop(head.remove_header(&header::CONTENT_ENCODING)),
    }
    if plan.text == Some(Text::Html) {
        // It asks for an `integrity` that was taken off.
        INTEGRITY_POLICIES.iter().for_each(|name| drop(head.remove_header(name)));
    }
    if plan.from.is_some() {
        vary(head, "Accept-Encoding")?;
    }
    Ok(())
}

/// Lets a page that is shown under this origin tell the time left, by its policies; `false` where
/// they do not let it, and nothing is changed.
pub fn admit_script(head: &mut ResponseHeader, shown: &Origin) -> pingora::Result<bool> {
    let name = header::CONTENT_SECURITY_POLICY;
    let admitted = |line: &HeaderValue| line.to_str().ok().and_then(|line| policy_with_notice(line, shown));
    let lines: Option<Vec<String>> = head.headers.get_all(&name).iter().map(admitted).collect();
    let Some(lines) = lines else { return Ok(false) };
    head.remove_header(&name);
    for line in lines {
        head.append_header(&name, line)?;
    }
    Ok(true)
}

/// Gives each line of a header its new value; those for which there is none stay.
fn map(head: &mut ResponseHeader, name: &HeaderName, becomes: &dyn Fn(&str) -> Option<String>) -> pingora::Result<()> {
    if !head.headers.contains_key(name) {
        return Ok(());
    }
    let lines = head.headers.get_all(name).iter();
    let lines: Vec<_> = lines.map(|line| (line.clone(), line.to_str().ok().and_then(becomes))).collect();
    if lines.iter().all(|(_, mapped)| mapped.is_none()) {
        return Ok(());
    }
    head.remove_header(name);
    for (line, mapped) in lines {
        let mapped = mapped.and_then(|mapped| HeaderValue::from_str(&mapped).ok());
        head.append_header(name, mapped.unwrap_or(line))?;
    }
    Ok(())
}

fn fit_cookies(head: &mut ResponseHeader, shown: Option<&Origin>) -> pingora::Result<()> {
    if !head.headers.contains_key(header::SET_COOKIE) {
        return Ok(());
    }
    let cookies: Vec<HeaderValue> = head.headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    head.remove_header(&header::SET_COOKIE);
    for cookie in cookies {
        let kept = rewrite::set_cookie(cookie.as_bytes(), shown).and_then(|line| HeaderValue::from_bytes(&line).ok());
        if let Some(kept) = kept {
            head.append_header(header::SET_COOKIE, kept)?;
        }
    }
    Ok(())
}

/// Adds to `Vary` what is not in it.
fn vary(head: &mut ResponseHeader, names: &'static str) -> pingora::Result<()> {
    let Some(known) = joined(&head.headers, &header::VARY) else { return head.insert_header(header::VARY, names) };
    let is_known = |name: &&str| {
        known.split(',').any(|known| ["*", name].iter().any(|same| known.trim().eq_ignore_ascii_case(same)))
    };
    let missing: Vec<&str> = names.split(", ").filter(|name| !is_known(name)).collect();
    if missing.is_empty() { Ok(()) } else { head.append_header(header::VARY, missing.join(", ")).map(drop) }
}

/// Gives a `304` the weak tag that the client knows: as a strong one a cache would not take it for
/// the answer that it holds.
fn keep_weak(head: &mut ResponseHeader, asked: &HeaderMap) -> pingora::Result<()> {
    let Some(known) = joined(asked, &header::IF_NONE_MATCH) else { return Ok(()) };
    map(head, &header::ETAG, &|tag| validators::is_known_as_weak(&known, tag).then(|| validators::weak(tag)))
}

/// The `Strict-Transport-Security` that browsers get on this connection (RFC 6797 §7.2): over TLS
/// alone.
pub fn strict_transport(edge: &Edge, session: &Session) -> Option<HeaderValue> {
    let seconds = edge.config.tls.hsts_seconds;
    let value = || HeaderValue::try_from(format!("max-age={seconds}")).expect("a number is visible ASCII");
    (seconds > 0 && is_tls(session)).then(value)
}
