//! The web console: the portal of those who buy, and the console of those who administer. Rendered
//! here, by the same rules as the API; its scripts only make it quicker to use.
//!
//! It is never on the origin that shows the upstream, but a browser takes the two for one site
//! where they share a host name or a domain. So its cookie alone proves nothing: what changes
//! anything must come from its own pages, and nothing of it is told to another origin.

mod account;
mod admin;
mod buy;
mod chart;
pub mod components;
mod credits;
mod csv;
pub mod dashboard;
pub mod form;
pub mod layout;
mod notices;
mod password;
mod referrals;
pub mod request;
pub mod response;
pub mod text;
mod tokens;
pub mod url;
mod usage;

use std::sync::Arc;

use poem::{Endpoint, Request, Response, Route, endpoint::make_sync, get, post};

pub use self::admin::FORMS as ADMIN_FORMS;
use self::request::{member, public};
use self::url::ROOT;
use crate::app::App;

/// The pages that take a form, for who lists what each path knows.
pub const FORMS: &[(&str, &str)] = &[
    (password::PATH, "GET, HEAD, POST"),
    ("/console/login", "GET, HEAD, POST"),
    ("/console/logout", "POST"),
    ("/console/register", "GET, HEAD, POST"),
    ("/console/profile", "GET, HEAD, POST"),
    ("/console/profile/password", "POST"),
    ("/console/profile/sessions", "POST"),
    ("/console/buy", "GET, HEAD, POST"),
    ("/console/tokens/{id}/open", "POST"),
    ("/console/tokens/{id}/extend", "POST"),
    ("/console/tokens/{id}/rotate", "POST"),
    ("/console/tokens/{id}/refund", "POST"),
    ("/console/tokens/{id}/release-device", "POST"),
    ("/console/credits/top-up", "POST"),
];

/// Its routes.
pub fn routes(app: &Arc<App>, route: Route) -> Route {
    admin::routes(app, route)
        .at(ROOT, get(member(app, dashboard::show)))
        .at("/console/buy", get(member(app, buy::show)).post(member(app, buy::buy)))
        .at("/console/buy/confirm", get(member(app, buy::confirm)))
        .at("/console/tokens", get(member(app, tokens::list)))
        .at("/console/tokens/:id", get(member(app, tokens::show)))
        .at("/console/tokens/:id/confirm", get(member(app, tokens::confirm)))
        .at("/console/tokens/:id/open", post(member(app, tokens::open)))
        .at("/console/tokens/:id/extend", post(member(app, tokens::extend)))
        .at("/console/tokens/:id/rotate", post(member(app, tokens::rotate)))
        .at("/console/tokens/:id/refund", post(member(app, tokens::refund)))
        .at("/console/tokens/:id/release-device", post(member(app, tokens::release_device)))
        .at("/console/credits", get(member(app, credits::show)))
        .at("/console/credits/transactions.csv", get(member(app, credits::file)))
        .at("/console/credits/top-up", post(member(app, credits::top_up)))
        .at("/console/credits/returned", get(member(app, credits::returned)))
        .at("/console/usage", get(member(app, usage::show)))
        .at("/console/referrals", get(member(app, referrals::show)))
        .at("/console/assets/:name", get(asset(app)))
        .at("/console/language", get(public(app, account::choose_language)))
        .at("/console/login", get(public(app, account::show_login)).post(public(app, account::log_in)))
        .at("/console/logout", post(member(app, account::log_out)))
        .at("/console/register", get(public(app, account::show_registration)).post(public(app, account::register)))
        .at("/console/profile", get(member(app, account::show_profile)).post(member(app, account::change_profile)))
        .at("/console/profile/password", post(member(app, account::change_password)))
        .at("/console/profile/sessions", post(member(app, account::log_out_everywhere)))
        .at(password::PATH, get(public(app, password::show)).post(public(app, password::set)))
        // Where the links of the API lead.
        .at("/register", get(public(app, account::show_registration)))
        .at("/console/*rest", public(app, request::nowhere))
}

fn asset(app: &Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let assets = Arc::clone(&app.assets);
    make_sync(move |request: Request| {
        assets.answer(request.raw_path_param("name").unwrap_or_default(), request.uri().query().unwrap_or_default())
    })
}
