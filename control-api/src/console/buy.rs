//! Buying access: choosing hours or a bundle, seeing what it costs, and getting the tokens' texts,
//! once.

use askama::Template;
use rust_decimal::Decimal;
use serde_json::json;
use shared::{
    token::{scope::Scope, state::DURATIONS_HOURS},
    web::language::Language,
};
use uuid::Uuid;

use super::{
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer, PageError},
    text,
    tokens::{self, once_key},
    url::address,
};
use crate::{
    app::App,
    domain::{self, bundles, idempotency::Idempotent, tokens::purchase},
    http::error::ApiError,
    input::znc,
    publish,
};

/// The most characters of a path in Zenzefi that a person is led back to.
const PATH_CHARS: usize = 2_048;

/// One way to buy: a number of hours, at a price.
struct Choice {
    hours: u32,
    name: String,
    price: String,
    is_first: bool,
}

struct ScopeChoice {
    value: &'static str,
    name: &'static str,
    hint: &'static str,
    is_first: bool,
}

/// A bundle as it is offered.
struct Offer {
    id: Uuid,
    name: String,
    description: String,
    holds: String,
    scope: &'static str,
    price: String,
    before: Option<String>,
    per_token: String,
}

#[derive(Template)]
#[template(path = "console/buy.html")]
struct BuyPage {
    lang: Language,
    frame: Frame,
    choices: Vec<Choice>,
    scopes: Vec<ScopeChoice>,
    offers: Vec<Offer>,
    to: String,
}

/// The path in Zenzefi to go on to after a purchase.
fn destination(text: &str) -> String {
    let is_path = text.starts_with('/') && text.chars().count() <= PATH_CHARS;
    if is_path { text.to_owned() } else { "/".to_owned() }
}

pub async fn show(member: Member) -> Answer {
    let (app, lang) = (&member.app, member.lang);
    let wanted = member.query.number("hours").unwrap_or(24);
    let choices = DURATIONS_HOURS.into_iter().filter_map(|hours| {
        let price = text::money(lang, app.prices.of(hours.into())?);
        Some(Choice { hours, name: name_of(lang, hours), price, is_first: u64::from(hours) == wanted })
    });
    let offers = bundles::list(&app.db, &app.prices, true).await?;
    response::page(&BuyPage {
        lang,
        frame: member.frame(NavItem::Buy),
        choices: choices.collect(),
        scopes: scopes(lang),
        offers: offers.into_iter().map(|offer| offered(lang, offer)).collect(),
        to: destination(member.query.text("to")),
    })
}

/// Hours as people speak of them.
fn name_of(lang: Language, hours: u32) -> String {
    match hours {
        168 => lang.say("7 days", "7 дней").to_owned(),
        720 => lang.say("30 days", "30 дней").to_owned(),
        hours => lang.hours(hours.into()),
    }
}

fn scopes(lang: Language) -> Vec<ScopeChoice> {
    let choice = |scope: Scope| ScopeChoice {
        value: scope.as_str(),
        name: match scope {
            Scope::Full => lang.say("Everything", "Всё"),
            Scope::CertificatesOnly => lang.say("Certificates only", "Только сертификаты"),
        },
        hint: match scope {
            Scope::Full => lang.say("all of Zenzefi", "весь Zenzefi"),
            Scope::CertificatesOnly => {
                lang.say("same price, for who should see no more", "та же цена, если больше видеть не нужно")
            }
        },
        is_first: scope == Scope::Full,
    };
    [Scope::Full, Scope::CertificatesOnly].map(choice).into()
}

fn offered(lang: Language, offer: bundles::Offer) -> Offer {
    let bundles::Offer { bundle, price } = offer;
    let hours = u32::try_from(bundle.duration_hours).unwrap_or_default();
    let count = u64::try_from(bundle.token_count).unwrap_or_default();
    let tokens = lang.plural(count, ["token", "tokens"], ["токен", "токена", "токенов"]);
    Offer {
        id: bundle.id,
        name: bundle.name,
        description: bundle.description.unwrap_or_default(),
        holds: format!("{count} {tokens} × {}", name_of(lang, hours)),
        scope: text::scope(lang, &bundle.scope),
        price: text::money(lang, price.total),
        before: (price.savings > Decimal::ZERO).then(|| text::money(lang, price.base)),
        per_token: text::money(lang, price.per_token),
    }
}

