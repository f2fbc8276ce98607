//! A request's head on its way to the upstream or to the control API.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use uuid::Uuid;

use super::REQUEST_ID;
use crate::{
    admission::{
        credential::{self, Source},
        facts::Facts,
    },
    assertion::Subject,
    config::Rewrite,
    cookies,
    edge::Edge,
    origin::Origin,
    proxy::target::Admitted,
    rewrite::http::{headers as rewrite, negotiation, plan::joined, validators},
    route,
};

/// Headers by which a client could pretend to be somebody, or to ask for another path than the one
/// that was checked.
const NOT_FROM_CLIENTS: [HeaderName; 16] = [
    header::FORWARDED,
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-device-id"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-local-url"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-token-id"),
    HeaderName::from_static("x-user-id"),
    HeaderName::from_static("x-zenzefi-assertion"),
];

/// Where WebDAV puts what it copies or moves (RFC 4918 §10.3).
const DESTINATION: HeaderName = HeaderName::from_static("destination");

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

/// Takes out what concerns the first hop only, and what `Connection` names. Where Pingora forwards,
/// it does the same itself.
pub fn strip_hop_by_hop(head: &mut RequestHeader) {
    let lines = head.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> = lines.flat_map(|line| line.split(',').map(|name| name.trim().to_owned())).collect();
    named.iter().for_each(|name| drop(head.remove_header(name.as_str())));
    HOP_BY_HOP.iter().for_each(|name| drop(head.remove_header(name)));
}

/// Whether a trailer may follow a request to the upstream: not one that frames, routes or
/// authenticates (RFC 9110 §6.5.1), nor one that would have been taken out of the head.
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
    let is_ours = NOT_FROM_CLIENTS.contains(name) || name.as_str() == credential::HEADER;
    !(is_ours || is_alias(name) || NEVER.contains(name) || HOP_BY_HOP.contains(name))
}

/// Makes a request's head ready for the upstream at that address, which is told its own name.
pub fn to_upstream(
    head: &mut RequestHeader,
    request: &Facts,
    admitted: &Admitted,
    upstream: &Origin,
    edge: &Edge,
) -> pingora::Result<()> {
    let config = &edge.config;
    head.set_raw_path(admitted.target.as_bytes())?;
    match cookies::strip_ours(&head.headers) {
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
    map_destination(head, &own_origin, upstream)?;
    if !config.forward_access_token {
        head.remove_header(credential::HEADER);
    }
    if let Some(basic) = &config.zenzefi_basic_auth {
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(basic.expose())))
            .expect("base64 is visible ASCII");
        value.set_sensitive(true);
        head.insert_header(header::AUTHORIZATION, value)?;
    }
    let is_rewritten = admitted.shown.is_some() && config.rewrite == Rewrite::Origins;
    if admitted.drops_coding {
        head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    } else if let Some(accept) = joined(&head.headers, &header::ACCEPT_ENCODING).filter(|_| is_rewritten) {
        head.insert_header(header::ACCEPT_ENCODING, negotiation::towards_upstream(&accept))?;
    }
    if let Some(tags) = joined(&head.headers, &header::IF_MATCH).filter(|_| is_rewritten) {
        head.insert_header(header::IF_MATCH, validators::if_match(&tags))?;
    }
    set_identity(head, request, upstream)?;
    for (name, id) in [("X-User-Id", admitted.permit.grant.user_id), ("X-Token-Id", admitted.permit.grant.token_id)] {
        head.insert_header(name, &*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))?;
    }
    if let Some(assertions) = &edge.assertions {
        let grant = &admitted.permit.grant;
        let subject = Subject { user_id: grant.user_id, token_id: grant.token_id, scope: grant.scope };
        let now = Instant::now();
        let assertion = assertions.header(subject, now, grant.left(now), &grant.assertion);
        head.insert_header("X-Zenzefi-Assertion", assertion)?;
    }
    Ok(())
}

