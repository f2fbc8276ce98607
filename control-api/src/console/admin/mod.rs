//! The console of those who administer. Every page takes an [`Admin`](super::visit::Admin), and everything that is done goes by the
//! same rules as through the API, so that the audit log has it.

mod audit;
mod balance;
mod bundles;
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
use serde_json::Value;
use shared::web::language::Language;
use uuid::Uuid;

use super::{
    form::Faults,
    request::{Admin, admin},
    response::Trouble,
    text as words,
};
use crate::{
    app::App,
    db,
    domain::{self, accounts},
    input::Scalar,
};

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

/// Whom a filter names, by e-mail, username or id; nobody's id if there is no such user.
async fn whom(app: &App, text: &str) -> Result<Option<Uuid>, Trouble> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    // Postgres takes no NUL, and no name holds one.
    let found = if text.contains('\0') { None } else { db::user::find_id_by_name(&app.db, text).await? };
    Ok(Some(found.unwrap_or_default()))
}

/// The user that the path names.
async fn user_of_path(admin: &Admin) -> Result<db::user::Model, Trouble> {
    let user = db::user::find_by_id(&admin.app.db, admin.id()?).await?;
    user.ok_or(Trouble::NotFound)
}

/// A value as the API reads it, or a fault for this field.
fn read<S: Scalar>(value: Value, name: &'static str, lang: Language, faults: &mut Faults) -> Option<S> {
    match S::read(value) {
        Ok(value) => Some(value),
        Err(fault) => {
            faults.add(name, words::fault(lang, fault));
            None
        }
    }
}

/// Whether whoever administers typed their own password; if not, a fault for its field.
async fn is_confirmed(admin: &Admin, faults: &mut Faults) -> Result<bool, Trouble> {
    let password = admin.form.raw("password");
    if password.is_empty() {
        faults.add("password", admin.lang.say("Type your password.", "Введите свой пароль."));
        return Ok(false);
    }
    let App { db, passwords, attempts, .. } = &*admin.app;
    match accounts::confirm(db, passwords, attempts, &admin.session, password).await {
        Ok(()) => Ok(true),
        Err(error @ (domain::Error::WrongPassword | domain::Error::TooManyFailures { .. })) => {
            faults.add("password", words::refusal(admin.lang, &error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// The name of what was done, or of the same while the edges have not been told yet.
fn done(now: &'static str, later: &'static str, delivery: crate::publish::Delivery) -> &'static str {
    if delivery == crate::publish::Delivery::Done { now } else { later }
}
