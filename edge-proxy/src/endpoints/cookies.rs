//! The cookies that the edge sets: the credential, the browser's name, why a credential was lost,
//! the language.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, header};
use shared::{token::credential::Credential, web::cookie};
use uuid::Uuid;

use crate::{
    admission::facts::Facts, config::SameSite, cookies, edge::Edge, grants::live::LiveGrant, pages::SignInReason,
    rejection::InvalidCredential, response::LocalResponse,
};

/// How long a browser keeps its name and its language: as long as browsers keep anything.
const KEPT_SECONDS: u64 = 400 * 24 * 3600;
/// How long a browser remembers why it lost its credential: as long as that is known here; what may
/// be taken back, not so long.
const ENDED_TOLD_SECONDS: u64 = 24 * 3600;
const SUSPENDED_TOLD_SECONDS: u64 = 600;

/// Hands a browser its credential as a cookie that lasts as long as the token, and one that names
/// the browser if it has none.
pub fn signed_in_as(
    answer: LocalResponse,
    edge: &Edge,
    headers: &HeaderMap,
    request: &Facts,
    credential: &Credential,
    grant: &LiveGrant,
) -> LocalResponse {
    let answer = keeping_credential(answer, edge, request, credential, grant);
    if cookies::get(headers, cookie::DEVICE).is_some() {
        return answer;
    }
    let device = Uuid::new_v4().simple().to_string();
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::DEVICE, &device, KEPT_SECONDS))
}

/// Hands a browser its credential, for as long as the token lasts.
pub fn keeping_credential(
    answer: LocalResponse,
    edge: &Edge,
    request: &Facts,
    credential: &Credential,
    grant: &LiveGrant,
) -> LocalResponse {
    let left = grant.left(Instant::now()).as_secs();
    let answer =
        answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, credential.expose(), left));
    // The browser drops the credential by itself when the time is over, and would not know why it
    // has none.
    let expired = SignInReason::InvalidCredential(InvalidCredential::Expired).name();
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ENDED, expired, left + ENDED_TOLD_SECONDS))
}

/// Makes a browser forget its credential, and that it had one.
pub fn signed_out(answer: LocalResponse, edge: &Edge, request: &Facts) -> LocalResponse {
    let answer = answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, "", 0));
    answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ENDED, "", 0))
}

/// Makes a browser forget its credential, and remember for a while why it lost it: a script of the
/// page mostly hears of it first, and the person at the page is to be told as well.
pub fn ended_by(answer: LocalResponse, edge: &Edge, request: &Facts, bad: InvalidCredential) -> LocalResponse {
    let for_seconds = if bad == InvalidCredential::Suspended { SUSPENDED_TOLD_SECONDS } else { ENDED_TOLD_SECONDS };
    let answer = answer.with(header::SET_COOKIE, cookie(edge, request, cookie::ACCESS_TOKEN, "", 0));
    answer.with(
        header::SET_COOKIE,
        cookie(edge, request, cookie::ENDED, SignInReason::InvalidCredential(bad).name(), for_seconds),
    )
}

/// The line that makes a browser keep the language that was chosen: no secret, and the same for any
/// leads here.
pub fn language_cookie(edge: &Edge, request: &Facts, tag: &str) -> HeaderValue {
    let secure = secure(edge, request);
    let line = format!("{}={tag}; HttpOnly; Path=/; Max-Age={KEPT_SECONDS}{secure}; SameSite=Lax", cookie::LANGUAGE);
    HeaderValue::from_str(&line).expect("a tag is visible ASCII")
}

fn secure(edge: &Edge, request: &Facts) -> &'static str {
    if edge.config.cookie_secure.unwrap_or(request.shown().is_https()) { "; Secure" } else { "" }
}

fn cookie(edge: &Edge, request: &Facts, name: &str, value: &str, max_age_seconds: u64) -> HeaderValue {
    let secure = secure(edge, request);
    let same_site = match edge.config.cookie_samesite {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let line = format!("{name}={value}; HttpOnly; Path=/; Max-Age={max_age_seconds}{secure}; SameSite={same_site}");
    let mut line = HeaderValue::from_str(&line).expect("a credential is URL-safe");
    line.set_sensitive(true);
    line
}
