//! The first page after a login: what they can spend, their tokens to open, what happened last.

use askama::Template;
use chrono::Utc;
use shared::web::language::Language;

use super::{
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer},
    tokens::TokenRow,
};
use crate::db::access_token;

/// How many tokens are shown; the others are in the list.
const TOKENS: u64 = 6;

#[derive(Template)]
#[template(path = "console/home.html")]
struct HomePage {
    lang: Language,
    frame: Frame,
    tokens: Vec<TokenRow>,
    more: bool,
}

pub async fn show(member: Member) -> Answer {
    let (hour, now, lang) = (member.app.config.hour, Utc::now(), member.lang);
    let filter = access_token::Filter { user_id: Some(member.session.user.id), live_at: Some(now) };
    let (owned, total) = access_token::list(&member.app.db, hour, &filter, TOKENS, 0).await?;
    response::page(&HomePage {
        lang,
        frame: member.frame(NavItem::Home),
        tokens: owned.iter().map(|owned| TokenRow::new(lang, &owned.token, hour, now)).collect(),
        more: total > TOKENS,
    })
}
