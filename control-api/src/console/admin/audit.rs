//! Who did what: the audit log with its filters, on pages and as a file.

use askama::Template;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, Utc};
use futures_util::stream;
use poem::{Body, Response, http::header};
use shared::web::language::Language;
use uuid::Uuid;

use super::{
    common::whom,
    text::{self, Detail},
};
use crate::{
    console::{
        components::{Pager, Person, Slice, Time},
        csv::Csv,
        form::Fields,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
        url::address,
    },
    db::{
        self,
        audit_log::{self, Filter, Line},
    },
    domain::audit::{Action, Resource},
};

const PATH: &str = "/console/admin/audit";
/// Lines that a file holds at most.
const FILE_LINES: usize = 100_000;
/// Lines that are read at once for a file.
const FILE_PAGE: u64 = 1_000;

/// A line, as a page shows it.
pub struct Entry {
    pub at: Time,
    /// Who did it, if anybody is known.
    pub by: Option<Person>,
    pub action: String,
    pub resource: String,
    pub resource_id: Option<Uuid>,
    /// The page of what it was done to, where there is one.
    pub link: Option<String>,
    pub details: Vec<Detail>,
    pub address: String,
    pub agent: String,
}

impl Entry {
    /// The end of the id, by which those of one moment differ.
    pub fn short_id(&self) -> String {
        self.resource_id.map(|id| id.simple().to_string()[20..].to_owned()).unwrap_or_default()
    }
}

pub fn entry(lang: Language, line: Line) -> Entry {
    let by = line.user_id.zip(line.user_username).zip(line.user_email);
    let page = match line.resource_type.as_str() {
        "user" => Some("users"),
        "token" => Some("tokens"),
        "payment" => Some("payments"),
        "bundle" => Some("bundles"),
        _ => None,
    };
    Entry {
        at: Time(line.created_at),
        by: by.map(|((id, username), email)| Person { id, username, email }),
        action: text::action_named(lang, &line.action),
        resource: text::resource(lang, &line.resource_type).to_owned(),
        resource_id: line.resource_id,
        link: page.zip(line.resource_id).map(|(page, id)| format!("/console/admin/{page}/{id}")),
        details: text::details(lang, &line.details),
        address: line.ip_address.unwrap_or_default(),
        agent: words::agent(&line.user_agent.unwrap_or_default()),
    }
}

/// Something to choose.
struct Choice {
    name: &'static str,
    word: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "console/admin/audit.html")]
struct AuditPage {
    lang: Language,
    frame: Frame,
    user: String,
    actions: Vec<Choice>,
    kinds: Vec<Choice>,
    from: String,
    until: String,
    entries: Vec<Entry>,
    pager: Pager,
    file: String,
}

/// The names and texts of what a query filters by; what means nothing is left out.
struct Asked {
    user: String,
    action: Option<Action>,
    kind: Option<&'static str>,
    from: Option<NaiveDate>,
    /// The last day.
    until: Option<NaiveDate>,
}

impl Asked {
    fn of(query: &Fields) -> Self {
        let action = query.text("action");
        Self {
            user: query.text("user").to_owned(),
            action: Action::ALL.into_iter().find(|each| each.as_str() == action),
            kind: Resource::KINDS.into_iter().find(|kind| *kind == query.text("kind")),
            from: query.text("from").parse().ok(),
            until: query.text("until").parse().ok(),
        }
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let day = |day: Option<NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
        vec![
            ("user", self.user.clone()),
            ("action", self.action.map_or("", Action::as_str).to_owned()),
            ("kind", self.kind.unwrap_or_default().to_owned()),
            ("from", day(self.from)),
            ("until", day(self.until)),
        ]
    }

    async fn filter(&self, admin: &Admin) -> Result<Filter, PageError> {
        let start = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        Ok(Filter {
            user_id: whom(&admin.app, &self.user).await?,
            action: self.action.map(|action| action.as_str().to_owned()),
            resource_type: self.kind.map(str::to_owned),
            from: self.from.filter(is_of_a_calendar).map(start),
            until: self.until.filter(is_of_a_calendar).and_then(|day| day.checked_add_days(Days::new(1))).map(start),
        })
    }
}

/// Postgres knows fewer years than chrono.
fn is_of_a_calendar(day: &NaiveDate) -> bool {
    use chrono::Datelike;
    (1970..=9999).contains(&day.year())
}

pub async fn list(admin: Admin) -> Answer {
    let (lang, slice, asked) = (admin.lang, Slice::of(&admin.query), Asked::of(&admin.query));
    let filter = asked.filter(&admin).await?;
    let (lines, total) = audit_log::list(&admin.app.db, &filter, slice.limit, slice.offset).await?;
    let filters = asked.pairs();
    let file = address("/console/admin/audit.csv", filters.iter().map(|(name, value)| (*name, value.as_str())));
    let [from, until] = [3, 4].map(|index| filters[index].1.clone());
    let mut actions = Action::ALL.map(|each| Choice {
        name: each.as_str(),
        word: text::action(lang, each).to_owned(),
        is_chosen: asked.action == Some(each),
    });
    actions.sort_by(|one, other| one.word.cmp(&other.word));
    let kinds = Resource::KINDS.map(|kind| Choice {
        name: kind,
        word: text::resource(lang, kind).to_owned(),
        is_chosen: asked.kind == Some(kind),
    });
    let page = AuditPage {
        lang,
        frame: admin.frame(NavItem::Audit),
        user: asked.user,
        actions: actions.into(),
        kinds: kinds.into(),
        from,
        until,
        pager: Pager { lang, path: PATH, filters, slice, shown: lines.len() as u64, total },
        entries: lines.into_iter().map(|line| entry(lang, line)).collect(),
        file,
    };
    response::page(&page)
}

