//! How things stand now, and what moved in the last days.

use askama::{Template, filters::HtmlSafe};
use chrono::{Days, NaiveTime, Utc};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use shared::web::language::Language;

use crate::{
    console::{
        chart::Bars,
        components::Time,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
    },
    db::{session, stats},
};

/// How many days are looked back on, today among them.
const DAYS: u64 = 30;

/// A number, and what it is of.
struct Figure {
    name: &'static str,
    shown: String,
    more: String,
    /// Where it is told in full.
    link: &'static str,
}

/// The numbers that are asked for again and again.
#[derive(Template)]
#[template(path = "console/admin/overview_live.html")]
struct Live {
    lang: Language,
    figures: Vec<Figure>,
    tokens: Vec<Figure>,
    at: Time,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Live {}

#[derive(Template)]
#[template(path = "console/admin/overview.html")]
struct OverviewPage<'a> {
    lang: Language,
    frame: Frame,
    live: &'a Live,
    revenue: Bars,
    sold: Bars,
}

fn revenue(day: &stats::Day) -> Decimal {
    day.purchases - day.refunds
}

async fn days(admin: &Admin) -> Result<Vec<stats::Day>, PageError> {
    let today = Utc::now().date_naive();
    Ok(stats::days(&admin.app.db, today - Days::new(DAYS - 1), today).await?)
}

async fn numbers(admin: &Admin, days: &[stats::Day]) -> Result<Live, PageError> {
    let (app, lang, now) = (&admin.app, admin.lang, Utc::now());
    let db = &app.db;
    let (users, tokens) = (stats::users(db).await?, stats::tokens(db, app.config.hour, now).await?);
    let today = now.date_naive().and_time(NaiveTime::MIN).and_utc();
    let [signed_up, signed_up_before] =
        [stats::users_since(db, today).await?, stats::users_since(db, today - Days::new(DAYS - 1)).await?];
    let sessions = session::count_open(db).await?;
    let connections = session::count_connections(db, app.reported_since(now)).await?;
    let month: Decimal = days.iter().map(revenue).sum();
    let this_day = days.first().map(revenue).unwrap_or_default();
    let in_days = lang.say("in 30 days", "за 30 дней");
    let figures = vec![
        Figure {
            name: lang.say("Revenue today", "Выручка сегодня"),
            shown: words::money(lang, this_day),
            more: format!("{} {in_days}", words::money(lang, month)),
            link: "/console/admin/payments",
        },
        Figure {
            name: lang.say("Open sessions", "Открытые сеансы"),
            shown: sessions.to_string(),
            more: format!("{}: {connections}", lang.say("connections", "соединений")),
            link: "/console/admin/sessions",
        },
        Figure {
            name: lang.say("Users", "Пользователи"),
            shown: users.total.to_string(),
            more: format!(
                "{}: {}, {}: {}",
                lang.say("active", "действуют"),
                users.active,
                lang.say("administrators", "администраторов"),
                users.superusers
            ),
            link: "/console/admin/users",
        },
        Figure {
            name: lang.say("Sign-ups today", "Новых сегодня"),
            shown: signed_up.to_string(),
            more: format!("{signed_up_before} {in_days}"),
            link: "/console/admin/users",
        },
    ];
    let state = |english, russian, count: u64, link| Figure {
        name: lang.say(english, russian),
        shown: count.to_string(),
        more: String::new(),
        link,
    };
    let tokens = vec![
        state("active", "действуют", tokens.active, "/console/admin/tokens?state=active"),
        state("ready", "не начаты", tokens.ready, "/console/admin/tokens?state=ready"),
        state("suspended", "приостановлены", tokens.suspended, "/console/admin/tokens?state=suspended"),
        state("expired", "истекли", tokens.expired, "/console/admin/tokens?state=expired"),
        state("revoked", "отозваны", tokens.revoked, "/console/admin/tokens?state=revoked"),
    ];
    Ok(Live { lang, figures, tokens, at: Time(now) })
}

pub async fn show(admin: Admin) -> Answer {
    let (lang, days) = (admin.lang, days(&admin).await?);
    let live = numbers(&admin, &days).await?;
    let bars = |of: fn(Language, &stats::Day) -> (u64, String)| {
        // The oldest first, as one reads.
        let bar = |day: &stats::Day| {
            let (value, shown) = of(lang, day);
            (day.day.to_string(), value, shown)
        };
        days.iter().rev().map(bar).collect()
    };
    let revenue = Bars {
        title: lang.say("Revenue by day, last 30 days (UTC)", "Выручка по дням за 30 дней (UTC)").to_owned(),
        bars: bars(|lang, day| {
            let cents = (revenue(day) * Decimal::ONE_HUNDRED).max(Decimal::ZERO);
            (cents.to_u64().unwrap_or_default(), words::money(lang, revenue(day)))
        }),
    };
    let sold = Bars {
        title: lang
            .say("Tokens sold by day, last 30 days (UTC)", "Продано токенов по дням за 30 дней (UTC)")
            .to_owned(),
        bars: bars(|_, day| (u64::try_from(day.tokens_sold).unwrap_or_default(), day.tokens_sold.to_string())),
    };
    let frame = admin.frame(NavItem::Overview);
    response::page(&OverviewPage { lang, frame, live: &live, revenue, sold })
}

/// The numbers alone, for a page that is open.
pub async fn live(admin: Admin) -> Answer {
    let days = days(&admin).await?;
    response::page(&numbers(&admin, &days).await?)
}
