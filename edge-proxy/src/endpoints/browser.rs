//! What browsers come to: the page to sign in, the hand-over, taking a token over, the language of
//! pages, and what pages load.

use std::time::Instant;

use http::{HeaderMap, Method, header};
use pingora::{http::RequestHeader, proxy::Session};
use shared::{
    redis::{
        events::{TakingOver, Usage},
        replies::TakeOver,
    },
    token::credential::Credential,
    web::language::Language,
};

use crate::{
    admission::{
        credential,
        facts::{self, ClientDevice, Facts},
    },
    config::DevicePolicy,
    edge::Edge,
    endpoints::{
        cookies::{language_cookie, signed_in_as},
        form::{check_cross_site, form_field, next_in, read_body, redirect, require},
        rejection_page,
    },
    grants::{
        evaluate::{Evaluation, Refusal},
        live::LiveGrant,
    },
    ids,
    pages::{PageContext, SignInReason, assets::Asset},
    rejection::{InvalidCredential, Rejection},
    response::LocalResponse,
    usage,
};

/// `/_gateway/sign-in`: the page, and the form that it posts.
pub async fn sign_in(edge: &Edge, session: &mut Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    match session.req_header().method {
        Method::GET | Method::HEAD => {
            let head = session.req_header();
            let query = head.uri.query().unwrap_or_default();
            let next = next_in(query.as_bytes());
            let why = form_field(query.as_bytes(), "why").and_then(|name| SignInReason::by_name(&name));
            let reader = reader(edge, &head.headers, request, next);
            Ok(LocalResponse::page(None, edge.pages.links.sign_in(&reader, why), None))
        }
        Method::POST => {
            check_cross_site(session, request)?;
            let body = read_body(session).await?;
            let next = next_in(&body);
            let token = form_field(&body, "token").unwrap_or_default();
            let headers = &session.req_header().headers;
            match signed_in(edge, headers, request, token.trim(), &next).await {
                Ok(answer) => Ok(answer),
                Err(rejection) => {
                    let page = edge.pages.links.sign_in_again(&reader(edge, headers, request, next), &rejection);
                    Ok(LocalResponse::page(Some(&rejection), page, None))
                }
            }
        }
        _ => Err(Rejection::MethodNotAllowed { allow: "GET, POST" }),
    }
}

async fn signed_in(
    edge: &Edge,
    headers: &HeaderMap,
    request: &Facts,
    token: &str,
    next: &str,
) -> Result<LocalResponse, Rejection> {
    let credential = Credential::parse_token_text(token).ok_or(Rejection::BadCredential(InvalidCredential::Unknown))?;
    let grant = edge.admission.inspect(&credential, request).await?;
    Ok(signed_in_as(redirect(request, next)?, edge, headers, request, &credential, &grant))
}

/// `GET /_gateway/enter?code=…`: a browser takes the credential that `POST /tokens/{id}/open` made
/// for it, once.
pub async fn enter(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let query = session.req_header().uri.query().unwrap_or_default();
    let code = form_field(query.as_bytes(), "code").ok_or(Rejection::HandoverGone)?;
    let redeemed = edge.redis.redeem(&code).await.map_err(|error| {
        tracing::warn!(%error, "a hand-over could not be taken");
        Rejection::Unavailable
    })?;
    let credential = redeemed.ok_or(Rejection::HandoverGone)?.secret();
    let grant = edge.admission.inspect(&credential, request).await?;
    if let Err(error) = edge.redis.report(&Usage::Redeemed { digest: credential.digest() }).await {
        // Untold, the credential would be taken for one that nobody fetched, and removed.
        tracing::warn!(%error, "cannot record that a browser redeemed its sign-in link");
        return Err(Rejection::Unavailable);
    }
    let answer = redirect(request, &next_in(query.as_bytes()))?;
    Ok(signed_in_as(answer, edge, &session.req_header().headers, request, &credential, &grant))
}

