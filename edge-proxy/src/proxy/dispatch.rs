//! Decides from a request's head whether to answer, forward or reject it, in the contract's order
//! of checks. The phases in `proxy/mod.rs` carry out what is decided here.

use std::sync::Arc;

use http::{HeaderMap, Method, Version, header};
use pingora::{http::RequestHeader, proxy::Session};
use shared::{net::upstream_path::PathFault, token::scope::Scope};

use crate::{
    admission::{
        concurrency::RequestKind,
        credential::{self, Candidate, Source, with_query},
        facts::{self, ClientDevice, Facts, is_client},
        policy::{self, Caller},
    },
    connection::{
        self,
        http1::head::{Limits, is_not_for_gateways},
        is_tls,
    },
    edge::Edge,
    endpoints::{browser, cookies, form, operator, session},
    grants::{LookedUp, live::LiveGrant},
    origin::Origin,
    proxy::{
        context::RequestCtx,
        headers,
        target::{Admitted, Target},
        trailers,
    },
    rejection::Rejection,
    response::LocalResponse,
    route::{self, Route},
};

/// What becomes of a request once its head was judged.
pub enum Action {
    LocalResponse(LocalResponse),
    Forward(Target),
    Tunnel(Admitted),
    WithTrailers(Admitted),
}

/// Judges a request by its head, in the contract's order of checks, and answers what is the edge's
/// own.
pub async fn judge(edge: &Edge, session: &mut Session, ctx: &mut RequestCtx) -> Result<Action, Rejection> {
    note_target(session, ctx)?;
    check_size(session.req_header(), &edge.config.limits.head_limits(), edge.config.limits.max_body_bytes)?;
    if let Some(challenge) = edge.tls.acme.as_ref().and_then(|_| route::acme_challenge(&ctx.record.path)) {
        // From any client, by any port: authorities name no addresses, and look at port 80.
        let challenge = challenge.to_owned();
        ctx.record.route = "challenge";
        return Box::pin(operator::acme_challenge(edge, session, &challenge)).await.map(Action::LocalResponse);
    }
    if edge.config.tls.https_redirect && !is_tls(session) {
        let head = session.req_header();
        let is_plain = || edge.site.routes.is_plain(&ctx.record.path) && !is_for_console(edge, head);
        if !is_plain() {
            return to_https(edge, head);
        }
    }
    let request = Arc::new(read_head(edge, session, ctx)?);
    ctx.facts = Some(Arc::clone(&request));
    let path = Arc::clone(&ctx.record.path);
    let route = if request.is_console { Route::Console } else { edge.site.routes.of(&path) };
    ctx.record.route = route.class();
    // Whether this edge is well is told to everybody, at all times.
    if route != Route::Health {
        if request.client.is_some_and(|client| !edge.admission.entrance.admits(client)) {
            return Err(Rejection::ClientBlocked);
        }
        if edge.admission.entrance.is_full() {
            return Err(Rejection::Full);
        }
    }
    let answer = match route {
        Route::Control | Route::Console => {
            shared::net::upstream_path::check(&path).map_err(Rejection::Path)?;
            return Ok(Action::Forward(Target::Control));
        }
        Route::Upstream { path, prefixed } => return admit_upstream(edge, session, &request, path, prefixed).await,
        // Boxed, so that requests that pass do not carry room for them.
        own => Box::pin(answer(edge, session, &request, own)).await?,
    };
    Ok(Action::LocalResponse(answer))
}

/// Answers what is the edge's own.
async fn answer(
    edge: &Edge,
    session: &mut Session,
    request: &Facts,
    route: Route<'_>,
) -> Result<LocalResponse, Rejection> {
    match route {
        Route::Health => Ok(operator::health(edge)),
        Route::Authenticate => session::authenticate(edge, session, request).await,
        Route::Status => session::status(edge, session, request).await,
        Route::Logout => session::logout(edge, session, request).await,
        Route::Release => session::release(edge, session, request).await,
        Route::TimeLeft => session::time_left(edge, session, request).await,
        Route::SignIn => browser::sign_in(edge, session, request).await,
        Route::Enter => browser::enter(edge, session, request).await,
        Route::TakeOver => browser::take_over(edge, session, request).await,
        Route::Language => browser::language(edge, session, request),
        Route::WhoAmI => operator::whoami(edge, session, request).await,
        Route::Stylesheet => browser::asset(&edge.pages.assets.style, session),
        Route::Icon => browser::asset(&edge.pages.assets.icon, session),
        Route::TimeLeftScript => browser::asset(&edge.pages.assets.time_left, session),
        Route::KeySet => operator::key_set(edge, session),
        Route::Misspelled => Err(Rejection::MisspelledPath),
        Route::NotFound | Route::Control | Route::Console | Route::Upstream { .. } => Err(Rejection::NotFound),
    }
}