/// How far a file has got.
struct Written {
    lines: usize,
    is_over: bool,
    lang: Language,
}

impl Written {
    /// The next lines as they stand in the file; none are its end, and so is one too many, which it
    /// says.
    fn piece(&mut self, lines: &[Line]) -> String {
        let mut piece = Csv::default();
        let room = FILE_LINES - self.lines;
        for line in lines.iter().take(room) {
            piece.line(cells(line));
        }
        if lines.len() > room {
            piece.line([cut_short(self.lang).to_owned()]);
        }
        self.is_over = lines.is_empty() || lines.len() > room;
        self.lines += lines.len().min(room);
        piece.into_text()
    }
}

/// A file that is read while it is sent.
struct Reading {
    db: db::Pool,
    filter: Filter,
    /// The last line that was read.
    after: Option<Uuid>,
    written: Written,
}

impl Reading {
    /// The next piece of the file; `None` at its end.
    async fn next(mut self) -> Result<Option<(String, Self)>, std::io::Error> {
        if self.written.is_over {
            return Ok(None);
        }
        let lines = audit_log::list_after(&self.db, &self.filter, self.after, FILE_PAGE).await;
        let lines = lines.map_err(|error| {
            tracing::warn!(%error, "the audit log could not be read to its end");
            std::io::Error::other("the audit log could not be read to its end")
        })?;
        self.after = lines.last().map(|line| line.id);
        Ok(Some((self.written.piece(&lines), self)))
    }
}

fn cut_short(lang: Language) -> &'static str {
    lang.say(
        "There are more lines than the 100000 that a file holds. Ask for fewer days.",
        "Строк больше, чем 100000, помещающихся в файл. Выберите меньше дней.",
    )
}

fn cells(line: &Line) -> [String; 12] {
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        moment(line.created_at),
        id(line.user_id),
        text(&line.user_email),
        text(&line.user_username),
        line.action.clone(),
        line.resource_type.clone(),
        id(line.resource_id),
        line.details.to_string(),
        text(&line.ip_address),
        text(&line.user_agent),
        text(&line.request_id),
        line.id.to_string(),
    ]
}

/// The lines that the same filters list, as a file that is written while it is read.
pub async fn download(admin: Admin) -> Answer {
    let filter = Asked::of(&admin.query).filter(&admin).await?;
    let columns = [
        "created_at",
        "user_id",
        "user_email",
        "user_username",
        "action",
        "resource_type",
        "resource_id",
        "details",
        "ip_address",
        "user_agent",
        "request_id",
        "id",
    ];
    let head = Csv::new(&columns).into_text();
    let written = Written { lines: 0, is_over: false, lang: admin.lang };
    let reading = Reading { db: admin.app.db.clone(), filter, after: None, written };
    // The first piece before the answer's head, so that what cannot be read at all is a page that
    // says so.
    let Some((first, reading)) = reading.next().await.map_err(|_| PageError::Domain(crate::domain::Error::Busy))?
    else {
        return Err(PageError::NotFound);
    };
    let rest = stream::try_unfold(reading, Reading::next);
    let pieces = stream::StreamExt::chain(stream::iter([Ok(head), Ok(first)]), rest);
    Ok(Response::builder()
        .content_type("text/csv; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\"")
        .body(Body::from_bytes_stream(pieces)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line() -> Line {
        Line {
            id: Uuid::nil(),
            user_id: None,
            action: "login".to_owned(),
            resource_type: "user".to_owned(),
            resource_id: None,
            details: json!({}),
            ip_address: None,
            user_agent: Some("=1+1".to_owned()),
            request_id: None,
            created_at: DateTime::default(),
            user_email: None,
            user_username: None,
        }
    }

    #[test]
    fn a_file_ends_with_the_last_line_or_says_that_there_are_more() {
        let lang = Language::English;
        let mut whole = Written { lines: FILE_LINES - 2, is_over: false, lang };
        let piece = whole.piece(&[line(), line()]);
        assert_eq!((piece.lines().count(), whole.is_over), (2, false));
        assert!(piece.contains("\"'=1+1\""), "{piece}");
        assert_eq!((whole.piece(&[]), whole.is_over), (String::new(), true));

        let mut cut = Written { lines: FILE_LINES - 2, is_over: false, lang };
        let piece = cut.piece(&[line(), line(), line()]);
        assert_eq!((piece.lines().count(), cut.is_over, cut.lines), (3, true, FILE_LINES));
        assert!(piece.ends_with("Ask for fewer days.\"\r\n"), "{piece}");
    }
}
