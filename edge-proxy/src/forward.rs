//! What a request's head becomes on its way to the upstream or to the control API, and what the upstream's answer becomes on
//! its way back. The one place that decides which headers cross the gateway.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::{
    config::Config,
    credential::{self, Source},
    origin::Origin,
    request::{Admitted, Request},
    rewrite::headers as rewrite,
};

/// Headers by which a client could pretend to be somebody, or to ask for another path than the one that was checked.
const NOT_FROM_CLIENTS: [&str; 16] = [
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-device-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-local-url",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-token-id",
    "x-user-id",
    "x-zenzefi-assertion",
];

/// Headers of the upstream that speak for its own host and must not bind the public one.
const NOT_FROM_UPSTREAM: [HeaderName; 3] =
    [header::ALT_SVC, header::STRICT_TRANSPORT_SECURITY, HeaderName::from_static("public-key-pins")];

const EXPIRES_IN: HeaderName = HeaderName::from_static("x-access-expires-in");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of the first hop only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes out what concerns the first hop only, and what `Connection` names. Where Pingora forwards, it does the same itself.
pub fn strip_hop_by_hop(head: &mut RequestHeader) {
    let lines = head.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> = lines.flat_map(|line| line.split(',').map(|name| name.trim().to_owned())).collect();
    named.iter().for_each(|name| drop(head.remove_header(name.as_str())));
    HOP_BY_HOP.iter().for_each(|name| drop(head.remove_header(name)));
}

/// Whether a trailer may follow a request to the upstream: not one that frames, routes or authenticates (RFC 9110 §6.5.1), nor
/// one that would have been taken out of the head.
pub fn may_trail(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 14] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::MAX_FORWARDS,
        header::RANGE,
        REQUEST_ID,
    ];
    let is_ours = NOT_FROM_CLIENTS.contains(&name.as_str()) || name.as_str() == credential::HEADER;
    !(is_ours || NEVER.contains(name) || HOP_BY_HOP.contains(name))
}

/// Makes a request's head ready for the upstream.
pub fn to_upstream(
    head: &mut RequestHeader,
    request: &Request,
    admitted: &Admitted,
    config: &Config,
) -> pingora::Result<()> {
    let upstream = &config.zenzefi_url;
    head.set_raw_path(admitted.target.as_bytes())?;
    match credential::strip_cookies(&head.headers) {
        Some(cookies) => head.insert_header(header::COOKIE, cookies)?,
        None => drop(head.remove_header(&header::COOKIE)),
    }
    let own_origin = |value: &str| own_origin(value, request, admitted);
    for name in [header::ORIGIN, header::REFERER] {
        let Some(value) = head.headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let cleaned = credential::clean_referer(value);
        let mapped = own_origin(&cleaned).and_then(|own| rewrite::towards_upstream(&cleaned, &[&own], upstream));
        head.insert_header(name, mapped.unwrap_or(cleaned))?;
    }
    if !config.forward_access_token {
        head.remove_header(credential::HEADER);
    }
    if let Some(basic) = &config.zenzefi_basic_auth {
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(basic.expose())))
            .expect("base64 is visible ASCII");
        value.set_sensitive(true);
        head.insert_header(header::AUTHORIZATION, value)?;
    }
    // These callers drop Content-Encoding on the way to whoever asked.
    if admitted.source == Source::Header || request.local.is_some() {
        head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }
    set_identity(head, request, upstream)?;
    head.insert_header("X-User-Id", admitted.permit.held.user_id.to_string())?;
    head.insert_header("X-Token-Id", admitted.permit.held.token_id.to_string())?;
    Ok(())
}

/// Makes a request's head ready for the control API: Bearer only, never cookies, and no secret of ours in an address.
pub fn to_control(head: &mut RequestHeader, request: &Request, control: &Origin) -> pingora::Result<()> {
    let query = head.uri.query().map(credential::strip_query);
    if let Some(stripped) = query {
        let target = credential::with_query(head.uri.path(), stripped.as_deref());
        head.set_raw_path(target.as_bytes())?;
    }
    if let Some(referer) = head.headers.get(header::REFERER).and_then(|value| value.to_str().ok()) {
        head.insert_header(header::REFERER, credential::clean_referer(referer))?;
    }
    head.remove_header(&header::COOKIE);
    head.remove_header(credential::HEADER);
    set_identity(head, request, control)
}

/// Makes the upstream's answer ready for the client.
pub fn from_upstream(
    head: &mut ResponseHeader,
    request: &Request,
    admitted: &Admitted,
    upstream: &Origin,
    now: Instant,
) -> pingora::Result<()> {
    NOT_FROM_UPSTREAM.iter().for_each(|name| drop(head.remove_header(name)));
    let shown = admitted.shown.as_ref();
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let value = head.headers.get(&name).and_then(|value| value.to_str().ok());
        if let Some(mapped) = value.and_then(|value| rewrite::location(value, upstream, shown)) {
            head.insert_header(name, mapped)?;
        }
    }
    let cookies: Vec<HeaderValue> = head.headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    head.remove_header(&header::SET_COOKIE);
    for cookie in cookies {
        let kept = rewrite::set_cookie(cookie.as_bytes(), shown).and_then(|line| HeaderValue::from_bytes(&line).ok());
        if let Some(kept) = kept {
            head.append_header(header::SET_COOKIE, kept)?;
        }
    }
    let cache_control = head.headers.get_all(header::CACHE_CONTROL).iter();
    let cache_control: Vec<&str> = cache_control.filter_map(|value| value.to_str().ok()).collect();
    let joined = (!cache_control.is_empty()).then(|| cache_control.join(", "));
    if let Some(private) = rewrite::cache_control(joined.as_deref()) {
        head.insert_header(header::CACHE_CONTROL, private)?;
    }
    head.insert_header(EXPIRES_IN, admitted.permit.held.left(now).as_secs())?;
    head.insert_header(REQUEST_ID, &request.id)?;
    Ok(())
}

fn set_identity(head: &mut RequestHeader, request: &Request, server: &Origin) -> pingora::Result<()> {
    NOT_FROM_CLIENTS.iter().for_each(|name| drop(head.remove_header(*name)));
    head.insert_header(header::HOST, server.authority())?;
    if let Some(address) = request.client {
        head.insert_header("X-Forwarded-For", address.to_string())?;
    }
    head.insert_header("X-Forwarded-Host", request.public.authority())?;
    head.insert_header("X-Forwarded-Proto", request.public.scheme())?;
    head.insert_header(REQUEST_ID, &request.id)?;
    Ok(())
}

/// The origin of `value` if it is one that the upstream should take for its own.
fn own_origin(value: &str, request: &Request, admitted: &Admitted) -> Option<Origin> {
    let origin = Origin::of_url(&url::Url::parse(value).ok()?)?;
    let is_api_clients = admitted.source == Source::Header && origin.is_loopback();
    (is_api_clients || request.is_own(&origin)).then_some(origin)
}
