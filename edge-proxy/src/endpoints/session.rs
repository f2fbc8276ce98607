//! The edge's own endpoints for programs: signing in and out, a token's state and what is left of
//! it, freeing a device.

use std::time::{Duration, Instant};

use chrono::DateTime;
use http::Method;
use pingora::proxy::Session;
use serde_json::{Value, json};
use shared::token::{credential::Credential, state::State};

use crate::{
    admission::{
        credential::{self, Candidate, Source},
        facts::{self, Facts},
    },
    edge::Edge,
    endpoints::{
        cookies::{keeping_credential, signed_in_as, signed_out},
        form::{check_cross_site, content_type, read_body, require},
    },
    grants::live::LiveGrant,
    pages::PageContext,
    rejection::{InvalidCredential, Rejection},
    response::{LocalResponse, rfc3339},
};

/// In how many of its last seconds a page tells that a token ends.
const NOTICE_FROM_SECONDS: u64 = 600;

/// `POST /api/v1/proxy/authenticate`: a token's text for a cookie. Does not activate.
pub async fn authenticate(edge: &Edge, session: &mut Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::POST, "POST")?;
    check_cross_site(session, request)?;
    let content_type = content_type(&session.req_header().headers);
    let is_json = content_type.is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    let body = read_body(session).await?;
    if !is_json && !body.is_empty() {
        return Err(Rejection::NotJson);
    }
    let token = match body.as_slice() {
        [] => return Err(Rejection::TokenMissing),
        body => serde_json::from_slice::<Value>(body)
            .map_err(|_| Rejection::MalformedBody("The request body is not JSON"))?,
    };
    let credential = match token.get("token") {
        None | Some(Value::Null) => return Err(Rejection::TokenMissing),
        Some(Value::String(text)) if text.is_empty() => return Err(Rejection::TokenMissing),
        Some(Value::String(text)) => {
            Credential::parse(text.trim()).ok_or(Rejection::BadCredential(InvalidCredential::Unknown))?
        }
        Some(_) => return Err(Rejection::MalformedBody("The token must be a string")),
    };
    let grant = edge.admission.inspect(&credential, request).await?;
    let left = grant.left(Instant::now()).as_secs();
    let answer = LocalResponse::json(&json!({
        "authenticated": true,
        "user_id": grant.user_id,
        "token_id": grant.token_id,
        "is_activated": grant.activated_at_ms().is_some(),
        "expires_at": expires_at(&grant),
        "cookie_set": true,
        "cookie_max_age": left,
        "time_remaining_seconds": left,
    }));
    Ok(signed_in_as(answer, edge, &session.req_header().headers, request, &credential, &grant))
}

/// `GET /api/v1/proxy/status`: a token's state, by cookie or header. Does not activate.
pub async fn status(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let head = session.req_header();
    let candidates = credential::candidates(&head.method, &head.headers, None);
    let (grant, candidate) = edge.admission.choose(candidates, request).await?;
    Ok(state(&grant, candidate.source, edge.config.token_hour()))
}

/// `GET /_gateway/time-left`: how long a token lasts, and what a page needs to tell of it. Does not
/// activate, and keeps no device's lease.
pub async fn time_left(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let head = session.req_header();
    let candidates = credential::candidates(&head.method, &head.headers, None);
    let (grant, candidate) = edge.admission.choose(candidates, request).await?;
    let answer = LocalResponse::json(&json!({
        "time_remaining_seconds": grant.left(Instant::now()).as_secs(),
        "expires_at": expires_at(&grant),
        "status": state_of(&grant),
        "notice_from_seconds": NOTICE_FROM_SECONDS,
        "buy_url": edge.pages.links.buys_at(),
        "language": PageContext::language_of(&head.headers).tag(),
    }));
    Ok(match candidate {
        // More time may have been bought since the browser was told how long to keep it.
        Candidate { source: Source::Cookie, credential: Some(credential) } => {
            keeping_credential(answer, edge, request, &credential, &grant)
        }
        _ => answer,
    })
}

fn state_of(grant: &LiveGrant) -> State {
    if grant.activated_at_ms().is_some() { State::Active } else { State::Ready }
}

fn state(grant: &LiveGrant, source: Source, hour: Duration) -> LocalResponse {
    let state = state_of(grant);
    LocalResponse::json(&json!({
        "connected": true,
        "authenticated_via": if source == Source::Cookie { "cookie" } else { "header" },
        "user_id": grant.user_id,
        "token_id": grant.token_id,
        "is_activated": state == State::Active,
        "expires_at": expires_at(grant),
        "duration_hours": grant.duration().as_secs() / hour.as_secs(),
        "time_remaining_seconds": grant.left(Instant::now()).as_secs(),
        "status": state,
    }))
}

/// `DELETE /api/v1/proxy/logout`: the browser forgets its credential, and its device is free.
pub async fn logout(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::DELETE, "DELETE")?;
    check_cross_site(session, request)?;
    if let Err(rejection) = free(edge, session, request).await {
        // The browser forgets all the same; the lease then lapses by itself.
        tracing::debug!(reason = rejection.reason(), "a logout freed no device");
    }
    let answer = LocalResponse::json(&json!({ "logged_out": true, "message": "Cookie deleted successfully" }));
    Ok(signed_out(answer, edge, request))
}

/// `POST /api/v1/proxy/session/release`: frees the device that asks.
pub async fn release(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::POST, "POST")?;
    check_cross_site(session, request)?;
    let is_released = free(edge, session, request).await?;
    Ok(LocalResponse::json(&json!({ "released": is_released })))
}

/// Frees the device that a request comes from, if it holds the token; whether it did.
async fn free(edge: &Edge, session: &Session, request: &Facts) -> Result<bool, Rejection> {
    let head = session.req_header();
    let from = facts::origination(&head.headers, request.client)?;
    let candidates = credential::candidates(&head.method, &head.headers, None);
    // From any network: a client that the token's networks block may still release it.
    let (grant, _) = edge.admission.recognise(candidates, request).await?;
    edge.redis.release(grant.token_id, &from.device).await.map_err(|error| {
        tracing::warn!(%error, "a device could not be freed");
        Rejection::Unavailable
    })
}

fn expires_at(grant: &LiveGrant) -> Option<String> {
    grant.expires_at_ms().and_then(DateTime::from_timestamp_millis).map(rfc3339)
}
