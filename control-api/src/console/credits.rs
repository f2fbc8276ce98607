//! Credits: the balance, topping up, and every line of the ledger, to read and to keep.

use askama::Template;
use poem::http::StatusCode;
use rust_decimal::Decimal;
use serde_json::json;
use shared::web::language::Language;

use super::{
    account::own_path,
    components::{Pager, Slice, Time},
    csv::Csv,
    form::FieldErrors,
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer, PageError},
    text,
    tokens::once_key,
};
use crate::{
    app::App,
    db::{payment, transaction},
    domain::{self, idempotency::Idempotent, ledger, payments},
    input::{TopUp, znc},
};

/// The most lines of a file, so that one download bounds what it costs.
const FILE_LINES: u64 = 100_000;
const FILE_PAGE: u64 = 1_000;
/// As long as the API takes one, and payment providers.
const RETURN_URL_BYTES: usize = 2_000;
/// What a top-up begins with, if nothing says how much is missing.
const USUAL: Decimal = Decimal::ONE_HUNDRED;

/// A line of the ledger.
struct Line {
    at: Time,
    kind: &'static str,
    description: String,
    amount: String,
    is_income: bool,
    balance_after: String,
}

#[derive(Template)]
#[template(path = "console/credits.html")]
struct CreditsPage {
    lang: Language,
    frame: Frame,
    balance: String,
    /// What roubles a credit costs, where payments are taken.
    rate: Option<String>,
    amount: String,
    next: String,
    key: String,
    errors: FieldErrors,
    kinds: Vec<(&'static str, &'static str)>,
    kind: String,
    lines: Vec<Line>,
    pager: Pager,
    file: String,
}

pub async fn show(member: Member) -> Answer {
    let amount = member.query.text("amount");
    let amount = if amount.is_empty() { znc(USUAL) } else { amount.to_owned() };
    let next = member.query.text("next").to_owned();
    response::page(&page(&member, amount, &next, FieldErrors::default()).await?)
}

async fn page(member: &Member, amount: String, next: &str, errors: FieldErrors) -> Result<CreditsPage, PageError> {
    let (app, lang) = (&member.app, member.lang);
    let kind = chosen(member);
    let slice = Slice::of(&member.query);
    let user_id = member.session.user.id;
    let kind_name = kind.map(|kind| kind.as_str());
    let (lines, total) = transaction::list(&app.db, user_id, kind_name, slice.limit, slice.offset).await?;
    Ok(CreditsPage {
        lang,
        frame: member.frame(NavItem::Credits),
        balance: text::money(lang, member.session.user.currency_balance),
        rate: app.payments.as_ref().map(|payments| znc(payments.rub_per_znc)),
        amount,
        next: if next.is_empty() { String::new() } else { own_path(next).to_owned() },
        key: uuid::Uuid::new_v4().to_string(),
        errors,
        kinds: ledger::Kind::ALL.map(|kind| (kind.as_str(), text::transaction(lang, kind.as_str()))).into(),
        kind: kind_name.unwrap_or_default().to_owned(),
        pager: Pager {
            lang,
            path: "/console/credits",
            filters: vec![("type", kind_name.unwrap_or_default().to_owned())],
            slice,
            shown: lines.len() as u64,
            total,
        },
        lines: lines.into_iter().map(|line| listed(lang, line)).collect(),
        file: format!("/console/credits/transactions.csv?type={}", kind_name.unwrap_or_default()),
    })
}

/// Which lines are asked for; all, if none are named.
fn chosen(member: &Member) -> Option<ledger::Kind> {
    ledger::Kind::ALL.into_iter().find(|kind| kind.as_str() == member.query.text("type"))
}

fn listed(lang: Language, line: transaction::Model) -> Line {
    Line {
        at: Time(line.created_at),
        kind: text::transaction(lang, &line.kind),
        description: text::description(lang, &line),
        amount: text::money(lang, line.amount),
        is_income: line.amount > Decimal::ZERO,
        balance_after: text::money(lang, line.balance_after),
    }
}

