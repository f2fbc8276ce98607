//! The edge's own endpoints for programs: signing in and out, a token's state and what is left of
//! it, health. What browsers come to is in `browsers.rs`.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, HeaderValue, Method, header};
use pingora::proxy::Session;
use serde_json::{Value, json};
use shared::{
    token::{
        credential::{Credential, Digest},
        state::State,
    },
    web::cookie,
};
use uuid::Uuid;

use crate::{
    admission::{
        credential::{self, Candidate, Source},
        facts::{self, Facts},
        policy,
    },
    config::SameSite,
    connection, cookies,
    edge::Edge,
    grants::live::LiveGrant,
    pages::{PageContext, SignInReason},
    rejection::{InvalidCredential, Rejection},
    response::LocalResponse,
};

/// The largest body that an endpoint of ours takes, and how long it may take to arrive.
const BODY_BYTES: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a browser keeps its name and its language: as long as browsers keep anything.
const KEPT_SECONDS: u64 = 400 * 24 * 3600;
/// How long a browser remembers why it lost its credential: as long as that is known here; what may
/// be taken back, not so long.
const ENDED_TOLD_SECONDS: u64 = 24 * 3600;
const SUSPENDED_TOLD_SECONDS: u64 = 600;
/// In how many of its last seconds a page tells that a token ends.
const NOTICE_FROM_SECONDS: u64 = 600;

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

/// Hands a browser its credential as a cookie that lasts as long as the token, and one that names
/// the browser if it has none.
pub fn signed_in_as(
    answer: LocalResponse,
    edge: &Edge,
    headers: &HeaderMap,
    request: &Facts,
    credential: &Credential,
    grant: &LiveGrant,
) -> LocalResponse {
    let answer = keeping_credential(answer, edge, request, credential, grant);
    if cookies::get(headers, cookie::DEVICE).is_some() {
        return answer;
    }
    let device = Uuid::new_v4().simple().to_string();
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::DEVICE, &device, KEPT_SECONDS))
}

fn keeping_credential(
    answer: LocalResponse,
    edge: &Edge,
    request: &Facts,
    credential: &Credential,
    grant: &LiveGrant,
) -> LocalResponse {
    let left = grant.left(Instant::now()).as_secs();
    let answer =
        answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, credential.expose(), left));
    // The browser drops the credential by itself when the time is over, and would not know why it
    // has none.
    let expired = SignInReason::InvalidCredential(InvalidCredential::Expired).name();
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ENDED, expired, left + ENDED_TOLD_SECONDS))
}

/// Makes a browser forget its credential, and that it had one.
pub fn signed_out(answer: LocalResponse, edge: &Edge, request: &Facts) -> LocalResponse {
    let answer = answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, "", 0));
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ENDED, "", 0))
}

/// Makes a browser forget its credential, and remember for a while why it lost it: a script of the
/// page mostly hears of it first, and the person at the page is to be told as well.
pub fn ended_by(answer: LocalResponse, edge: &Edge, request: &Facts, bad: InvalidCredential) -> LocalResponse {
    let for_seconds = if bad == InvalidCredential::Suspended { SUSPENDED_TOLD_SECONDS } else { ENDED_TOLD_SECONDS };
    let answer = answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, "", 0));
    answer.with(
        header::SET_COOKIE,
        cookie(edge, request, cookie::ENDED, SignInReason::InvalidCredential(bad).name(), for_seconds),
    )
}

/// The line that makes a browser keep the language that was chosen: no secret, and the same for any
/// leads here.
pub fn language_cookie(edge: &Edge, request: &Facts, tag: &str) -> HeaderValue {
    let secure = secure(edge, request);
    let line = format!("{}={tag}; HttpOnly; Path=/; Max-Age={KEPT_SECONDS}{secure}; SameSite=Lax", cookie::LANGUAGE);
    HeaderValue::from_str(&line).expect("a tag is visible ASCII")
}

fn secure(edge: &Edge, request: &Facts) -> &'static str {
    if edge.config.cookie_secure.unwrap_or(request.shown().is_https()) { "; Secure" } else { "" }
}

fn cookie(edge: &Edge, request: &Facts, name: &str, value: &str, max_age_seconds: u64) -> HeaderValue {
    let secure = secure(edge, request);
    let same_site = match edge.config.cookie_samesite {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let line = format!("{name}={value}; HttpOnly; Path=/; Max-Age={max_age_seconds}{secure}; SameSite={same_site}");
    let mut line = HeaderValue::from_str(&line).expect("a credential is URL-safe");
    line.set_sensitive(true);
    line
}

/// Sends a browser to a path of the gateway as it sees it.
pub fn redirect(request: &Facts, path: &str) -> Result<LocalResponse, Rejection> {
    LocalResponse::see_other(&format!("{}{path}", request.shown())).ok_or(Rejection::Fault)
}

pub fn require(session: &Session, method: &Method, allow: &'static str) -> Result<(), Rejection> {
    if session.req_header().method == *method { Ok(()) } else { Err(Rejection::MethodNotAllowed { allow }) }
}

pub fn check_cross_site(session: &Session, request: &Facts) -> Result<(), Rejection> {
    let head = session.req_header();
    policy::check_cross_site(&head.method, false, &head.headers, &request.own_origins())
}

pub async fn read_body(session: &mut Session) -> Result<Vec<u8>, Rejection> {
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = session.read_request_body().await.map_err(|_| Rejection::BrokenBody)? {
            if body.len() + chunk.len() > BODY_BYTES {
                return Err(Rejection::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let read = tokio::time::timeout(BODY_WITHIN, read).await.unwrap_or(Err(Rejection::BodyTimeout));
    if matches!(read, Err(Rejection::BrokenBody | Rejection::BodyTimeout)) {
        // Nobody knows where the next request would begin.
        session.set_keepalive(None);
    }
    read
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

pub fn form_field(body: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn expires_at(grant: &LiveGrant) -> Option<String> {
    grant.expires_at_ms().and_then(DateTime::from_timestamp_millis).map(rfc3339)
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
