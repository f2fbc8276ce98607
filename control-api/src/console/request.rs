//! One request to the console: who it is from, what it asks, and whether a page of ours sent it.
//! Rights are types, as in the API: a handler that takes a [`Member`] or an [`Admin`] cannot run
//! without one.

use std::{future::Future, ops::Deref, sync::Arc};

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use poem::{
    Endpoint, FromRequest, Request, RequestBody, Response,
    endpoint::make,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};
use shared::web::{cookie, language::Language};
use url::Url;
use uuid::Uuid;

use super::{
    form::Fields,
    layout::{Account, Frame, NavItem},
    notices,
    response::{self, Answer, PageError},
    url::address,
};
use crate::{
    app::App,
    db::user,
    domain::{
        self,
        accounts::{self, Session},
        audit::Origin,
        jwt::Claims,
    },
    http::caller::RequestUser,
};

/// How long a person stays logged in at the most, however busy.
const LONGEST: TimeDelta = TimeDelta::hours(12);
/// How long a language is remembered: as long as browsers keep anything.
const LANGUAGE_SECONDS: u32 = 400 * 24 * 3600;

/// On how many paths a planted cookie is looked for.
const MOST_PATHS: usize = 16;

/// A request from anybody.
pub struct ConsoleRequest {
    pub app: Arc<App>,
    pub lang: Language,
    /// Where it comes from.
    pub origin: Origin,
    /// Path and query.
    pub address: String,
    pub query: Fields,
    /// Empty unless a form was posted.
    pub form: Fields,
    /// What the path names.
    pub id: Option<Uuid>,
    /// Whether only a piece of the page is asked for, by htmx.
    pub wants_piece: bool,
    /// Whether the address shows this page again: what answers a form it does not.
    stays: bool,
    /// The page of ours that led here, if one did.
    came_from: Option<String>,
    account: Option<Account>,
}

/// A request from a user who is logged in.
pub struct Member {
    request: ConsoleRequest,
    pub session: Session,
}

/// A request from an administrator who is logged in.
pub struct Admin(Member);

impl Deref for Member {
    type Target = ConsoleRequest;

    fn deref(&self) -> &ConsoleRequest {
        &self.request
    }
}

impl Deref for Admin {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl ConsoleRequest {
    /// What a request asks, but for its form and its login.
    fn of(request: &Request, app: &Arc<App>) -> Self {
        let headers = request.headers();
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|accepted| accepted.to_str().ok());
        let address = request.original_uri().path_and_query().map_or("/", |address| address.as_str());
        Self {
            lang: Language::of(cookies_of(headers, cookie::LANGUAGE).next(), accepted),
            origin: request.data::<Origin>().cloned().unwrap_or_default(),
            address: address.to_owned(),
            query: Fields::parse(request.uri().query().unwrap_or_default().as_bytes()),
            form: Fields::default(),
            id: request.raw_path_param("id").and_then(|id| id.parse().ok()),
            wants_piece: headers.contains_key("hx-request"),
            stays: request.method() != Method::POST,
            came_from: came_from(headers, app),
            account: None,
            app: Arc::clone(app),
        }
    }

    async fn read_form(&mut self, request: &Request, mut body: RequestBody) -> Result<(), PageError> {
        if request.method() == Method::POST {
            let bytes = Vec::<u8>::from_request(request, &mut body).await.map_err(|_| PageError::Malformed)?;
            self.form = Fields::parse(&bytes);
        }
        Ok(())
    }

    /// Says whose request this is, and counts it against their limit.
    async fn count(&mut self, request: &Request, session: &Session) -> Result<(), PageError> {
        if let Some(recognised) = request.data::<Arc<RequestUser>>() {
            recognised.note(session.user.id);
        }
        self.account = Some(Account::from(session));
        self.app.limits.call(session.user.id).await.map_err(PageError::TooMany)
    }

    fn refused(&self, trouble: PageError) -> Response {
        finish(trouble.into_response(self.frame(NavItem::Outside)), &self.app)
    }