/// Notes what the access line needs.
fn note_target(session: &Session, ctx: &mut RequestCtx) -> Result<(), Rejection> {
    let head = session.req_header();
    ctx.record.method = head.method.clone();
    let target =
        head.uri.path_and_query().filter(|_| head.raw_path_is_utf8()).ok_or(Rejection::Path(PathFault::NotAbsolute))?;
    ctx.record.path = target.path().into();
    Ok(())
}

/// Sends a request that came without TLS to the same host and path by https. A WebSocket follows no
/// redirect.
fn to_https(edge: &Edge, head: &RequestHeader) -> Result<Action, Rejection> {
    if is_websocket(head) {
        return Err(Rejection::PlainHttp);
    }
    let named = named_host(head).and_then(|host| Origin::of_host(false, host)).ok_or(Rejection::WrongHost)?;
    // Whatever the ports: those of the two listeners differ.
    let secure = edge.site.served_origins().find(|origin| origin.is_https() && origin.host() == named.host());
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = format!("{}{target}", secure.ok_or(Rejection::WrongHost)?);
    LocalResponse::permanent_redirect(&target).map(Action::LocalResponse).ok_or(Rejection::Fault)
}

/// Reads what the head says.
fn read_head(edge: &Edge, session: &Session, ctx: &RequestCtx) -> Result<Facts, Rejection> {
    let head = session.req_header();
    let public = public_origin(edge, is_tls(session), head).ok_or(Rejection::WrongHost)?;
    let local = head.headers.get("x-local-url").and_then(|url| url.to_str().ok()?.parse::<Origin>().ok());
    Ok(Facts {
        id: ctx.record.id,
        client: connection::client_address(session, &edge.config.trusted_proxies),
        is_console: edge.site.console.as_ref() == Some(&public),
        public,
        publics: Arc::clone(&edge.site.public_origins),
        local: local.filter(Origin::is_loopback),
        looked_up: LookedUp::default(),
    })
}

/// Checks what the gate has checked of HTTP/1 already, and what a body says of its length.
fn check_size(head: &RequestHeader, limits: &Limits, max_body_bytes: u64) -> Result<(), Rejection> {
    if is_not_for_gateways(head.method.as_str().as_bytes()) {
        return Err(Rejection::MethodNotImplemented);
    }
    if head.version == Version::HTTP_2 {
        if head.raw_path().len() > limits.line_bytes {
            return Err(Rejection::RequestLineTooLong);
        }
        if head.headers.len() > limits.headers {
            return Err(Rejection::HeadersTooLarge);
        }
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if max_body_bytes > 0 && length.is_some_and(|length| length > max_body_bytes) {
        return Err(Rejection::BodyTooLarge);
    }
    Ok(())
}

/// Whether a request is for the host that shows the console.
fn is_for_console(edge: &Edge, head: &RequestHeader) -> bool {
    let console = edge.site.console.as_ref();
    console.is_some_and(|console| named_host(head).is_some_and(|host| console.is_named_by(host)))
}

/// The origin that a request came by, public or the console's; `None` if it is none of ours.
fn public_origin(edge: &Edge, is_tls: bool, head: &RequestHeader) -> Option<Origin> {
    let host = named_host(head)?;
    // As nearly every request spells it; to read it as an origin takes long.
    let spelled_so = edge.site.served_origins().find(|origin| origin.authority() == host);
    match spelled_so.or_else(|| edge.site.served_origins().find(|origin| origin.is_named_by(host))) {
        Some(origin) => Some(origin.clone()),
        // Only DEBUG lets this list be empty.
        None if edge.site.public_origins.is_empty() => Origin::of_host(is_tls, host),
        None => None,
    }
}

/// The host, and the port if it says one, that a request is for.
fn named_host(head: &RequestHeader) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(header::HOST)?.to_str().ok(),
    }
}

