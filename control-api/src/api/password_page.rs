//! The plain page behind a one-time link, on which a person sets a password. Opening it uses nothing up, because mail
//! scanners open links too; sending its form does. The code stands in the query, which no log line holds.

use std::sync::Arc;

use chrono::Utc;
use poem::{Endpoint, FromRequest, Request, Response, endpoint::make, get, http::StatusCode};
use shared::credential::Credential;

use super::{pages, scalar::NewPassword};
use crate::{
    App,
    domain::{self, administration, audit::Origin},
};

pub const PATH: &str = "/set-password";

/// The address of the page for this code.
pub fn url(control_origin: &str, code: &Credential) -> String {
    format!("{control_origin}{PATH}?code={}", code.expose())
}

pub fn endpoint(app: Arc<App>) -> impl Endpoint {
    get(make(|request: Request| async move { show(&request) })).post(make(move |request: Request| {
        let app = Arc::clone(&app);
        async move { set(&app, request).await }
    }))
}

fn show(request: &Request) -> Response {
    let code = parameter(request.uri().query().unwrap_or_default().as_bytes(), "code");
    match code.as_deref().and_then(Credential::parse_token_text) {
        Some(code) => form(StatusCode::OK, &code, ""),
        None => page(StatusCode::NOT_FOUND, "<p>This link is not valid.</p>"),
    }
}

async fn set(app: &App, request: Request) -> Response {
    let (request, mut body) = request.split();
    let origin = request.data::<Origin>().cloned().unwrap_or_default();
    let Ok(bytes) = Vec::<u8>::from_request(&request, &mut body).await else {
        return page(StatusCode::BAD_REQUEST, "<p>The form could not be read.</p>");
    };
    let code = parameter(&bytes, "code");
    let Some(code) = code.as_deref().and_then(Credential::parse_token_text) else {
        return page(StatusCode::NOT_FOUND, "<p>This link is not valid.</p>");
    };
    let password = match NewPassword::check(parameter(&bytes, "password").unwrap_or_default()) {
        Ok(password) => password,
        Err(fault) => return form(StatusCode::UNPROCESSABLE_ENTITY, &code, &format!("<p>The password {fault}.</p>")),
    };
    let App { db, passwords, .. } = app;
    match administration::redeem_password_link(db, passwords, &code.digest(), &password.0, &origin, Utc::now()).await {
        Ok(()) => page(StatusCode::OK, "<p>Your password is set. You can log in with it now.</p>"),
        Err(domain::Error::UnknownPasswordLink) => {
            page(StatusCode::NOT_FOUND, "<p>This link was used, replaced or has expired. Ask for a new one.</p>")
        }
        Err(error) => {
            tracing::error!(%error, "a password could not be set by its link");
            page(StatusCode::SERVICE_UNAVAILABLE, "<p>This does not work just now. Try again in a moment.</p>")
        }
    }
}

/// A parameter of a query or a form; a code is URL-safe, so that it stands in HTML as it is.
fn parameter(encoded: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(encoded).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn form(status: StatusCode, code: &Credential, notice: &str) -> Response {
    let form = format!(
        r#"{notice}<form method="post" action="{PATH}">
<input type="hidden" name="code" value="{code}">
<label>New password, at least 8 characters
<input type="password" name="password" minlength="8" maxlength="72" autocomplete="new-password" required></label>
<button>Set password</button>
</form>"#,
        code = code.expose()
    );
    page(status, &form)
}

fn page(status: StatusCode, content: &str) -> Response {
    pages::small(status, "Set your password", content)
}
