//! The console of those who administer. Every page takes an [`Admin`](super::request::Admin), and
//! everything that is done goes by the same rules as through the API, so that the audit log has it.

mod audit;
mod balance;
mod bundles;
mod common;
mod health;
mod ledger;
mod networks;
mod overview;
mod payments;
mod sessions;
pub mod text;
mod tokens;
mod user;
mod user_changes;
mod users;

use std::sync::Arc;

use poem::{Route, get};

use super::request::admin;
use crate::app::App;

/// The pages that take a form.
pub const FORMS: &[(&str, &str)] = &[
    ("/console/admin/users/{id}/state", "GET, HEAD, POST"),
    ("/console/admin/users/{id}/role", "GET, HEAD, POST"),
    ("/console/admin/users/{id}/balance", "GET, HEAD, POST"),
    ("/console/admin/users/{id}/networks", "GET, HEAD, POST"),
    ("/console/admin/users/{id}/password-link", "GET, HEAD, POST"),
    ("/console/admin/users/{id}/login-failures", "GET, HEAD, POST"),
    ("/console/admin/tokens/{id}/revoke", "GET, HEAD, POST"),
    ("/console/admin/sessions/{id}/cut", "GET, HEAD, POST"),
    ("/console/admin/bundles/new", "GET, HEAD, POST"),
    ("/console/admin/bundles/{id}", "GET, HEAD, POST"),
    ("/console/admin/bundles/{id}/withdraw", "GET, HEAD, POST"),
    ("/console/admin/ledger", "GET, HEAD, POST"),
];

/// Its routes.
pub fn routes(app: &Arc<App>, route: Route) -> Route {
    route
        .at("/console/admin", get(admin(app, overview::show)))
        .at("/console/admin/live", get(admin(app, overview::live)))
        .at("/console/admin/users", get(admin(app, users::list)))
        .at("/console/admin/users/:id", get(admin(app, user::show)))
        .at(
            "/console/admin/users/:id/state",
            get(admin(app, user_changes::ask_state)).post(admin(app, user_changes::change_state)),
        )
        .at(
            "/console/admin/users/:id/role",
            get(admin(app, user_changes::ask_role)).post(admin(app, user_changes::change_role)),
        )
        .at("/console/admin/users/:id/balance", get(admin(app, balance::ask)).post(admin(app, balance::change)))
        .at("/console/admin/users/:id/balance/confirm", get(admin(app, balance::confirm)))
        .at("/console/admin/users/:id/networks", get(admin(app, networks::show)).post(admin(app, networks::change)))
        .at(
            "/console/admin/users/:id/password-link",
            get(admin(app, user_changes::ask_password_link)).post(admin(app, user_changes::draw_password_link)),
        )
        .at(
            "/console/admin/users/:id/login-failures",
            get(admin(app, user_changes::ask_failures)).post(admin(app, user_changes::clear_failures)),
        )
        .at("/console/admin/tokens", get(admin(app, tokens::list)))
        .at("/console/admin/tokens/:id", get(admin(app, tokens::show)))
        .at("/console/admin/tokens/:id/revoke", get(admin(app, tokens::ask_revoke)).post(admin(app, tokens::revoke)))
        .at("/console/admin/sessions", get(admin(app, sessions::list)))
        .at("/console/admin/sessions/:id/cut", get(admin(app, sessions::ask_cut)).post(admin(app, sessions::cut)))
        .at("/console/admin/bundles", get(admin(app, bundles::list)))
        .at("/console/admin/bundles/new", get(admin(app, bundles::show_new)).post(admin(app, bundles::create)))
        .at("/console/admin/bundles/:id", get(admin(app, bundles::show)).post(admin(app, bundles::change)))
        .at(
            "/console/admin/bundles/:id/withdraw",
            get(admin(app, bundles::ask_withdraw)).post(admin(app, bundles::withdraw)),
        )
        .at("/console/admin/payments", get(admin(app, payments::list)))
        .at("/console/admin/payments/:id", get(admin(app, payments::show)))
        .at("/console/admin/audit", get(admin(app, audit::list)))
        .at("/console/admin/audit.csv", get(admin(app, audit::download)))
        .at("/console/admin/ledger", get(admin(app, ledger::show)).post(admin(app, ledger::verify)))
        .at("/console/admin/health", get(admin(app, health::show)))
}