/// Lets a request through to the upstream's `path`, in the contract's order of checks.
async fn admit_upstream(
    edge: &Edge,
    session: &Session,
    request: &Facts,
    path: &str,
    prefixed: bool,
) -> Result<Action, Rejection> {
    let head = session.req_header();
    let query = head.uri.query();
    let from = facts::origination(&head.headers, request.client)?;
    let candidates = credential::candidates(&head.method, &head.headers, query);
    let has_query_token = matches!(candidates.first(), Some(Candidate { source: Source::Query, .. }));
    if prefixed && !has_query_token && is_browsers_navigation(&head.method, &head.headers) {
        return redirect(&request.public, path, query);
    }
    let is_upgrade = is_websocket(head);
    let query = query.map(credential::strip_query).unwrap_or_default();
    if has_query_token && !is_upgrade {
        let (grant, candidate) = Box::pin(edge.admission.choose(candidates, request)).await?;
        if candidate.source == Source::Query {
            policy::authorize(edge.config.device_policy, true, grant.scope, &[path])?;
            return sign_in_by_query(edge, &head.headers, request, &candidate, &grant, path, query.as_deref());
        }
        return Box::pin(admit_with(edge, session, request, &from, vec![candidate], path, query.as_deref())).await;
    }
    admit_with(edge, session, request, &from, candidates, path, query.as_deref()).await
}

/// Admits a request by the first of these credentials that opens something.
async fn admit_with(
    edge: &Edge,
    session: &Session,
    request: &Facts,
    from: &ClientDevice,
    candidates: Vec<Candidate>,
    path: &str,
    query: Option<&str>,
) -> Result<Action, Rejection> {
    let head = session.req_header();
    let is_upgrade = is_websocket(head);
    let policy = edge.config.device_policy;
    let destination = headers::destination(&head.headers);
    let paths: Vec<&str> = [path].into_iter().chain(destination.as_deref()).collect();
    let opens = |scope: &Scope| policy::authorize(policy, from.is_named, *scope, &paths).is_ok();
    let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(opens).collect();
    let check = |candidate: &Candidate| match candidate.source {
        Source::Cookie => policy::check_cross_site(&head.method, is_upgrade, &head.headers, &request.own_origins()),
        _ => Ok(()),
    };
    if scopes.is_empty() {
        // No token opens this; but a bad one is told so first, and nothing is taken for it.
        let (grant, candidate) = Box::pin(edge.admission.choose(candidates, request)).await?;
        check(&candidate)?;
        return Err(policy::authorize(policy, from.is_named, grant.scope, &paths).err().unwrap_or(Rejection::Fault));
    }
    let agent = head.headers.get(header::USER_AGENT);
    let opens = if is_upgrade { RequestKind::WebSocket } else { RequestKind::Request };
    let caller = Caller { from: from.clone(), scopes, paths: &paths, request, agent, opens };
    let (permit, candidate) = edge.admission.admit(candidates, &caller, check).await?;
    let target = with_query(path, query);
    let is_header = candidate.source == Source::Header;
    let is_api_client = is_header && request.local.is_none();
    let shown = (!is_api_client).then(|| request.shown().clone());
    let drops_coding = is_header || request.local.is_some();
    let gets_notice = edge.config.time_left_notice && candidate.source == Source::Cookie && request.local.is_none();
    let permit = Arc::new(permit);
    let admitted = Admitted { permit, source: candidate.source, drops_coding, target, shown, gets_notice };
    Ok(if is_upgrade {
        Action::Tunnel(admitted)
    } else if trailers::announces_trailers(head) {
        Action::WithTrailers(admitted)
    } else {
        Action::Forward(Target::Upstream(admitted))
    })
}

/// Takes a token out of the address bar: a cookie for it, and the same page without it.
fn sign_in_by_query(
    edge: &Edge,
    headers: &HeaderMap,
    request: &Facts,
    candidate: &Candidate,
    grant: &LiveGrant,
    path: &str,
    query: Option<&str>,
) -> Result<Action, Rejection> {
    let answer = form::redirect(request, &with_query(path, query))?;
    let credential = candidate.credential.as_ref().ok_or(Rejection::Fault)?;
    Ok(Action::LocalResponse(cookies::signed_in_as(answer, edge, headers, request, credential, grant)))
}

/// A browser that came by itself, not through the desktop client or as an API client, to a page.
fn is_browsers_navigation(method: &Method, headers: &HeaderMap) -> bool {
    !is_client(headers) && policy::is_navigation(method, headers)
}

/// A request that wants to become a WebSocket. `Upgrade` without `Connection: upgrade` is a plain
/// request.
fn is_websocket(head: &RequestHeader) -> bool {
    let lists = |name, token: &str| {
        head.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    };
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && lists(header::UPGRADE, "websocket")
        && lists(header::CONNECTION, "upgrade")
}

fn redirect(public: &Origin, path: &str, query: Option<&str>) -> Result<Action, Rejection> {
    let target = format!("{public}{}", with_query(path, query));
    LocalResponse::temporary_redirect(&target).map(Action::LocalResponse).ok_or(Rejection::Fault)
}
