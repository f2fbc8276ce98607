//! What several pages of the administration need: whom they are about, the password that is asked
//! for again, and what was done.

use serde_json::Value;
use shared::web::language::Language;
use uuid::Uuid;

use crate::{
    app::App,
    console::{form::FieldErrors, request::Admin, response::PageError, text as words},
    db,
    domain::{self, accounts},
    input::Scalar,
    publish::Delivery,
};

/// Whom a filter names, by e-mail, username or id; nobody's id if there is no such user.
pub async fn whom(app: &App, text: &str) -> Result<Option<Uuid>, PageError> {
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
pub async fn user_of_path(admin: &Admin) -> Result<db::user::Model, PageError> {
    let user = db::user::find_by_id(&admin.app.db, admin.id()?).await?;
    user.ok_or(PageError::NotFound)
}

/// A value as the API reads it, or a fault for this field.
pub fn read<S: Scalar>(value: Value, name: &'static str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
    match S::read(value) {
        Ok(value) => Some(value),
        Err(fault) => {
            errors.add(name, words::fault(lang, fault));
            None
        }
    }
}

/// Whether the administrator typed their own password; if not, a fault for its field.
pub async fn is_confirmed(admin: &Admin, errors: &mut FieldErrors) -> Result<bool, PageError> {
    let password = admin.form.raw("password");
    if password.is_empty() {
        errors.add("password", admin.lang.say("Type your password.", "Введите свой пароль."));
        return Ok(false);
    }
    let App { db, passwords, login_throttle, .. } = &*admin.app;
    match accounts::confirm(db, passwords, login_throttle, &admin.session, password).await {
        Ok(()) => Ok(true),
        Err(error @ (domain::Error::WrongPassword | domain::Error::TooManyFailures { .. })) => {
            errors.add("password", words::refusal(admin.lang, &error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// The name of what was done, or of the same while the edges have not been told yet.
pub fn done(now: &'static str, later: &'static str, delivery: Delivery) -> &'static str {
    if delivery == Delivery::Done { now } else { later }
}
