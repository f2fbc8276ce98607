//! A rejection as its caller can use it: a page for a browser, problem JSON for all others.

use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;
use shared::web::cookie;

use crate::{
    admission::{
        credential::{self, with_query},
        facts::{self, Facts},
        policy,
    },
    cookies,
    edge::Edge,
    endpoints::{
        cookies::{ended_by, signed_out},
        form::next_in,
    },
    origin::Origin,
    pages::{PageContext, SignInReason},
    rejection::{InvalidCredential, Rejection},
    response::LocalResponse,
    route::Route,
    telemetry::access_log::AccessRecord,
};

/// A rejection as the caller can use it: a page for a browser that shows it, problem JSON for all
/// others.
pub fn answer(
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
        page(edge, head, request, rejection, next, &record.id_text())
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
pub fn wants_page(head: &RequestHeader, is_form: bool) -> bool {
    let takes_html = || {
        let accept = head.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    };
    !facts::is_client(&head.headers) && (policy::shows_answer(&head.method, &head.headers) || is_form && takes_html())
}

/// A page that says what was rejected, and what to do.
pub fn page(
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
pub fn forgetting(
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
        InvalidCredential::Unknown => signed_out(answer, edge, request),
        _ => ended_by(answer, edge, request, *bad),
    }
}

/// Why somebody is asked to sign in: what is said of their credential, or what became of the last
/// one that they had.
fn why(headers: &HeaderMap, rejection: &Rejection) -> Option<SignInReason> {
    let told = || cookies::get(headers, cookie::ENDED).and_then(SignInReason::by_name);
    SignInReason::of(rejection).or_else(|| told().filter(|_| *rejection == Rejection::NoCredential))
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