    /// What the page has around its own.
    pub fn frame(&self, here: NavItem) -> Frame {
        Frame {
            lang: self.lang,
            account: self.account.clone(),
            here,
            address: self.address.clone(),
            stays: self.stays,
            done: notices::done(self.lang, self.query.text("done")),
            assets: Arc::clone(&self.app.assets),
        }
    }

    /// What the path names.
    pub fn id(&self) -> Result<Uuid, PageError> {
        self.id.ok_or(PageError::NotFound)
    }
}

impl Member {
    /// The same with what changed in the account meanwhile.
    pub async fn refreshed(mut self) -> Self {
        // What was done is told, be its balance that of a moment ago.
        if let Ok(Some(user)) = user::find_by_email(&self.app.db, &self.session.user.email).await {
            self.session.user = user;
        }
        self.request.account = Some(Account::from(&self.session));
        self
    }
}

/// A page for anybody.
pub fn public<F, R>(app: &Arc<App>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(ConsoleRequest) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    serve(app, move |request, _| {
        let handler = handler.clone();
        async move { handler(request).await }
    })
}

/// A page for users who are logged in; others are asked to log in first.
pub fn member<F, R>(app: &Arc<App>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Member) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    serve(app, move |request, session| {
        let handler = handler.clone();
        async move {
            match session {
                Some(session) => handler(Member { request, session }).await,
                None => ask_to_log_in(&request),
            }
        }
    })
}

/// A page for superusers.
pub fn admin<F, R>(app: &Arc<App>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Admin) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    member(app, move |member: Member| {
        let handler = handler.clone();
        async move {
            if member.session.user.is_superuser { handler(Admin(member)).await } else { Err(PageError::NotSuperuser) }
        }
    })
}

/// A path that means nothing.
pub async fn nowhere(_: ConsoleRequest) -> Answer {
    Err(PageError::NotFound)
}

fn ask_to_log_in(request: &ConsoleRequest) -> Answer {
    if request.wants_piece {
        // The page that asked is of a login that has ended: it is loaded anew, and asks for
        // another.
        return Ok(Response::builder().status(StatusCode::OK).header("HX-Refresh", "true").finish());
    }
    // The form's values are gone by now; after the login the user gets the page that had it.
    let from = request.came_from.as_ref().filter(|_| !request.stays).unwrap_or(&request.address);
    let done = if request.stays { "" } else { "login-ended" };
    response::see_other(&address("/console/login", [("next", from.as_str()), ("done", done)]))
}

fn serve<F, R>(app: &Arc<App>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(ConsoleRequest, Option<Session>) -> R + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let app = Arc::clone(app);
    let handler = Arc::new(handler);
    make(move |request: Request| {
        let (app, handler) = (Arc::clone(&app), Arc::clone(&handler));
        async move { answer(app, request, &*handler).await }
    })
}

/// Answers a request: who sent it, whether a page of ours did, what its form says, whose login it
/// carries; then the page, and what becomes of the login.
async fn answer<F, R>(app: Arc<App>, request: Request, handler: &F) -> Response
where
    F: Fn(ConsoleRequest, Option<Session>) -> R,
    R: Future<Output = Answer>,
{
    let (request, body) = request.split();
    let login = LoginCookie::of(&request, &app);
    let mut console_request = ConsoleRequest::of(&request, &app);
    if let Err(trouble) = check_sender(&request, &app) {
        return console_request.refused(trouble);
    }
    if leads_here_from_elsewhere(&request) && login.jwt.is_none() {
        // The cookie stays at home when another site leads here; it comes along once a page of ours
        // leads on.
        let page = OnwardPage { lang: console_request.lang, frame: console_request.frame(NavItem::Outside) };
        return finish(response::page_of(StatusCode::OK, &page), &app);
    }
    if let Err(trouble) = console_request.read_form(&request, body).await {
        return console_request.refused(trouble);
    }
    let (session, claims) = match recognise(&app, login.jwt.as_deref(), console_request.origin.clone()).await {
        Ok(recognised) => recognised.unzip(),
        Err(trouble) => return console_request.refused(trouble),
    };
    if let Some(session) = &session
        && let Err(trouble) = console_request.count(&request, session).await
    {
        return console_request.refused(trouble);
    }
    // What a page asks for by itself keeps nobody logged in.
    let came = session.as_ref().zip(claims).filter(|_| !console_request.wants_piece);
    let renewed = came.and_then(|(session, claims)| renewed(&app, session, claims, Utc::now()));
    let frame = console_request.frame(NavItem::Outside);
    let mut response = handler(console_request, session).await.unwrap_or_else(|trouble| trouble.into_response(frame));
    login.settle(&mut response, &request, renewed);
    finish(response, &app)
}

