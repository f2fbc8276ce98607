//! Whether every balance is what its ledger says, asked by a button.

use askama::{Template, filters::HtmlSafe};
use shared::web::language::Language;

use crate::{
    console::{
        components::{Person, page_or_piece},
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer},
        text as words,
    },
    db::user,
    domain::ledger,
};

struct Row {
    owner: Person,
    balance: String,
    ledger: String,
    lines: i64,
}

/// What a check found.
#[derive(Template)]
#[template(path = "console/admin/ledger_result.html")]
struct Outcome {
    lang: Language,
    users: u64,
    differing: u64,
    rows: Vec<Row>,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Outcome {}

#[derive(Template)]
#[template(path = "console/admin/ledger.html")]
struct LedgerPage<'a> {
    lang: Language,
    frame: Frame,
    outcome: Option<&'a Outcome>,
}

pub async fn show(admin: Admin) -> Answer {
    response::page(&LedgerPage { lang: admin.lang, frame: admin.frame(NavItem::Ledger), outcome: None })
}

pub async fn verify(admin: Admin) -> Answer {
    let (db, lang) = (&admin.app.db, admin.lang);
    let ledger::Verified { users, differing, differences } = ledger::verify(db).await?;
    let names = user::names(db, differences.iter().map(|difference| difference.user_id).collect()).await?;
    let rows = differences.into_iter().filter_map(|difference| {
        Some(Row {
            owner: names.get(&difference.user_id).map(Person::from)?,
            balance: words::money(lang, difference.balance),
            ledger: words::money(lang, difference.ledger),
            lines: difference.lines,
        })
    });
    let outcome = Outcome { lang, users, differing, rows: rows.collect() };
    let page = LedgerPage { lang, frame: admin.frame(NavItem::Ledger), outcome: Some(&outcome) };
    page_or_piece(admin.wants_piece, &page, &outcome)
}
