//! Everybody's tokens: found by how their text begins, by user, by state; one with its sessions;
//! revoking. No page holds a token's text.

use askama::Template;
use chrono::{DateTime, Utc};
use shared::{
    token::{credential::PREFIX_CHARS, state::State},
    web::language::Language,
};
use uuid::Uuid;

use super::{
    common::{done, whom},
    sessions::{self, Row as SessionRow},
};
use crate::{
    app::App,
    config::TokenHour,
    console::{
        components::{Badge, Confirm, Pager, Person, Slice, Time},
        form::FieldErrors,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
        url::address,
    },
    db::{
        access_token::{self, Owned},
        session, token_list,
    },
    domain::{administration, tokens},
    publish,
};

const PATH: &str = "/console/admin/tokens";
/// How many sessions of a token are shown with it.
const SESSIONS: u64 = 10;
const STATES: [State; 5] = [State::Ready, State::Active, State::Expired, State::Revoked, State::Suspended];

/// A token in a list.
pub struct Row {
    pub id: Uuid,
    pub prefix: String,
    pub owner: Person,
    pub badge: Badge,
    pub hours: String,
    pub scope: &'static str,
    pub cost: String,
    pub created_at: Time,
    pub expires_at: Option<Time>,
}

pub fn row(lang: Language, hour: TokenHour, owned: &Owned, now: DateTime<Utc>) -> Row {
    let token = &owned.token;
    let state = tokens::state(token, hour, owned.user_is_active, now);
    Row {
        id: token.id,
        prefix: token.token_prefix.clone(),
        owner: Person { id: token.user_id, username: owned.user_username.clone(), email: owned.user_email.clone() },
        badge: badge(lang, state),
        hours: lang.hours(u64::try_from(token.duration_hours).unwrap_or_default()),
        scope: words::scope(lang, &token.scope),
        cost: words::money(lang, token.cost),
        created_at: Time(token.created_at),
        expires_at: token.expires_at(hour).map(Time),
    }
}

fn badge(lang: Language, state: State) -> Badge {
    Badge { class: words::state_class(state), word: words::state(lang, state) }
}

/// A state to choose.
struct Choice {
    name: &'static str,
    word: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "console/admin/tokens.html")]
struct TokensPage {
    lang: Language,
    frame: Frame,
    prefix: String,
    user: String,
    states: Vec<Choice>,
    rows: Vec<Row>,
    pager: Pager,
    /// Whether so much was typed that it may be a whole text, which is looked for nowhere.
    is_too_long: bool,
}

impl TokensPage {
    fn prefix_chars(&self) -> usize {
        PREFIX_CHARS
    }
}

pub async fn list(admin: Admin) -> Answer {
    let (app, lang, now, slice) = (&admin.app, admin.lang, Utc::now(), Slice::of(&admin.query));
    let (prefix, user) = (admin.query.text("prefix").replace('\0', ""), admin.query.text("user").to_owned());
    if prefix.chars().count() > PREFIX_CHARS {
        // It may be the text of a token, which no page shows nor leaves in the address.
        let kept = [("user", user.as_str()), ("state", admin.query.text("state")), ("fault", "too-long")];
        return response::see_other(&address(PATH, kept));
    }
    let is_too_long = admin.query.text("fault") == "too-long";
    let state = STATES.into_iter().find(|state| state.as_str() == admin.query.text("state"));
    let filter = token_list::Filter {
        user_id: whom(app, &user).await?,
        prefix: Some(prefix.clone()).filter(|prefix| !prefix.is_empty()),
        state,
    };
    let (found, total) = match is_too_long {
        true => (Vec::new(), 0),
        false => token_list::list(&app.db, app.config.hour, &filter, now, slice.limit, slice.offset).await?,
    };
    let state_name = state.map_or("", State::as_str).to_owned();
    let filters = vec![("prefix", prefix.clone()), ("user", user.clone()), ("state", state_name)];
    let page = TokensPage {
        lang,
        frame: admin.frame(NavItem::AllTokens),
        prefix,
        user,
        states: STATES
            .map(|each| Choice { name: each.as_str(), word: words::state(lang, each), is_chosen: state == Some(each) })
            .into(),
        pager: Pager { lang, path: PATH, filters, slice, shown: found.len() as u64, total },
        rows: found.iter().map(|owned| row(lang, app.config.hour, owned, now)).collect(),
        is_too_long,
    };
    response::page(&page)
}