/// The cookie of a login, as the browser sent it.
struct LoginCookie {
    jwt: Option<String>,
    /// There was another beside it, which is not of this console.
    is_planted: bool,
    /// Whether it goes by https alone.
    is_secure: bool,
}

impl LoginCookie {
    fn of(request: &Request, app: &App) -> Self {
        let is_secure = app.config.control_origin.starts_with("https:");
        let name = if is_secure { cookie::CONSOLE_SECURE } else { cookie::CONSOLE };
        let mut logins: Vec<&str> = cookies_of(request.headers(), name).collect();
        logins.dedup();
        let is_planted = logins.len() > 1;
        let jwt = logins.pop().filter(|_| !is_planted).map(str::to_owned);
        Self { jwt, is_planted, is_secure }
    }

    /// Says which login stands from now on: the one that the handler named, or the renewed one.
    fn settle(&self, response: &mut Response, request: &Request, renewed: Option<HeaderValue>) {
        // A handler that logs in or out has said which cookie stands.
        let is_said = response.headers().contains_key(header::SET_COOKIE);
        if let (Some(renewed), false) = (renewed, is_said) {
            response.headers_mut().insert(header::SET_COOKIE, renewed);
        }
        if !self.is_secure && (self.is_planted || request.method() == Method::POST && is_said) {
            for line in no_planted_cookies(request.original_uri().path()) {
                response.headers_mut().append(header::SET_COOKIE, line);
            }
        }
    }
}

/// Refuses what a page of another site sends, or reads.
fn check_sender(request: &Request, app: &App) -> Result<(), PageError> {
    let headers = request.headers();
    let is_form = request.method() == Method::POST;
    let is_foreign = is_form && !is_ours(headers, app) || !is_form && is_asked_by_others(headers);
    if is_foreign { Err(PageError::Foreign) } else { Ok(()) }
}

/// Whether a link on another site led here.
fn leads_here_from_elsewhere(request: &Request) -> bool {
    request.method() != Method::POST && fetched(request.headers(), "sec-fetch-site") == Some("cross-site")
}

/// A page that leads on to itself.
#[derive(Template)]
#[template(path = "console/onward.html")]
struct OnwardPage {
    lang: Language,
    frame: Frame,
}

