//! Whom a person brought, and what came of it.

use askama::Template;
use shared::web::language::Language;

use super::{
    components::Time,
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer},
    text,
};
use crate::db::referral;

/// How many are listed, the newest first.
const LISTED: u64 = 200;

struct Referred {
    username: String,
    since: Time,
    has_qualified: bool,
}

#[derive(Template)]
#[template(path = "console/referrals.html")]
struct ReferralsPage {
    lang: Language,
    frame: Frame,
    code: String,
    link: String,
    referred: i64,
    qualifying: i64,
    earned: String,
    pending: String,
    people: Vec<Referred>,
}

pub async fn show(member: Member) -> Answer {
    let (app, lang, user) = (&member.app, member.lang, &member.session.user);
    let totals = referral::totals(&app.db, user.id).await?;
    let people = referral::list(&app.db, user.id, LISTED).await?;
    let person = |person: referral::Referred| Referred {
        username: person.username,
        since: Time(person.created_at),
        has_qualified: person.has_made_qualifying_purchase,
    };
    response::page(&ReferralsPage {
        lang,
        frame: member.frame(NavItem::Referrals),
        code: user.referral_code.clone(),
        link: format!("{}/register?ref={}", app.config.control_origin, user.referral_code),
        referred: totals.referred,
        qualifying: totals.qualifying,
        earned: text::money(lang, totals.earned),
        pending: text::money(lang, totals.pending),
        people: people.into_iter().map(person).collect(),
    })
}
