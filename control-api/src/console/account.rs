//! Getting in and out, and one's own account: registering, logging in, language, profile, password.

use askama::Template;
use chrono::Utc;
use poem::http::header;
use shared::web::language::Language;

use super::{
    form::{FieldErrors, Fields},
    layout::{Frame, NavItem},
    password,
    request::{self, ConsoleRequest, Member},
    response::{self, Answer, PageError},
    text,
    url::{ROOT, is_below_root},
};
use crate::{
    app::App,
    db::user,
    domain::{self, accounts},
    http::error::ApiError,
    input::{Email, FullName, NewPassword, Password, ReferralCode, Scalar, Username},
};

#[derive(Template)]
#[template(path = "console/login.html")]
struct LoginPage {
    lang: Language,
    frame: Frame,
    email: String,
    next: String,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "console/register.html")]
struct RegistrationPage {
    lang: Language,
    frame: Frame,
    form: Fields,
    errors: FieldErrors,
}

#[derive(Template)]
#[template(path = "console/profile.html")]
struct ProfilePage {
    lang: Language,
    frame: Frame,
    email: String,
    username: String,
    full_name: String,
    errors: FieldErrors,
}

/// A path of the console, where a person was going or comes from; anything else leads home.
pub fn own_path(next: &str) -> &str {
    let is_plain = next.chars().all(|char| char.is_ascii_graphic() && char != '\\');
    let path = next.split(['?', '#']).next().unwrap_or_default();
    // A browser takes `%2e` in a path for a dot (URL standard, double-dot segments).
    let climbs = path.contains("..") || path.to_ascii_lowercase().contains("%2e");
    let is_own = is_below_root(path) && !climbs && !path.starts_with("/console/log");
    if is_plain && is_own { next } else { ROOT }
}

pub async fn choose_language(request: ConsoleRequest) -> Answer {
    let next = request.query.text("next");
    let next = if is_before_login(next) { next } else { own_path(next) };
    let mut response = response::see_other(next)?;
    if let Some(lang) = Language::by_tag(request.query.text("to")) {
        response.headers_mut().insert(header::SET_COOKIE, request::language_cookie(lang));
    }
    Ok(response)
}

/// Nobody is led to the pages that log in, but they may be seen in another language.
fn is_before_login(next: &str) -> bool {
    let (path, query) = next.split_once('?').unwrap_or((next, ""));
    matches!(path, "/console/login" | "/register" | password::PATH)
        && query.chars().all(|char| char.is_ascii_graphic() && char != '\\')
}

pub async fn show_login(request: ConsoleRequest) -> Answer {
    let next = own_path(request.query.text("next"));
    let page = LoginPage {
        lang: request.lang,
        frame: request.frame(NavItem::Outside),
        email: String::new(),
        next: next.to_owned(),
        fault: None,
    };
    response::page(&page)
}

pub async fn log_in(request: ConsoleRequest) -> Answer {
    let (email, next) = (request.form.text("email").to_owned(), own_path(request.form.text("next")).to_owned());
    let mut errors = FieldErrors::default();
    let typed = request.form.read::<Email>("email", request.lang, &mut errors);
    let password = request.form.read_raw::<Password>("password", request.lang, &mut errors);
    let App { db, passwords, login_throttle, .. } = &*request.app;
    let entered = match typed.zip(password) {
        Some((Email(email), Password(password))) => {
            let login = accounts::Login { email, password, origin: request.origin.clone() };
            accounts::log_in(db, passwords, login_throttle, login).await
        }
        // Nobody could have registered so.
        None => Err(domain::Error::WrongCredentials),
    };
    match entered {
        Ok(user) => enter(&request, &user, &next),
        Err(error @ (domain::Error::WrongCredentials | domain::Error::TooManyFailures { .. })) => {
            let fault = Some(text::refusal(request.lang, &error));
            let page = LoginPage { lang: request.lang, frame: request.frame(NavItem::Outside), email, next, fault };
            let wait =
                if let domain::Error::TooManyFailures { wait } = &error { Some(wait.as_secs() + 1) } else { None };
            Ok(response::to_wait(response::page_of(ApiError::status_of(error), &page), wait))
        }
        Err(error) => Err(error.into()),
    }
}

/// A login of its own: whatever login the browser had before goes on nowhere.
fn enter(request: &ConsoleRequest, user: &user::Model, next: &str) -> Answer {
    let jwt = request.app.keys.issue_console(user, Utc::now());
    let mut response = response::see_other(next)?;
    response.headers_mut().insert(header::SET_COOKIE, request::login_cookie(&request.app, &jwt));
    Ok(response)
}

pub async fn log_out(member: Member) -> Answer {
    // Copies of this login that were renewed last as long as one that is renewed now.
    accounts::log_out(&member.app.db, &member.session, Utc::now() + member.app.keys.lifetime()).await?;
    let mut response = response::see_other("/console/login?done=logged-out")?;
    response.headers_mut().insert(header::SET_COOKIE, request::no_login_cookie(&member.app));
    Ok(response)
}

pub async fn show_registration(request: ConsoleRequest) -> Answer {
    let mut form = Fields::default();
    form.set("ref", request.query.text("ref"));
    form.set("next", own_path(request.query.text("next")));
    let (lang, frame) = (request.lang, request.frame(NavItem::Outside));
    response::page(&RegistrationPage { lang, frame, form, errors: FieldErrors::default() })
}

