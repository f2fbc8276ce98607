//! What the console answers: pages, pieces of pages, redirects, files; and why it does not do what
//! was asked.

use askama::Template;
use poem::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use shared::{rate::Exceeded, web::language::Language};

use super::{
    layout::{Frame, NavItem},
    text,
};
use crate::{db, domain, http::error::ApiError};

/// What a handler gives.
pub type Answer = Result<Response, PageError>;

/// Why a page is not there.
#[derive(Debug)]
pub enum PageError {
    Domain(domain::Error),
    /// Nothing is there, or not for this user.
    NotFound,
    /// Only superusers may.
    NotSuperuser,
    /// Another page than one of ours sent it.
    Foreign,
    TooMany(Exceeded),
    /// A form that no page of ours sends.
    Malformed,
}

impl From<domain::Error> for PageError {
    fn from(error: domain::Error) -> Self {
        Self::Domain(error)
    }
}

impl From<db::Error> for PageError {
    fn from(error: db::Error) -> Self {
        Self::Domain(error.into())
    }
}

#[derive(Template)]
#[template(path = "console/trouble.html")]
struct ErrorPage {
    lang: Language,
    frame: Frame,
    title: String,
    sentence: String,
    /// Whether trying again may help.
    passes: bool,
}

impl PageError {
    /// The page that says so, and its status.
    pub fn into_response(self, frame: Frame) -> Response {
        let lang = frame.lang;
        let wait = match &self {
            Self::TooMany(exceeded) => Some(exceeded.retry_after_seconds()),
            Self::Domain(domain::Error::TooManyFailures { wait }) => Some(wait.as_secs() + 1),
            _ => None,
        };
        let (status, sentence) = match self {
            Self::Domain(error) => {
                let sentence = text::refusal(lang, &error);
                (ApiError::status_of(error), sentence)
            }
            Self::NotFound => {
                (StatusCode::NOT_FOUND, lang.say("There is no such page.", "Такой страницы нет.").to_owned())
            }
            Self::NotSuperuser => {
                let text =
                    lang.say("Only administrators can see this page.", "Эта страница только для администраторов.");
                (StatusCode::FORBIDDEN, text.to_owned())
            }
            Self::Foreign => {
                let text = lang.say(
                    "This request came from another site, so nothing was done. Open the console and try again from there.",
                    "Запрос пришёл с другого сайта, поэтому ничего не сделано. Откройте консоль и повторите действие в ней.",
                );
                (StatusCode::FORBIDDEN, text.to_owned())
            }
            Self::TooMany(exceeded) => {
                (StatusCode::TOO_MANY_REQUESTS, text::wait(lang, exceeded.retry_after_seconds()))
            }
            Self::Malformed => {
                let text = lang.say(
                    "The form could not be read. Go back and try again.",
                    "Форму не удалось прочитать. Вернитесь и повторите.",
                );
                (StatusCode::BAD_REQUEST, text.to_owned())
            }
        };
        let wait = wait.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(1));
        let title = match status {
            StatusCode::NOT_FOUND => lang.say("Not found", "Не найдено"),
            StatusCode::FORBIDDEN => lang.say("Not allowed", "Нет доступа"),
            status if status.is_server_error() => lang.say("Not available just now", "Сейчас недоступно"),
            _ => lang.say("This did not work", "Не получилось"),
        };
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let frame = Frame { here: NavItem::Outside, ..frame };
        let page = ErrorPage { lang, frame, title: title.to_owned(), sentence, passes };
        to_wait(page_of(status, &page), wait)
    }
}

/// The same answer with when to come again, in seconds.
pub fn to_wait(mut response: Response, seconds: Option<u64>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A page.
pub fn page(template: &impl Template) -> Answer {
    Ok(page_of(StatusCode::OK, template))
}

/// A page that says what is wrong with what was sent, and has it still.
pub fn refused(template: &impl Template) -> Answer {
    Ok(page_of(StatusCode::UNPROCESSABLE_ENTITY, template))
}

pub fn page_of(status: StatusCode, template: &impl Template) -> Response {
    let html = template.render().expect("a page renders from texts and numbers");
    Response::builder().status(status).content_type("text/html; charset=utf-8").body(html)
}

/// Sends the browser on, with a GET.
pub fn see_other(address: &str) -> Answer {
    Ok(Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, address).finish())
}

/// A file to be kept.
pub fn download(name: &str, content_type: &str, body: String) -> Answer {
    Ok(Response::builder()
        .content_type(content_type)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .body(body))
}
