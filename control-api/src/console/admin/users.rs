//! The list of users, found as one types.

use askama::{Template, filters::HtmlSafe};
use shared::web::language::Language;
use uuid::Uuid;

use super::text;
use crate::{
    console::{
        components::{Badge, Pager, Slice, Time, page_or_piece},
        layout::{Frame, NavItem},
        request::Admin,
        response::Answer,
        text as words,
    },
    db::user,
    input::{Scalar, Search},
};

struct Row {
    id: Uuid,
    username: String,
    full_name: Option<String>,
    email: String,
    balance: String,
    badges: Vec<Badge>,
    created_at: Time,
}

#[derive(Template)]
#[template(path = "console/admin/users_list.html")]
struct List {
    lang: Language,
    rows: Vec<Row>,
    pager: Pager,
    /// Whether it comes alone, to take the place of another.
    is_piece: bool,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for List {}

#[derive(Template)]
#[template(path = "console/admin/users.html")]
struct UsersPage<'a> {
    lang: Language,
    frame: Frame,
    search: &'a str,
    state: &'a str,
    list: &'a List,
}

pub async fn list(admin: Admin) -> Answer {
    let (lang, slice) = (admin.lang, Slice::of(&admin.query));
    let (search, state) = (admin.query.text("search"), admin.query.text("state"));
    let is_active = match state {
        "active" => Some(true),
        "disabled" => Some(false),
        _ => None,
    };
    // What no name can hold finds nobody.
    let (users, total) = match Search::read(search.into()) {
        Ok(literal) => {
            let filter = user::Filter { search: Some(literal.0).filter(|search| !search.is_empty()), is_active };
            user::list(&admin.app.db, &filter, slice.limit, slice.offset).await?
        }
        Err(_) => (Vec::new(), 0),
    };
    let filters = vec![("search", search.to_owned()), ("state", state.to_owned())];
    let pager = Pager { lang, path: "/console/admin/users", filters, slice, shown: users.len() as u64, total };
    let rows = users.into_iter().map(|user| Row {
        id: user.id,
        balance: words::money(lang, user.currency_balance),
        badges: text::account(lang, &user),
        username: user.username,
        full_name: user.full_name,
        email: user.email,
        created_at: Time(user.created_at),
    });
    let list = List { lang, rows: rows.collect(), pager, is_piece: admin.wants_piece };
    let page = UsersPage { lang, frame: admin.frame(NavItem::Users), search, state, list: &list };
    page_or_piece(admin.wants_piece, &page, &list)
}
