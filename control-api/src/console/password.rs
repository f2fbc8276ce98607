//! The page behind a one-time link, on which a person sets a password. Opening it uses nothing up,
//! because mail scanners open links too; sending its form does. The code stands in the query, which
//! no log line holds.

use askama::Template;
use chrono::Utc;
use poem::http::StatusCode;
use shared::{token::credential::Credential, web::language::Language};

use super::{
    form::FieldErrors,
    layout::{Frame, NavItem},
    request::ConsoleRequest,
    response::{self, Answer},
};
use crate::{
    app::App,
    domain::{Error, administration},
    input::NewPassword,
    links::SET_PASSWORD,
};

pub const PATH: &str = SET_PASSWORD;

#[derive(Template)]
#[template(path = "console/set_password.html")]
struct SetPasswordPage<'a> {
    lang: Language,
    frame: Frame,
    code: &'a str,
    errors: FieldErrors,
}

pub async fn show(request: ConsoleRequest) -> Answer {
    form(&request, request.query.text("code"), StatusCode::OK, FieldErrors::default())
}

fn form(request: &ConsoleRequest, code: &str, status: StatusCode, errors: FieldErrors) -> Answer {
    let code = Credential::parse_token_text(code).ok_or(Error::UnknownPasswordLink)?;
    let address = format!("{PATH}?code={}", code.expose());
    let frame = Frame { address, ..request.frame(NavItem::Outside) };
    Ok(response::page_of(status, &SetPasswordPage { lang: request.lang, frame, code: code.expose(), errors }))
}

pub async fn set(request: ConsoleRequest) -> Answer {
    let mut errors = FieldErrors::default();
    let typed = request.form.text("code");
    let code = Credential::parse_token_text(typed).ok_or(Error::UnknownPasswordLink)?;
    let Some(password) = request.form.read_raw::<NewPassword>("password", request.lang, &mut errors) else {
        return form(&request, typed, StatusCode::UNPROCESSABLE_ENTITY, errors);
    };
    let App { db, passwords, .. } = &*request.app;
    let code = code.digest();
    administration::redeem_password_link(db, passwords, &code, &password.0, &request.origin, Utc::now()).await?;
    response::see_other("/console/login?done=password-set")
}