#[derive(Template)]
#[template(path = "console/admin/token.html")]
struct TokenPage {
    lang: Language,
    frame: Frame,
    token: Row,
    activated_at: Option<Time>,
    revoked_at: Option<Time>,
    allowed: Vec<String>,
    denied: Vec<String>,
    sessions: Vec<SessionRow>,
    sessions_total: u64,
}

impl TokenPage {
    fn all_sessions(&self) -> String {
        let id = self.token.id.to_string();
        address("/console/admin/sessions", [("token", id.as_str()), ("state", "all")])
    }
}

async fn token_of_path(admin: &Admin) -> Result<Owned, PageError> {
    access_token::find(&admin.app.db, admin.id()?).await?.ok_or(PageError::NotFound)
}

pub async fn show(admin: Admin) -> Answer {
    let (app, lang, now) = (&admin.app, admin.lang, Utc::now());
    let owned = token_of_path(&admin).await?;
    let filter = session::Filter { token_id: Some(owned.token.id), ..Default::default() };
    let (found, sessions_total) = session::list(&app.db, &filter, app.reported_since(now), SESSIONS, 0).await?;
    let page = TokenPage {
        lang,
        frame: admin.frame(NavItem::AllTokens),
        token: row(lang, app.config.hour, &owned, now),
        activated_at: owned.token.activated_at.map(Time),
        revoked_at: owned.token.revoked_at.map(Time),
        sessions: sessions::rows(&app.db, lang, found).await?,
        sessions_total,
        allowed: owned.token.allowed_networks,
        denied: owned.token.denied_networks,
    };
    response::page(&page)
}

pub async fn ask_revoke(admin: Admin) -> Answer {
    let (lang, owned) = (admin.lang, token_of_path(&admin).await?);
    let token = row(lang, admin.app.config.hour, &owned, Utc::now());
    let happens = lang.say(
        "It stops working on every edge, and everything open on it is cut at once. Nothing is refunded. This cannot be undone.",
        "Он перестанет действовать на всех шлюзах, и всё, что по нему открыто, сразу прервётся. Средства не возвращаются. Отменить это нельзя.",
    );
    let page = Confirm {
        lang,
        frame: admin.frame(NavItem::AllTokens),
        title: lang.say("Revoke this token?", "Отозвать токен?").to_owned(),
        facts: vec![
            (lang.say("Token", "Токен"), format!("{}\u{2026}", token.prefix)),
            (lang.say("User", "Пользователь"), format!("{}, {}", token.owner.username, token.owner.email)),
            (lang.say("State", "Состояние"), token.badge.word.to_owned()),
            (lang.say("Lasts", "Срок"), token.hours),
            (lang.say("Paid", "Оплачено"), token.cost),
        ],
        happens: vec![happens.to_owned()],
        action: format!("{PATH}/{}/revoke", token.id),
        hidden: Vec::new(),
        asks_password_of: None,
        button: lang.say("Revoke", "Отозвать"),
        is_dangerous: true,
        back: format!("{PATH}/{}", token.id),
        errors: FieldErrors::default(),
    };
    page.answer()
}

pub async fn revoke(admin: Admin) -> Answer {
    let (App { db, publisher, .. }, id) = (&*admin.app, admin.id()?);
    let revoked = administration::revoke_token(db, &admin.session, id).await?;
    let ((), delivery) = publish::deliver(db, publisher, revoked).await;
    tracing::info!(by = %admin.session.user.id, token_id = %id, "a token was revoked");
    let told = done("revoked", "revoked-pending", delivery);
    response::see_other(&address(&format!("{PATH}/{id}"), [("done", told)]))
}
