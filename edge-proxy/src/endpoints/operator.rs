//! The edge's own endpoints for what stands before, beside and behind it: health, what it believes
//! of a client, keys of assertions, challenges of a certificate authority.

use std::time::Instant;

use chrono::Utc;
use http::Method;
use pingora::proxy::Session;
use serde_json::json;
use shared::token::credential::Digest;

use crate::{
    admission::{credential, facts::Facts},
    connection,
    edge::Edge,
    endpoints::form::require,
    rejection::Rejection,
    response::{LocalResponse, rfc3339},
};

/// `GET /health`: what the desktop client polls.
pub fn health(edge: &Edge) -> LocalResponse {
    let status = match (edge.admission.grants.is_sound(), edge.upstream.in_use() > 0) {
        (false, _) => "unhealthy",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    LocalResponse::json(&json!({ "status": status, "timestamp": rfc3339(Utc::now()) }))
}

/// `GET /.well-known/acme-challenge/{token}`: what an authority is answered that any edge is asking
/// for a certificate.
///
/// An unknown challenge counts as an unknown token does: strangers cannot have Redis asked without
/// end.
pub async fn acme_challenge(edge: &Edge, session: &Session, challenge: &str) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let digest = Digest::of(format!("acme-challenge {challenge}").as_bytes());
    // No authority asks before Redis has the answer, and nobody guesses what it will ask for: what
    // was unknown once stays so.
    if edge.admission.unknown_tokens.is_bad(&digest) {
        return Err(Rejection::NotFound);
    }
    let tried = edge.admission.unknown_tokens.begin(
        connection::client_address(session, &edge.config.trusted_proxies),
        digest,
        Instant::now(),
    );
    let tried = tried.map_err(|retry_after| Rejection::TooManyUnknown { retry_after })?;
    let found = edge.redis.challenge(challenge).await.map_err(|error| {
        tracing::warn!(%error, "a challenge could not be looked up");
        Rejection::Unavailable
    })?;
    // One that is found is not remembered as good: when it is over it is unknown like any other.
    let Some(answer) = found else {
        tried.found_bad();
        return Err(Rejection::NotFound);
    };
    Ok(LocalResponse::text(answer))
}

/// `GET /_gateway/whoami`: what the gateway believes of the client, for operators who set up what
/// stands before it. Of a credential it tells ids alone.
pub async fn whoami(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let head = session.req_header();
    let candidates = credential::candidates(&head.method, &head.headers, None);
    let known = match edge.admission.recognise(candidates, request).await {
        Ok((grant, _)) => Some(grant),
        Err(Rejection::NoCredential) => None,
        Err(rejection) => return Err(rejection),
    };
    Ok(LocalResponse::json(&json!({
        "address": request.client,
        "protocol": request.public.scheme(),
        "version": format!("{:?}", head.version),
        "host": request.public.authority(),
        "request_id": request.id.simple(),
        "user_id": known.as_ref().map(|grant| grant.user_id),
        "token_id": known.as_ref().map(|grant| grant.token_id),
        "address_allowed": known.as_ref().map(|grant| grant.may_be_used_from(request.client)),
    })))
}

/// `GET /.well-known/jwks.json`: what assertions are verified with.
pub fn key_set(edge: &Edge, session: &Session) -> Result<LocalResponse, Rejection> {
    if !matches!(session.req_header().method, Method::GET | Method::HEAD) {
        return Err(Rejection::MethodNotAllowed { allow: "GET, HEAD" });
    }
    let assertions = edge.assertions.as_ref().ok_or(Rejection::NotFound)?;
    Ok(LocalResponse::key_set(assertions.key_set(), assertions.key_set_lasts()))
}
