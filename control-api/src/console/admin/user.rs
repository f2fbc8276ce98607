//! One user: who they are, what they have, and what they did last.

use askama::Template;
use chrono::Utc;
use shared::web::language::Language;
use uuid::Uuid;

use super::{
    audit::{self, Entry},
    common::user_of_path,
    sessions::{self, Row as SessionRow},
    text,
    tokens::{self, Row as TokenRow},
};
use crate::{
    console::{
        components::{Badge, Time},
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer},
        text as words,
        url::address,
    },
    db::{audit_log, session, token_list, transaction, user},
    domain::audit::Action,
};

/// How many of each are shown.
const TOKENS: u64 = 5;
const SESSIONS: u64 = 5;
const LEDGER_LINES: u64 = 10;
const AUDIT_LINES: u64 = 10;
/// What administrators do to an account; of its own doings the user is named in the line.
const ADMINISTRATION: [Action; 3] = [Action::ChangeUser, Action::DrawPasswordLink, Action::ClearLoginFailures];

struct LedgerLine {
    at: Time,
    kind: &'static str,
    description: String,
    amount: String,
    balance: String,
}

#[derive(Template)]
#[template(path = "console/admin/user.html")]
struct UserPage {
    lang: Language,
    frame: Frame,
    id: Uuid,
    username: String,
    full_name: Option<String>,
    email: String,
    badges: Vec<Badge>,
    is_active: bool,
    is_superuser: bool,
    is_oneself: bool,
    balance: String,
    created_at: Time,
    referred_by: Option<Uuid>,
    allowed: Vec<String>,
    denied: Vec<String>,
    tokens: Vec<TokenRow>,
    tokens_total: u64,
    sessions: Vec<SessionRow>,
    sessions_total: u64,
    ledger: Vec<LedgerLine>,
    ledger_total: u64,
    audit: Vec<Entry>,
}

impl UserPage {
    /// The address of a list of what is this user's.
    fn all(&self, list: &str) -> String {
        address(&format!("/console/admin/{list}"), [("user", self.email.as_str())])
    }
}

pub async fn show(admin: Admin) -> Answer {
    let (app, lang, now) = (&admin.app, admin.lang, Utc::now());
    let (db, hour) = (&app.db, app.config.hour);
    let user = user_of_path(&admin).await?;
    let user_id = Some(user.id);
    let filter = token_list::Filter { user_id, ..Default::default() };
    let (tokens, tokens_total) = token_list::list(db, hour, &filter, now, TOKENS, 0).await?;
    let filter = session::Filter { user_id, active_only: true, ..Default::default() };
    let (sessions, sessions_total) = session::list(db, &filter, app.reported_since(now), SESSIONS, 0).await?;
    let (lines, ledger_total) = transaction::list(db, user.id, None, LEDGER_LINES, 0).await?;
    let about = ADMINISTRATION.map(Action::as_str);
    let entries = audit_log::list_about_user(db, user.id, &about, AUDIT_LINES).await?;
    let ledger = lines.into_iter().map(|line| LedgerLine {
        at: Time(line.created_at),
        kind: words::transaction(lang, &line.kind),
        description: words::description(lang, &line),
        amount: text::signed(lang, line.amount),
        balance: words::money(lang, line.balance_after),
    });
    let page = UserPage {
        lang,
        frame: admin.frame(NavItem::Users),
        id: user.id,
        badges: text::account(lang, &user),
        is_active: user.is_active,
        is_superuser: user.is_superuser,
        is_oneself: user.id == admin.session.user.id,
        balance: words::money(lang, user.currency_balance),
        created_at: Time(user.created_at),
        referred_by: user.referred_by,
        tokens: tokens.iter().map(|owned| tokens::row(lang, hour, owned, now)).collect(),
        tokens_total,
        sessions: sessions::rows(db, lang, sessions).await?,
        sessions_total,
        ledger: ledger.collect(),
        ledger_total,
        audit: entries.into_iter().map(|line| audit::entry(lang, line)).collect(),
        username: user.username,
        full_name: user.full_name.filter(|name| !name.is_empty()),
        email: user.email,
        allowed: user.allowed_networks,
        denied: user.denied_networks,
    };
    response::page(&page)
}

/// The page of a user, which says what was done.
pub fn page_of(user: &user::Model, done: &str) -> String {
    address(&format!("/console/admin/users/{}", user.id), [("done", done)])
}