/// The whole ledger of a person, as a file.
pub async fn file(member: Member) -> Answer {
    let kind = chosen(&member).map(ledger::Kind::as_str);
    let mut csv = Csv::new(&["time", "type", "description", "amount_znc", "balance_after_znc", "payment_id", "id"]);
    let mut offset = 0;
    while offset < FILE_LINES {
        let user_id = member.session.user.id;
        let (lines, _) = transaction::list(&member.app.db, user_id, kind, FILE_PAGE, offset).await?;
        let is_last = (lines.len() as u64) < FILE_PAGE;
        for line in lines {
            let payment = line.payment_id.map(|id| id.to_string()).unwrap_or_default();
            let at = Time(line.created_at).machine();
            let (amount, after) = (line.amount.round_dp(2).to_string(), line.balance_after.round_dp(2).to_string());
            csv.line([at, line.kind, line.description, amount, after, payment, line.id.to_string()]);
        }
        if is_last {
            break;
        }
        offset += FILE_PAGE;
    }
    response::download("transactions.csv", "text/csv; charset=utf-8", csv.into_text())
}

/// Leads on to where a payment is made. A form may lead nowhere but here and to the edge, so that a
/// page leads on.
#[derive(Template)]
#[template(path = "console/to_payment.html")]
struct ToPaymentPage {
    lang: Language,
    frame: Frame,
    url: String,
    amount: String,
    roubles: String,
}

pub async fn top_up(member: Member) -> Answer {
    let (lang, form, mut errors) = (member.lang, &member.form, FieldErrors::default());
    let Some(TopUp(amount)) = form.read_amount("amount", lang, &mut errors) else {
        let page = page(&member, form.text("amount").to_owned(), form.text("next"), errors).await?;
        return Ok(response::page_of(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    let App { db, payments, sealer, config, .. } = &*member.app;
    let payments = payments.as_ref().ok_or(domain::Error::PaymentsNotConfigured)?;
    let key = once_key(&member)?;
    let return_url = return_url(&config.control_origin, key, form.text("next"));
    let request = json!({ "amount_znc": amount.normalize(), "return_url": return_url });
    let once = Idempotent { sealer, endpoint: "currency/purchase", key, request };
    match payments::start(db, payments, &member.session, amount, &return_url, Some(&once)).await {
        Ok(started) => response::page(&ToPaymentPage {
            lang,
            frame: member.frame(NavItem::Credits),
            url: started.url,
            amount: text::money(lang, started.amount_znc),
            roubles: znc(started.amount_rub),
        }),
        Err(error @ domain::Error::AmountTooSmall) => {
            errors.add("amount", text::refusal(lang, &error));
            let page = page(&member, form.text("amount").to_owned(), form.text("next"), errors).await?;
            Ok(response::page_of(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where who has paid comes back to: the form's own key tells which payment it was. What is too
/// long to be led back to is left out.
fn return_url(origin: &str, key: &str, next: &str) -> String {
    let returned = format!("{origin}/console/credits/returned?order={key}");
    let next: String = url::form_urlencoded::byte_serialize(own_path(next).as_bytes()).collect();
    let whole = format!("{returned}&next={next}");
    if whole.len() > RETURN_URL_BYTES { returned } else { whole }
}

/// What came of a payment, for who returns from it.
#[derive(Template)]
#[template(path = "console/returned.html")]
struct ReturnedPage {
    lang: Language,
    frame: Frame,
    status: String,
    amount: String,
    balance: String,
    next: String,
}

pub async fn returned(member: Member) -> Answer {
    let (lang, user) = (member.lang, &member.session.user);
    let order = member.query.text("order").parse().map_err(|_| PageError::NotFound)?;
    let found = payment::find_of_order(&member.app.db, user.id, order).await?;
    let payment = found.ok_or(PageError::NotFound)?;
    let next = member.query.text("next");
    response::page(&ReturnedPage {
        lang,
        frame: member.frame(NavItem::Credits),
        status: payment.status,
        amount: text::money(lang, payment.amount_znc),
        balance: text::money(lang, user.currency_balance),
        next: if next.is_empty() { "/console/credits".to_owned() } else { own_path(next).to_owned() },
    })
}
