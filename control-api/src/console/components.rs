//! What pages are put together from: times, badges, names with their links, pages of a list, the
//! question before something dangerous.

use std::fmt;

use askama::{Template, filters::HtmlSafe};
use chrono::{DateTime, SecondsFormat, Utc};
use poem::Response;
use shared::web::language::Language;
use uuid::Uuid;

use super::{
    form::{FieldErrors, Fields},
    layout::Frame,
    response,
    url::address,
};
use crate::db::user::Named;

/// Lines of a list at once, unless the address says how many.
const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 100;
const OFFSET_MAX: u64 = 1_000_000_000;
/// How far the rows of a list are counted.
const COUNTED: u64 = 10_000;

/// A moment in an element that a script shows by the reader's clock.
#[derive(Clone, Copy)]
pub struct Time(pub DateTime<Utc>);

impl Time {
    /// As programs read it (RFC 3339).
    pub fn machine(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.format("%Y-%m-%d %H:%M UTC");
        write!(formatter, r#"<time datetime="{}">{shown}</time>"#, self.machine())
    }
}

/// It is made of digits and of what stands here.
impl HtmlSafe for Time {}

/// A short word on how something stands.
#[derive(Clone, Copy)]
pub struct Badge {
    /// As the stylesheet has it.
    pub class: &'static str,
    pub word: &'static str,
}

impl fmt::Display for Badge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, r#"<span class="badge {}">{}</span>"#, self.class, self.word)
    }
}

/// Its texts stand in this program.
impl HtmlSafe for Badge {}