/// Whose login a cookie holds. One that has ended counts as none.
async fn recognise(app: &App, jwt: Option<&str>, origin: Origin) -> Result<Option<(Session, Claims)>, PageError> {
    let Some(claims) = jwt.and_then(|jwt| app.keys.read_console(jwt)) else { return Ok(None) };
    match accounts::authenticate(&app.db, &claims, origin).await {
        Ok(session) => Ok(Some((session, claims))),
        Err(domain::Error::InvalidJwt | domain::Error::InactiveUser) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same login for longer, if half of its time is over and the person came back within
/// [`LONGEST`] of their password. Its id stays, so that logging out ends every copy.
fn renewed(app: &App, session: &Session, claims: Claims, now: DateTime<Utc>) -> Option<HeaderValue> {
    let half = TimeDelta::from_std(app.keys.lifetime() / 2).unwrap_or(TimeDelta::MAX);
    let since = DateTime::from_timestamp(claims.auth_time?, 0)?;
    if session.expires_at - now > half || now - since > LONGEST {
        return None;
    }
    Some(login_cookie(app, &app.keys.renew(claims, now)))
}

/// The line that keeps a login in a browser.
pub fn login_cookie(app: &App, jwt: &str) -> HeaderValue {
    cookie_line(app, jwt, app.keys.lifetime().as_secs())
}

/// The line that makes a browser forget its login.
pub fn no_login_cookie(app: &App) -> HeaderValue {
    cookie_line(app, "", 0)
}

fn cookie_line(app: &App, value: &str, max_age: u64) -> HeaderValue {
    let (name, secure) = match app.config.control_origin.starts_with("https:") {
        true => (cookie::CONSOLE_SECURE, "; Secure"),
        false => (cookie::CONSOLE, ""),
    };
    let line = format!("{name}={value}; HttpOnly; Path=/; Max-Age={max_age}{secure}; SameSite=Strict");
    let mut line = HeaderValue::try_from(line).expect("a JWT is URL-safe");
    line.set_sensitive(true);
    line
}

/// The lines that make a browser forget what goes for a login on the way to this path alone. Over
/// http a script of another port of this host can set such a cookie beside ours, which it cannot
/// change; of two that differ none is taken, for the longer path comes first. Over https there is
/// none, by the name of ours.
fn no_planted_cookies(path: &str) -> impl Iterator<Item = HeaderValue> {
    let above = path.match_indices('/').flat_map(|(at, _)| [&path[..at], &path[..=at]]);
    let paths = above.chain([path]).filter(|path| path.len() > 1 && !path.contains(';')).take(MOST_PATHS);
    let line = |path| format!("{}=; HttpOnly; Path={path}; Max-Age=0; SameSite=Strict", cookie::CONSOLE);
    paths.filter_map(move |path| HeaderValue::try_from(line(path)).ok())
}

/// The line that keeps a language in a browser.
pub fn language_cookie(lang: Language) -> HeaderValue {
    let line = format!("{}={}; Path=/; Max-Age={LANGUAGE_SECONDS}; SameSite=Lax", cookie::LANGUAGE, lang.tag());
    HeaderValue::try_from(line).expect("a tag is visible ASCII")
}

fn cookies_of<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let crumbs = lines.flat_map(|line| line.split(';')).filter_map(|crumb| crumb.trim().split_once('='));
    crumbs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn fetched<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a form was sent by a page of ours. Every browser says where a POST comes from.
fn is_ours(headers: &HeaderMap, app: &App) -> bool {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let Ok(origin) = origin.to_str() else { return false };
        if origin == app.config.control_origin {
            return true;
        }
        // Where people come by https nothing that came without it is ours.
        let (scheme, authority) = origin.split_once("://").unwrap_or_default();
        let is_safe = scheme == "https" || !app.config.control_origin.starts_with("https:");
        return is_safe && !host.is_empty() && authority.eq_ignore_ascii_case(host);
    }
    fetched(headers, "sec-fetch-site") == Some("same-origin")
}

/// The path and query of the page of ours that led here.
fn came_from(headers: &HeaderMap, app: &App) -> Option<String> {
    let referer = Url::parse(headers.get(header::REFERER)?.to_str().ok()?).ok()?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_ours = referer.origin().ascii_serialization() == app.config.control_origin || referer.authority() == host;
    let query = referer.query().map(|query| format!("?{query}")).unwrap_or_default();
    is_ours.then(|| format!("{}{query}", referer.path()))
}

/// Whether a page of another origin asks for something other than to be left for it: by a script,
/// in a frame, as an image.
fn is_asked_by_others(headers: &HeaderMap) -> bool {
    let is_other = matches!(fetched(headers, "sec-fetch-site"), Some("cross-site" | "same-site"));
    let navigates = fetched(headers, "sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    let alone = fetched(headers, "sec-fetch-dest").is_none_or(|dest| matches!(dest, "document" | "empty"));
    is_other && !(navigates && alone)
}

/// Headers that every page has. The forms may lead to the edges, where *Open Zenzefi* goes.
fn finish(mut response: Response, app: &App) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
        form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        app.config.public_origin
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        // A form's own request must keep its Origin, which `no-referrer` would turn into `null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        if !(name == "cache-control" && headers.contains_key(name)) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
