//! What a person's tokens were used for: by day, and session by session.

use askama::Template;
use chrono::{Days, Utc};
use shared::web::language::Language;

use super::{
    chart::Bars,
    components::{Pager, Slice, Time},
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer},
    text,
};
use crate::db::{access_token, session};

/// Days that the charts show, today included.
const DAYS: u64 = 30;

/// One token on one device.
struct SessionRow {
    token: String,
    token_id: uuid::Uuid,
    device: String,
    address: String,
    agent: String,
    started_at: Time,
    last_activity: Time,
    is_active: bool,
    requests: i64,
    traffic: String,
    open_connections: i64,
}

#[derive(Template)]
#[template(path = "console/usage.html")]
struct UsagePage {
    lang: Language,
    frame: Frame,
    requests: Bars,
    traffic: Bars,
    sessions: Vec<SessionRow>,
    pager: Pager,
}

pub async fn show(member: Member) -> Answer {
    let (app, lang, user_id) = (&member.app, member.lang, member.session.user.id);
    let today = Utc::now().date_naive();
    let first = today.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(today);
    let days = session::days_of_user(&app.db, user_id, first, today).await?;
    let bars = |title: &str, of: &dyn Fn(&session::Day) -> (u64, String)| Bars {
        title: title.to_owned(),
        bars: days
            .iter()
            .map(|day| (day.day.format("%Y-%m-%d").to_string(), of(day)))
            .map(|(label, (value, shown))| (label, value, shown))
            .collect(),
    };
    let count = |number: i64| u64::try_from(number).unwrap_or_default();

    let filter = session::Filter { user_id: Some(user_id), token_id: None, active_only: false };
    let reported_since = app.reported_since(Utc::now());
    let slice = Slice::of(&member.query);
    let (sessions, total) = session::list(&app.db, &filter, reported_since, slice.limit, slice.offset).await?;
    let ids: Vec<_> = sessions.iter().map(|session| session.token_id).collect();
    let prefixes = access_token::prefixes(&app.db, &ids).await?;
    let row = |session: session::Session| SessionRow {
        token: prefixes.get(&session.token_id).cloned().unwrap_or_default(),
        token_id: session.token_id,
        device: session.device_id.chars().take(12).collect(),
        address: session.ip_address.unwrap_or_default(),
        agent: session.user_agent.as_deref().map(text::agent).unwrap_or_default(),
        started_at: Time(session.started_at),
        last_activity: Time(session.last_activity),
        is_active: session.ended_at.is_none(),
        requests: session.requests,
        traffic: text::bytes(lang, count(session.bytes_in.saturating_add(session.bytes_out))),
        open_connections: session.open_connections,
    };
    response::page(&UsagePage {
        lang,
        frame: member.frame(NavItem::Usage),
        requests: bars(lang.say("Requests by day", "Запросы по дням"), &|day| {
            (count(day.requests), day.requests.to_string())
        }),
        traffic: bars(lang.say("Traffic by day", "Трафик по дням"), &|day| {
            (count(day.bytes), text::bytes(lang, count(day.bytes)))
        }),
        pager: Pager { lang, path: "/console/usage", filters: Vec::new(), slice, shown: sessions.len() as u64, total },
        sessions: sessions.into_iter().map(row).collect(),
    })
}