#[derive(Template)]
#[template(path = "console/purchase.html")]
struct PurchasePage {
    lang: Language,
    frame: Frame,
    what: String,
    scope: &'static str,
    price: String,
    balance: String,
    after: String,
    /// What is missing, if the balance is too low, and where to get it.
    missing: Option<(String, String)>,
    /// Whether it was sent before, and nobody could say what came of it.
    is_in_doubt: bool,
    fields: Vec<(&'static str, String)>,
    back: String,
}

/// What is to be bought.
enum Item {
    Token { hours: i64, scope: Scope },
    Bundle(Box<bundles::Offer>),
}

impl Item {
    async fn read(app: &App, fields: &super::form::Fields) -> Result<(Self, Decimal), PageError> {
        if fields.has("bundle") {
            let id = fields.text("bundle").parse().map_err(|_| domain::Error::BundleNotFound)?;
            let offer = bundles::get(&app.db, &app.prices, id).await?;
            let price = offer.price.total;
            return Ok((Self::Bundle(Box::new(offer)), price));
        }
        let hours = fields.number("hours").and_then(|hours| i64::try_from(hours).ok());
        let hours = hours.ok_or(domain::Error::InvalidDuration)?;
        let price = app.prices.of(hours).ok_or(domain::Error::InvalidDuration)?;
        let scope = match fields.text("scope") {
            "" => Scope::Full,
            scope => scope.parse().map_err(|_| PageError::Malformed)?,
        };
        Ok((Self::Token { hours, scope }, price))
    }
}

/// Says what a purchase costs before it is made. The form names the purchase, so that it is made
/// once however often it is sent.
pub async fn confirm(member: Member) -> Answer {
    let (item, price) = Item::read(&member.app, &member.query).await?;
    let key = Uuid::new_v4().to_string();
    let to = destination(member.query.text("to"));
    response::page(&purchase_page(&member, item, price, key, to, false))
}

fn purchase_page(
    member: &Member,
    item: Item,
    price: Decimal,
    key: String,
    to: String,
    is_in_doubt: bool,
) -> PurchasePage {
    let lang = member.lang;
    let back = address("/console/buy", [("to", to.as_str())]);
    let mut fields = vec![("key", key), ("to", to), ("price", znc(price))];
    let (what, scope) = match item {
        Item::Token { hours, scope } => {
            fields.extend([("hours", hours.to_string()), ("scope", scope.as_str().to_owned())]);
            (name_of(lang, u32::try_from(hours).unwrap_or_default()), text::scope(lang, scope.as_str()))
        }
        Item::Bundle(offer) => {
            fields.push(("bundle", offer.bundle.id.to_string()));
            let offer = offered(lang, *offer);
            (format!("{}: {}", offer.name, offer.holds), offer.scope)
        }
    };
    let balance = member.session.user.currency_balance;
    let missing = (balance < price && !is_in_doubt).then(|| {
        let missing = price - balance;
        let top_up = address("/console/credits", [("amount", znc(missing).as_str()), ("next", &member.address)]);
        (text::money(lang, missing), top_up)
    });
    PurchasePage {
        lang,
        frame: member.frame(NavItem::Buy),
        what,
        scope,
        price: text::money(lang, price),
        balance: text::money(lang, balance),
        after: text::money(lang, balance - price),
        is_in_doubt,
        missing,
        fields,
        back,
    }
}

/// Buys, and shows the texts: the only time, but for the same form sent again within a day.
pub async fn buy(member: Member) -> Answer {
    let App { db, prices, publisher, sealer, .. } = &*member.app;
    let (item, price) = Item::read(&member.app, &member.form).await?;
    if member.form.text("price") != znc(price) {
        // It was another when the person said yes.
        let mut again = member.form.clone();
        again.remove("key");
        again.set("done", "price-changed");
        return response::see_other(&format!("/console/buy/confirm?{}", again.encoded()));
    }
    let key = once_key(&member)?.to_owned();
    let to = destination(member.form.text("to"));
    let bought = match &item {
        Item::Token { hours, scope } => {
            let request = json!({ "duration_hours": hours, "scope": scope.as_str() });
            let once = Idempotent { sealer, endpoint: "tokens/purchase", key: &key, request };
            let issued = purchase(db, prices, &member.session, *hours, *scope, Some(&once)).await;
            issued.map(|issued| issued.map(|issued| (vec![issued], price)))
        }
        Item::Bundle(offer) => {
            let id = offer.bundle.id;
            let once = Idempotent { sealer, endpoint: "bundles/purchase", key: &key, request: json!({ "id": id }) };
            let bought = bundles::purchase(db, prices, &member.session, id, Some(&once)).await;
            bought.map(|bought| bought.map(|bought| (bought.tokens, bought.receipt.cost)))
        }
    };
    let bought = match bought {
        Ok(bought) => bought,
        // Postgres may have gone with its yes on the way: the same form finds out, and buys only if
        // nothing was bought.
        Err(error @ domain::Error::Database(_)) => {
            let page = purchase_page(&member, item, price, key, to, true);
            return Ok(response::page_of(ApiError::status_of(error), &page));
        }
        Err(error) => return Err(error.into()),
    };
    let ((issued, spent), _) = publish::deliver(db, publisher, bought).await;
    let lang = member.lang;
    let title = lang.say("Your access", "Ваш доступ").to_owned();
    let spent = text::money(lang, spent);
    let sentence = match lang {
        Language::English => format!("Bought for {spent}. The time starts with the first use."),
        Language::Russian => format!("Куплено за {spent}. Время пойдёт с первого использования."),
    };
    // What is left is less now than when the login was looked at.
    let member = member.refreshed().await;
    Ok(tokens::show_texts(&member, title, Some(sentence), &issued, &to))
}