/// `POST /_gateway/take-over`: the holder of a good credential goes on here, on the device that
/// asks; what another has open ends. Does not activate.
pub async fn take_over(edge: &Edge, session: &mut Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::POST, "POST")?;
    check_cross_site(session, request)?;
    let next = next_in(&read_body(session).await?);
    let head = session.req_header();
    match taken_over(edge, head, request).await {
        Ok(()) => redirect(request, &next),
        Err(rejection) if rejection_page::wants_page(head, true) => {
            let page = rejection_page::page(edge, head, Some(request), &rejection, next, "");
            Ok(rejection_page::forgetting(page, edge, head, Some(request), &rejection))
        }
        Err(rejection) => Err(rejection),
    }
}

async fn taken_over(edge: &Edge, head: &RequestHeader, request: &Facts) -> Result<(), Rejection> {
    let from = facts::origination(&head.headers, request.client)?;
    let candidates = credential::candidates(&head.method, &head.headers, None);
    let (grant, _) = edge.admission.choose(candidates, request).await?;
    if edge.config.device_policy == DevicePolicy::Required && !from.is_named {
        return Err(Rejection::DeviceRequired);
    }
    edge.admission.rates.spend(grant.token_id, Instant::now()).map_err(Rejection::TooManyRequests)?;
    match ask_to_take_over(edge, head, request, &from, &grant).await? {
        TakeOver::Taken | TakeOver::Unneeded => Ok(()),
        // The token changed since the cache was read.
        TakeOver::Refused(lookup) => Err(match Evaluation::of(lookup, None) {
            Evaluation::Ended(ending) => Rejection::BadCredential(ending.as_bad()),
            Evaluation::Refused(Refusal::NetworkNotAllowed) => Rejection::NetworkNotAllowed,
            Evaluation::Unknown | Evaluation::Unsure => Rejection::Unavailable,
            Evaluation::Live(_) | Evaluation::Refused(_) => Rejection::Fault,
        }),
    }
}

async fn ask_to_take_over(
    edge: &Edge,
    head: &RequestHeader,
    request: &Facts,
    from: &ClientDevice,
    grant: &LiveGrant,
) -> Result<TakeOver, Rejection> {
    let agent = head.headers.get(header::USER_AGENT);
    let report = Usage::TakenOver(TakingOver {
        token_id: grant.token_id,
        user_id: grant.user_id,
        request_id: request.id,
        address: request.client,
        agent: agent.map(usage::agent_told),
    });
    let (token_id, generation) = (grant.token_id, grant.generation);
    let taken = edge.redis.take_over(token_id, generation, &from.device, request.client, ids::draw(), &report).await;
    taken.map_err(|error| {
        tracing::warn!(%error, "a token could not be taken over");
        Rejection::Unavailable
    })
}

/// `GET /_gateway/language?to=ru&next=/…`: pages are in that language from here on.
pub fn language(edge: &Edge, session: &Session, request: &Facts) -> Result<LocalResponse, Rejection> {
    require(session, &Method::GET, "GET")?;
    let query = session.req_header().uri.query().unwrap_or_default().as_bytes();
    let answer = redirect(request, &next_in(query))?;
    Ok(match form_field(query, "to").and_then(|tag| Language::by_tag(&tag)) {
        Some(language) => answer.with(header::SET_COOKIE, language_cookie(edge, request, language.tag())),
        None => answer,
    })
}

/// What pages load.
pub fn asset(asset: &Asset, session: &Session) -> Result<LocalResponse, Rejection> {
    let head = session.req_header();
    match head.method {
        Method::GET | Method::HEAD => Ok(LocalResponse::asset(asset, asset.is_named_by(head.uri.query()))),
        _ => Err(Rejection::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

fn reader(edge: &Edge, headers: &HeaderMap, request: &Facts, next: String) -> PageContext {
    PageContext {
        language: PageContext::language_of(headers),
        next,
        is_home: true,
        may_repeat: false,
        address: request.client,
        now_ms: edge.clock.told_ms(),
        request_id: request.id.simple().to_string(),
    }
}
