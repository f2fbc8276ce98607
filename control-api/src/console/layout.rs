//! What every page of the console has around its own: whose it is, where it stands, what was just
//! done.

use std::sync::Arc;

use rust_decimal::Decimal;
use shared::web::language::Language;

use super::{text, url::address};
use crate::{assets::Assets, domain::accounts::Session};

/// Where a page belongs in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NavItem {
    /// Nowhere: before a login, or an error.
    Outside,
    Home,
    Buy,
    Tokens,
    Credits,
    Usage,
    Referrals,
    Profile,
    Overview,
    Users,
    AllTokens,
    Sessions,
    Bundles,
    Payments,
    Audit,
    Ledger,
    Health,
}

impl NavItem {
    /// Whether it is of those who administer.
    pub fn is_admin(self) -> bool {
        use NavItem::{AllTokens, Audit, Bundles, Health, Ledger, Overview, Payments, Sessions, Users};
        matches!(self, Overview | Users | AllTokens | Sessions | Bundles | Payments | Audit | Ledger | Health)
    }
}

/// A line of the navigation.
pub struct Link {
    pub here: NavItem,
    pub path: &'static str,
    pub name: &'static str,
}

/// The user who is logged in, as every page shows them.
#[derive(Clone)]
pub struct Account {
    pub username: String,
    pub balance: Decimal,
    pub is_superuser: bool,
}

impl From<&Session> for Account {
    fn from(session: &Session) -> Self {
        let user = &session.user;
        Self { username: user.username.clone(), balance: user.currency_balance, is_superuser: user.is_superuser }
    }
}

/// What a page has around its own.
#[derive(Clone)]
pub struct Frame {
    pub lang: Language,
    pub account: Option<Account>,
    pub here: NavItem,
    /// The path and query of the page, for coming back to it in another language.
    pub address: String,
    /// Whether the page is there again at its address: what answers a form is not, and may show
    /// what is shown once.
    pub stays: bool,
    /// What was just done, in a sentence.
    pub done: Option<&'static str>,
    pub assets: Arc<Assets>,
}

impl Frame {
    /// The links of the navigation: of the portal, or of those who administer.
    pub fn links(&self) -> Vec<Link> {
        let portal = [
            (NavItem::Home, "/console", "Overview", "Обзор"),
            (NavItem::Buy, "/console/buy", "Buy", "Купить"),
            (NavItem::Tokens, "/console/tokens", "Tokens", "Токены"),
            (NavItem::Credits, "/console/credits", "Credits", "Кредиты"),
            (NavItem::Usage, "/console/usage", "Usage", "Использование"),
            (NavItem::Referrals, "/console/referrals", "Referrals", "Приглашения"),
            (NavItem::Profile, "/console/profile", "Profile", "Профиль"),
        ];
        let admin = [
            (NavItem::Overview, "/console/admin", "Overview", "Обзор"),
            (NavItem::Users, "/console/admin/users", "Users", "Пользователи"),
            (NavItem::AllTokens, "/console/admin/tokens", "Tokens", "Токены"),
            (NavItem::Sessions, "/console/admin/sessions", "Sessions", "Сеансы"),
            (NavItem::Bundles, "/console/admin/bundles", "Bundles", "Пакеты"),
            (NavItem::Payments, "/console/admin/payments", "Payments", "Платежи"),
            (NavItem::Audit, "/console/admin/audit", "Audit log", "Журнал"),
            (NavItem::Ledger, "/console/admin/ledger", "Ledger", "Сверка"),
            (NavItem::Health, "/console/admin/health", "Health", "Состояние"),
        ];
        let links: &[_] = if self.here.is_admin() { &admin } else { &portal };
        let link = |(here, path, english, russian): &(NavItem, &'static str, &'static str, &'static str)| Link {
            here: *here,
            path,
            name: self.lang.say(english, russian),
        };
        links.iter().map(link).collect()
    }

    /// The balance of the user who is logged in.
    pub fn balance(&self) -> String {
        self.account.as_ref().map(|account| text::money(self.lang, account.balance)).unwrap_or_default()
    }

    /// Where the page is shown in the other language.
    pub fn in_other_language(&self) -> String {
        address("/console/language", [("to", self.lang.other().tag()), ("next", &self.address)])
    }

    /// The address of an asset, which names what is in it.
    pub fn asset(&self, name: &str) -> String {
        self.assets.address(name)
    }
}
