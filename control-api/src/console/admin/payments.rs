//! What users pay for credits.

use askama::Template;
use shared::web::language::Language;
use uuid::Uuid;

use super::{common::whom, text};
use crate::{
    console::{
        components::{Badge, Pager, Person, Slice, Time},
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
    },
    db::{payment, user},
    input::znc,
};

const PATH: &str = "/console/admin/payments";
const STATUSES: [&str; 4] = ["pending", "succeeded", "canceled", "expired"];

struct Row {
    id: Uuid,
    owner: Option<Person>,
    badge: Badge,
    credits: String,
    roubles: String,
    provider: String,
    created_at: Time,
    settled_at: Option<Time>,
}

fn row(lang: Language, payment: &payment::Model, owner: Option<&user::Named>) -> Row {
    Row {
        id: payment.id,
        owner: owner.map(Person::from),
        badge: text::payment(lang, &payment.status),
        credits: words::money(lang, payment.amount_znc),
        roubles: format!("{}\u{a0}₽", znc(payment.amount_rub).replace('.', lang.say(".", ","))),
        provider: payment.provider.clone(),
        created_at: Time(payment.created_at),
        settled_at: payment.settled_at.map(Time),
    }
}

/// A status to choose.
struct Choice {
    name: &'static str,
    word: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "console/admin/payments.html")]
struct PaymentsPage {
    lang: Language,
    frame: Frame,
    user: String,
    statuses: Vec<Choice>,
    rows: Vec<Row>,
    pager: Pager,
}

pub async fn list(admin: Admin) -> Answer {
    let (app, lang, slice) = (&admin.app, admin.lang, Slice::of(&admin.query));
    let user = admin.query.text("user").to_owned();
    let status = STATUSES.into_iter().find(|status| *status == admin.query.text("status"));
    let filter = payment::Filter { user_id: whom(app, &user).await?, status: status.map(str::to_owned) };
    let (found, total) = payment::list(&app.db, &filter, slice.limit, slice.offset).await?;
    let names = user::names(&app.db, found.iter().map(|payment| payment.user_id).collect()).await?;
    let filters = vec![("user", user.clone()), ("status", status.unwrap_or_default().to_owned())];
    let choice =
        |name: &'static str| Choice { name, word: text::payment(lang, name).word, is_chosen: status == Some(name) };
    let page = PaymentsPage {
        lang,
        frame: admin.frame(NavItem::Payments),
        user,
        statuses: STATUSES.map(choice).into(),
        pager: Pager { lang, path: PATH, filters, slice, shown: found.len() as u64, total },
        rows: found.iter().map(|payment| row(lang, payment, names.get(&payment.user_id))).collect(),
    };
    response::page(&page)
}

#[derive(Template)]
#[template(path = "console/admin/payment.html")]
struct PaymentPage {
    lang: Language,
    frame: Frame,
    payment: Row,
    /// What the provider calls it.
    named: Option<String>,
    expires_at: Time,
    updated_at: Time,
    /// When the provider is asked about it next.
    check_after: Option<Time>,
    checks: i32,
}

pub async fn show(admin: Admin) -> Answer {
    let (db, lang) = (&admin.app.db, admin.lang);
    let payment = payment::find(db, admin.id()?).await?.ok_or(PageError::NotFound)?;
    let names = user::names(db, vec![payment.user_id]).await?;
    let page = PaymentPage {
        lang,
        frame: admin.frame(NavItem::Payments),
        payment: row(lang, &payment, names.get(&payment.user_id)),
        expires_at: Time(payment.expires_at),
        updated_at: Time(payment.updated_at),
        check_after: payment.is_pending().then_some(Time(payment.check_after)),
        checks: payment.checks,
        named: payment.provider_payment_id,
    };
    response::page(&page)
}
