//! Who uses tokens now, from where and how much, and cutting it.

use askama::Template;
use chrono::Utc;
use shared::web::language::Language;
use uuid::Uuid;

use super::common::{done, whom};
use crate::{
    app::App,
    console::{
        components::{Badge, Confirm, Pager, Person, Slice, Time},
        form::FieldErrors,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
        url::address,
    },
    db::{self, session, user},
    domain::sessions,
    publish,
};

const PATH: &str = "/console/admin/sessions";
/// The last characters of a device's name, which are shown: enough to tell two apart.
const DEVICE_CHARS: usize = 8;

/// A session in a list.
pub struct Row {
    pub id: Uuid,
    pub token_id: Uuid,
    /// `None` if the account is gone.
    pub owner: Option<Person>,
    pub device: String,
    pub address: String,
    pub agent: String,
    pub started_at: Time,
    pub last_activity: Time,
    pub is_open: bool,
    pub badge: Badge,
    pub requests: i64,
    /// Towards the upstream, and towards the client.
    pub traffic: [String; 2],
    pub connections: i64,
}

/// The end of a device's name.
fn last(device: &str) -> String {
    device.chars().skip(device.chars().count().saturating_sub(DEVICE_CHARS)).collect()
}

/// Sessions with whose they are.
pub async fn rows(db: &db::Pool, lang: Language, found: Vec<session::Session>) -> Result<Vec<Row>, PageError> {
    let mut ids: Vec<Uuid> = found.iter().map(|session| session.user_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = user::names(db, ids).await?;
    let size = |bytes: i64| words::bytes(lang, u64::try_from(bytes).unwrap_or_default());
    let row = |session: session::Session| Row {
        id: session.id,
        token_id: session.token_id,
        owner: names.get(&session.user_id).map(Person::from),
        device: last(&session.device_id),
        address: session.ip_address.unwrap_or_default(),
        agent: words::agent(&session.user_agent.unwrap_or_default()),
        started_at: Time(session.started_at),
        last_activity: Time(session.last_activity),
        is_open: session.ended_at.is_none(),
        badge: match session.ended_at {
            None => Badge { class: "good", word: lang.say("open", "открыт") },
            Some(_) => Badge { class: "", word: lang.say("ended", "завершён") },
        },
        requests: session.requests,
        traffic: [size(session.bytes_in), size(session.bytes_out)],
        connections: session.open_connections,
    };
    Ok(found.into_iter().map(row).collect())
}

#[derive(Template)]
#[template(path = "console/admin/sessions.html")]
struct SessionsPage {
    lang: Language,
    frame: Frame,
    user: String,
    token: String,
    shows_all: bool,
    rows: Vec<Row>,
    pager: Pager,
}

pub async fn list(admin: Admin) -> Answer {
    let (app, lang, slice) = (&admin.app, admin.lang, Slice::of(&admin.query));
    let [user, token] = ["user", "token"].map(|name| admin.query.text(name).to_owned());
    let shows_all = admin.query.text("state") == "all";
    let token_id = (!token.is_empty()).then(|| token.parse().unwrap_or_default());
    let filter = session::Filter { user_id: whom(app, &user).await?, token_id, active_only: !shows_all };
    let since = app.reported_since(Utc::now());
    let (found, total) = session::list(&app.db, &filter, since, slice.limit, slice.offset).await?;
    let state = (if shows_all { "all" } else { "" }).to_owned();
    let filters = vec![("user", user.clone()), ("token", token.clone()), ("state", state)];
    let page = SessionsPage {
        lang,
        frame: admin.frame(NavItem::Sessions),
        user,
        token,
        shows_all,
        pager: Pager { lang, path: PATH, filters, slice, shown: found.len() as u64, total },
        rows: rows(&app.db, lang, found).await?,
    };
    response::page(&page)
}

pub async fn ask_cut(admin: Admin) -> Answer {
    let (app, lang) = (&admin.app, admin.lang);
    let found = session::find_counted(&app.db, admin.id()?, app.reported_since(Utc::now())).await?;
    let found = rows(&app.db, lang, found.into_iter().collect()).await?;
    let session = found.into_iter().next().ok_or(PageError::NotFound)?;
    let owner = session.owner.map(|owner| format!("{}, {}", owner.username, owner.email)).unwrap_or_default();
    let happens = lang.say(
        "Everything that this device has open on the token is cut at once, and another device can take the token. The token itself goes on; revoke it or disable the account to keep the device out.",
        "Всё, что открыто на этом устройстве по токену, сразу прервётся, и токен сможет занять другое устройство. Сам токен продолжит действовать; чтобы закрыть доступ, отзовите его или отключите учётную запись.",
    );
    let page = Confirm {
        lang,
        frame: admin.frame(NavItem::Sessions),
        title: lang.say("Cut this session?", "Прервать сеанс?").to_owned(),
        facts: vec![
            (lang.say("User", "Пользователь"), owner),
            (lang.say("Device", "Устройство"), format!("\u{2026}{}", session.device)),
            (lang.say("Address", "Адрес"), session.address),
            (lang.say("Browser", "Браузер"), session.agent),
            (lang.say("Open connections", "Соединений"), session.connections.to_string()),
        ],
        happens: vec![happens.to_owned()],
        action: format!("{PATH}/{}/cut", session.id),
        hidden: Vec::new(),
        asks_password_of: None,
        button: lang.say("Cut", "Прервать"),
        is_dangerous: true,
        back: PATH.to_owned(),
        errors: FieldErrors::default(),
    };
    page.answer()
}

pub async fn cut(admin: Admin) -> Answer {
    let (App { db, publisher, .. }, id) = (&*admin.app, admin.id()?);
    let ended = sessions::end(db, &admin.session, id).await?;
    let (token_id, delivery) = publish::deliver(db, publisher, ended).await;
    tracing::info!(by = %admin.session.user.id, session_id = %id, %token_id, "a session was ended");
    let told = done("cut", "cut-pending", delivery);
    response::see_other(&address(PATH, [("done", told)]))
}
