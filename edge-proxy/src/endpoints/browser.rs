//! What browsers come to: the page to sign in, the hand-over, taking a token over, the language of
//! pages, and refusals.

use std::time::Instant;

use http::{HeaderMap, Method, header};
use pingora::{http::RequestHeader, proxy::Session};
use shared::{
    redis::{
        events::{TakingOver, Usage},
        replies::TakeOver,
    },
    token::credential::Credential,
    web::{cookie, language::Language},
};

use crate::{
    admission::{
        credential::{self, with_query},
        facts::{self, ClientDevice, Facts},
        policy,
    },
    config::DevicePolicy,
    cookies,
    edge::Edge,
    endpoints::session::{
        self, check_cross_site, form_field, language_cookie, read_body, redirect, require, signed_in_as,
    },
    grants::{
        evaluate::{Evaluation, Refusal},
        live::LiveGrant,
    },
    ids,
    origin::Origin,
    pages::{PageContext, SignInReason, assets::Asset},
    rejection::{InvalidCredential, Rejection},
    response::LocalResponse,
    route::Route,
    telemetry::access_log::AccessRecord,
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
        Err(rejection) if wants_page(head, true) => {
            let page = refusal_page(edge, head, Some(request), &rejection, next, "");
            Ok(forgetting(page, edge, head, Some(request), &rejection))
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

/// A refusal as the caller can use it: a page for a browser that shows it, problem JSON for all
/// others.
pub fn refusal(
    edge: &Edge,
    head: &RequestHeader,
    record: &AccessRecord,
    request: Option<&Facts>,
    rejection: &Rejection,
) -> LocalResponse {
    let route = edge.site.routes.of(&record.path);
    let is_form = matches!(route, Route::SignIn | Route::TakeOver);
    let answer = if wants_page(head, is_form) {
        let next = destination(head, request, &record.path);
        refusal_page(edge, head, request, rejection, next, &record.id_text())
    } else {
        LocalResponse::problem(rejection)
    };
    // What is refused there is the credential that was brought, and not the one that the browser
    // has.
    let is_of_another = matches!(route, Route::Authenticate | Route::Enter);
    if is_of_another { answer } else { forgetting(answer, edge, head, request, rejection) }
}

/// Whether it is a browser that shows what it is answered; those that say nothing of that post
/// forms to us alone.
fn wants_page(head: &RequestHeader, is_form: bool) -> bool {
    let takes_html = || {
        let accept = head.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    };
    !facts::is_client(&head.headers) && (policy::shows_answer(&head.method, &head.headers) || is_form && takes_html())
}

fn refusal_page(
    edge: &Edge,
    head: &RequestHeader,
    request: Option<&Facts>,
    rejection: &Rejection,
    next: String,
    request_id: &str,
) -> LocalResponse {
    let is_home = request.is_some_and(|request| !request.is_console);
    let is_asked_to_sign_in = *rejection == Rejection::NoCredential || SignInReason::of(rejection).is_some();
    let reader = PageContext {
        language: PageContext::language_of(&head.headers),
        next,
        is_home,
        may_repeat: head.method == Method::GET,
        address: request.and_then(|request| request.client),
        now_ms: edge.clock.told_ms(),
        request_id: request.map_or_else(|| request_id.to_owned(), |request| request.id.simple().to_string()),
    };
    let page = if is_asked_to_sign_in && is_home {
        edge.pages.links.sign_in(&reader, why(&head.headers, rejection))
    } else {
        edge.pages.links.refusal(&reader, rejection)
    };
    LocalResponse::page(Some(rejection), page, edge.pages.links.home.as_ref().filter(|_| !is_home))
}

/// Makes a browser forget its credential, which opens nothing, and remember why where that is
/// known.
fn forgetting(
    answer: LocalResponse,
    edge: &Edge,
    head: &RequestHeader,
    request: Option<&Facts>,
    rejection: &Rejection,
) -> LocalResponse {
    let has_cookie = cookies::get(&head.headers, cookie::ACCESS_TOKEN).is_some();
    let (Some(request), Rejection::BadCredential(bad), true) = (request, rejection, has_cookie) else { return answer };
    match bad {
        // What was remembered of it at the sign-in is for when its time is over, and that is not
        // known.
        InvalidCredential::Unknown => session::signed_out(answer, edge, request),
        _ => session::ended_by(answer, edge, request, *bad),
    }
}

/// Why somebody is asked to sign in: what is said of their credential, or what became of the last
/// one that they had.
fn why(headers: &HeaderMap, rejection: &Rejection) -> Option<SignInReason> {
    let told = || cookies::get(headers, cookie::ENDED).and_then(SignInReason::by_name);
    SignInReason::of(rejection).or_else(|| told().filter(|_| *rejection == Rejection::NoCredential))
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

/// Where a form or a query leads afterwards.
fn next_in(fields: &[u8]) -> String {
    let next = form_field(fields, "next").unwrap_or_default();
    policy::next_path(&next).unwrap_or("/").to_owned()
}

/// Where a refused client was going, as a path to come back to: what they asked for, or the page
/// from which they posted.
fn destination(head: &RequestHeader, request: Option<&Facts>, path: &str) -> String {
    let is_page = matches!(head.method, Method::GET | Method::HEAD);
    let query = head.uri.query();
    let asked = with_query(path, query.map(credential::strip_query).unwrap_or_default().as_deref());
    let next = match (is_page, path.strip_prefix("/_gateway/")) {
        (true, None) => Some(asked),
        // A hand-over's own address leads nowhere a second time.
        (true, Some("enter")) => Some(next_in(query.unwrap_or_default().as_bytes())),
        (true, Some(_)) => None,
        (false, _) => request.and_then(|request| posted_from(head, request)),
    };
    next.as_deref().and_then(policy::next_path).unwrap_or("/").to_owned()
}

/// The page of this origin that a request was sent from.
fn posted_from(head: &RequestHeader, request: &Facts) -> Option<String> {
    let referer = url::Url::parse(head.headers.get(header::REFERER)?.to_str().ok()?).ok()?;
    let is_own = Origin::of_url(&referer).as_ref() == Some(&request.public);
    let is_page = is_own && !referer.path().starts_with("/_gateway/");
    is_page.then(|| with_query(referer.path(), referer.query().and_then(credential::strip_query).as_deref()))
}