/// Makes a request's head ready for the control API: Bearer only, never cookies, and no secret of
/// ours in an address. At the console's own host it gets that host and its cookies too, for it
/// knows by them who is logged in, and whose page asked.
pub fn to_control(head: &mut RequestHeader, request: &Facts, control: &Origin) -> pingora::Result<()> {
    let query = head.uri.query().map(credential::strip_query);
    if let Some(stripped) = query {
        let target = credential::with_query(head.uri.path(), stripped.as_deref());
        head.set_raw_path(target.as_bytes())?;
    }
    if let Some(referer) = head.headers.get(header::REFERER).and_then(|value| value.to_str().ok()) {
        head.insert_header(header::REFERER, credential::clean_referer(referer))?;
    }
    match cookies::strip_edges(&head.headers).filter(|_| request.is_console) {
        Some(cookies) => head.insert_header(header::COOKIE, cookies)?,
        None => drop(head.remove_header(&header::COOKIE)),
    }
    head.remove_header(credential::HEADER);
    set_identity(head, request, if request.is_console { &request.public } else { control })
}

/// The path of the upstream that a request's `Destination` names, besides its own; `None` if it has
/// none. One that cannot be read is no path either.
pub fn destination(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(DESTINATION)?;
    let value = value.to_str().unwrap_or_default();
    let rest = match value.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |path| &rest[path..]),
        None => value,
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    Some(route::without_prefix(path).to_owned())
}

/// Maps the one `Destination` as `Referer` is mapped, and takes the proxy's prefix off its path:
/// what [`destination`] has read is what the upstream gets.
fn map_destination(
    head: &mut RequestHeader,
    own_origin: &dyn Fn(&str) -> Option<Origin>,
    upstream: &Origin,
) -> pingora::Result<()> {
    let Some(value) = head.headers.get(DESTINATION).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let mapped = own_origin(value).and_then(|own| rewrite::towards_upstream(value, &[&own], upstream));
    let value = mapped.unwrap_or_else(|| value.to_owned());
    let origin = upstream.to_string();
    let (origin, path) = value.strip_prefix(&origin).map_or(("", value.as_str()), |path| (&origin, path));
    let value = format!("{origin}{}", route::without_prefix(path));
    head.insert_header(DESTINATION, value)
}

/// Whether a server behind may take `name` for a header that frames, routes or authenticates: CGI
/// and its like make one name of `X-User-Id`, `X_User_Id` and `X.User.Id`.
fn is_alias(name: &HeaderName) -> bool {
    const READ_HERE: [HeaderName; 6] = [
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::COOKIE,
        header::HOST,
        HeaderName::from_static(credential::HEADER),
        REQUEST_ID,
    ];
    if name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return false;
    }
    let meant = name.as_str().replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    let is_meant = |known: &HeaderName| *known == *meant;
    [&NOT_FROM_CLIENTS[..], &READ_HERE, &HOP_BY_HOP].into_iter().flatten().any(is_meant)
}

fn set_identity(head: &mut RequestHeader, request: &Facts, server: &Origin) -> pingora::Result<()> {
    let is_ours = |name: &&HeaderName| NOT_FROM_CLIENTS.contains(name) || is_alias(name);
    let ours: Vec<HeaderName> = head.headers.keys().filter(is_ours).cloned().collect();
    ours.iter().for_each(|name| drop(head.remove_header(name)));
    head.insert_header(header::HOST, server.authority())?;
    if let Some(address) = request.client {
        head.insert_header("X-Forwarded-For", address.to_string())?;
    }
    head.insert_header("X-Forwarded-Host", request.public.authority())?;
    head.insert_header("X-Forwarded-Proto", request.public.scheme())?;
    head.insert_header(REQUEST_ID, &*request.id.simple().encode_lower(&mut Uuid::encode_buffer()))?;
    Ok(())
}

/// The origin of `value` if it is one that the upstream should take for its own.
fn own_origin(value: &str, request: &Facts, admitted: &Admitted) -> Option<Origin> {
    let origin = Origin::of_url(&url::Url::parse(value).ok()?)?;
    let is_api_clients = admitted.source == Source::Header && origin.is_loopback();
    (is_api_clients || request.is_own(&origin)).then_some(origin)
}