pub async fn register(request: ConsoleRequest) -> Answer {
    let (lang, form, mut errors) = (request.lang, &request.form, FieldErrors::default());
    let email = form.read::<Email>("email", lang, &mut errors);
    let username = form.read::<Username>("username", lang, &mut errors);
    let full_name = form.read::<FullName>("full_name", lang, &mut errors);
    let password = form.read_raw::<NewPassword>("password", lang, &mut errors);
    let refuse = |errors: FieldErrors| {
        let (frame, form) = (request.frame(NavItem::Outside), form.clone());
        response::refused(&RegistrationPage { lang, frame, form, errors })
    };
    let (Some(email), Some(username), Some(full_name), Some(password)) = (email, username, full_name, password) else {
        return refuse(errors);
    };
    let App { db, passwords, limits, .. } = &*request.app;
    limits.registration(request.origin.ip_address).await.map_err(PageError::TooMany)?;
    let registration = accounts::Registration {
        email: email.0,
        username: username.0,
        password: password.0,
        full_name: Some(full_name.0).filter(|name| !name.is_empty()),
    };
    let code = Some(form.text("ref")).filter(|code| !code.is_empty());
    let registered = match code.map(|code| ReferralCode::read(code.into())) {
        Some(Err(_)) => Err(domain::Error::UnknownReferralCode),
        Some(Ok(ReferralCode(code))) => {
            accounts::register(db, passwords, &registration, Some(&code), &request.origin).await
        }
        None => accounts::register(db, passwords, &registration, None, &request.origin).await,
    };
    match registered {
        Ok(user) => {
            let next = own_path(form.text("next"));
            enter(&request, &user, if next == ROOT { "/console?done=welcome" } else { next })
        }
        Err(error) => {
            let sentence = text::refusal(lang, &error);
            match error {
                domain::Error::EmailTaken => errors.add("email", sentence),
                domain::Error::UsernameTaken => errors.add("username", sentence),
                domain::Error::UnknownReferralCode => errors.add("ref", sentence),
                error => return Err(error.into()),
            }
            refuse(errors)
        }
    }
}

pub async fn show_profile(member: Member) -> Answer {
    response::page(&profile_page(&member, None, FieldErrors::default()))
}

fn profile_page(member: &Member, full_name: Option<&str>, errors: FieldErrors) -> ProfilePage {
    let user = &member.session.user;
    ProfilePage {
        lang: member.lang,
        frame: member.frame(NavItem::Profile),
        email: user.email.clone(),
        username: user.username.clone(),
        full_name: full_name.unwrap_or(user.full_name.as_deref().unwrap_or_default()).to_owned(),
        errors,
    }
}

pub async fn change_profile(member: Member) -> Answer {
    let mut errors = FieldErrors::default();
    let Some(name) = member.form.read::<FullName>("full_name", member.lang, &mut errors) else {
        return response::refused(&profile_page(&member, Some(member.form.text("full_name")), errors));
    };
    let full_name = Some(Some(name.0).filter(|name| !name.is_empty()));
    let change = accounts::ProfileChange { full_name, password: None };
    accounts::change_profile(&member.app.db, &member.app.passwords, &member.session, change).await?;
    response::see_other("/console/profile?done=profile")
}

/// A new password ends every login; this browser gets another.
pub async fn change_password(member: Member) -> Answer {
    let mut errors = FieldErrors::default();
    let Some(new) = member.form.read_raw::<NewPassword>("password", member.lang, &mut errors) else {
        return response::refused(&profile_page(&member, None, errors));
    };
    let App { db, passwords, login_throttle, .. } = &*member.app;
    let current = member.form.raw("current_password").to_owned();
    if let Err(error) = accounts::confirm(db, passwords, login_throttle, &member.session, &current).await {
        return refuse_password(&member, error);
    }
    let change = accounts::PasswordChange { current, new: new.0 };
    let change = accounts::ProfileChange { full_name: None, password: Some(change) };
    match accounts::change_profile(db, passwords, &member.session, change).await {
        Ok(user) => enter(&member, &user, "/console/profile?done=password"),
        Err(error) => refuse_password(&member, error),
    }
}

fn refuse_password(member: &Member, error: domain::Error) -> Answer {
    match error {
        domain::Error::WrongPassword | domain::Error::TooManyFailures { .. } => {
            let mut errors = FieldErrors::default();
            errors.add("current_password", text::refusal(member.lang, &error));
            response::refused(&profile_page(member, None, errors))
        }
        error => Err(error.into()),
    }
}

pub async fn log_out_everywhere(member: Member) -> Answer {
    accounts::log_out_everywhere(&member.app.db, &member.session).await?;
    let mut response = response::see_other("/console/login?done=sessions")?;
    response.headers_mut().insert(header::SET_COOKIE, request::no_login_cookie(&member.app));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_anywhere_but_to_a_page_of_the_console() {
        for next in ["/console", "/console/buy?to=%2Fcertificates", "/console/tokens/1"] {
            assert_eq!(own_path(next), next);
        }
        for next in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/console.evil.example",
            "/consolevil",
            "/console/../x",
            "/console/%2e%2E//evil.example",
            "/register",
            "/console\\evil",
            "/console/\r\nx",
            "/console/login",
            "/console/logout",
            "javascript:alert(1)",
        ] {
            assert_eq!(own_path(next), "/console", "{next}");
        }
    }
}