/// A user by name, with the way to their page.
#[derive(Clone, Template)]
#[template(
    ext = "html",
    source = r#"<a href="/console/admin/users/{{ id }}">{{ username }}</a> <span class="quiet small">{{ email }}</span>"#
)]
pub struct Person {
    pub id: Uuid,
    pub username: String,
    pub email: String,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Person {}

impl From<&Named> for Person {
    fn from(named: &Named) -> Self {
        Self { id: named.id, username: named.username.clone(), email: named.email.clone() }
    }
}

/// Which lines of a list are asked for.
#[derive(Clone, Copy)]
pub struct Slice {
    pub limit: u64,
    pub offset: u64,
}

impl Slice {
    /// What the address says, or the first lines: what cannot be meant is passed over.
    pub fn of(query: &Fields) -> Self {
        let limit = query.number("limit").filter(|limit| (1..=LIMIT_MAX).contains(limit)).unwrap_or(LIMIT);
        Self { limit, offset: query.number("offset").unwrap_or_default().min(OFFSET_MAX) }
    }
}

/// Which lines of how many a page shows, and the ways to those before and after, with what the list
/// is filtered by.
#[derive(Clone, Template)]
#[template(path = "console/pager.html")]
pub struct Pager {
    pub lang: Language,
    pub path: &'static str,
    pub filters: Vec<(&'static str, String)>,
    pub slice: Slice,
    /// Lines on this page.
    pub shown: u64,
    /// [`COUNTED`] stands for that many or more.
    pub total: u64,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Pager {}

impl Pager {
    fn at(&self, offset: u64) -> String {
        let (limit, offset) = (self.slice.limit, offset.to_string());
        let limit = if limit == LIMIT { String::new() } else { limit.to_string() };
        let offset = if offset == "0" { "" } else { &offset };
        let filters = self.filters.iter().map(|(name, value)| (*name, value.as_str()));
        address(self.path, filters.chain([("limit", limit.as_str()), ("offset", offset)]))
    }

    pub fn previous(&self) -> Option<String> {
        let Slice { limit, offset } = self.slice;
        // From past the end, back to the last page.
        let behind = if self.shown == 0 { self.total.saturating_sub(1) / limit * limit } else { offset };
        let before = if self.shown == 0 { behind } else { offset.saturating_sub(limit) };
        (offset > 0).then(|| self.at(before))
    }

    pub fn next(&self) -> Option<String> {
        let Slice { limit, offset } = self.slice;
        let end = offset + self.shown;
        let is_uncounted = self.total >= COUNTED && self.shown == limit;
        (end < self.total && self.shown > 0 || is_uncounted).then(|| self.at(end))
    }

    /// Which lines these are, in words.
    pub fn range(&self) -> String {
        let (first, last) = (self.slice.offset + 1, self.slice.offset + self.shown);
        let of = match (self.total >= COUNTED, self.lang) {
            (false, Language::English) => format!("of {}", self.total),
            (false, Language::Russian) => format!("из {}", self.total),
            (true, Language::English) => format!("of {COUNTED} or more"),
            (true, Language::Russian) => format!("из {COUNTED} или больше"),
        };
        if self.shown == 0 { of } else { format!("{first}\u{2013}{last} {of}") }
    }
}

/// The page that asks before something is done, and says what will happen.
#[derive(Template)]
#[template(path = "console/confirm.html")]
pub struct Confirm {
    pub lang: Language,
    pub frame: Frame,
    pub title: String,
    /// What it is about.
    pub facts: Vec<(&'static str, String)>,
    /// What will happen, in sentences.
    pub happens: Vec<String>,
    /// Where its form is sent, and what with.
    pub action: String,
    pub hidden: Vec<(&'static str, String)>,
    /// The e-mail of the user who is asked for the password; `None` if no password is asked for.
    pub asks_password_of: Option<String>,
    pub button: &'static str,
    pub is_dangerous: bool,
    /// Where nothing is done.
    pub back: String,
    pub errors: FieldErrors,
}

impl Confirm {
    /// The page; one that says what is wrong if anything is.
    pub fn answer(&self) -> response::Answer {
        if self.errors.is_empty() { response::page(self) } else { response::refused(self) }
    }
}

/// A page, or the piece of it that a script asked for.
pub fn page_or_piece(
    wants_piece: bool,
    page: &impl Template,
    piece: &impl Template,
) -> Result<Response, response::PageError> {
    if wants_piece { response::page(piece) } else { response::page(page) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pager(limit: u64, offset: u64, shown: u64, total: u64) -> Pager {
        let filters = vec![("search", "a&b=c".to_owned()), ("state", String::new())];
        let (lang, path) = (Language::English, "/console/admin/users");
        Pager { lang, path, filters, slice: Slice { limit, offset }, shown, total }
    }

    #[test]
    fn pages_before_and_after_keep_the_filters() {
        let middle = pager(10, 20, 10, 45);
        let kept = "/console/admin/users?search=a%26b%3Dc&limit=10";
        assert_eq!(middle.previous(), Some(format!("{kept}&offset=10")));
        assert_eq!(middle.next(), Some(format!("{kept}&offset=30")));
        assert_eq!(middle.range(), "21\u{2013}30 of 45");
        assert_eq!(pager(50, 50, 3, 53).previous(), Some("/console/admin/users?search=a%26b%3Dc".to_owned()));
    }

    #[test]
    fn there_is_no_page_before_the_first_nor_after_the_last() {
        assert_eq!((pager(50, 0, 50, 50).previous(), pager(50, 0, 50, 50).next()), (None, None));
        assert_eq!((pager(50, 0, 0, 0).previous(), pager(50, 0, 0, 0).next()), (None, None));
        assert!(pager(50, 9_950, 50, COUNTED).next().is_some(), "nobody has counted on");
    }

    #[test]
    fn past_the_end_there_is_a_way_back_to_the_last_page() {
        let lost = pager(10, 900, 0, 45);
        assert_eq!(lost.previous(), Some("/console/admin/users?search=a%26b%3Dc&limit=10&offset=40".to_owned()));
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn a_name_is_never_markup() {
        let person = Person { id: Uuid::nil(), username: "<b>".to_owned(), email: "\"x@y.z".to_owned() };
        let html = person.render().expect("it renders");
        assert!(html.contains("&#60;b&#62;") && !html.contains("\"x@"), "{html}");
    }
}
