//! What is sold in bundles: on offer or withdrawn, made and changed.

use askama::Template;
use rust_decimal::Decimal;
use serde_json::Value;
use shared::{token::state::DURATIONS_HOURS, web::language::Language};
use uuid::Uuid;

use super::common::{is_confirmed, read};
use crate::{
    console::{
        components::{Badge, Confirm},
        form::{FieldErrors, Fields},
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
        url::address,
    },
    db::bundle::{self, Change, NewBundle},
    domain::{self, bundles},
    input::{BundleName, Description, Percent, Scalar, Scope, SoldHours, TokenCount},
};

const PATH: &str = "/console/admin/bundles";

struct Row {
    id: Uuid,
    name: String,
    badge: Badge,
    is_active: bool,
    count: i32,
    hours: String,
    scope: &'static str,
    discount: Decimal,
    price: String,
}

#[derive(Template)]
#[template(path = "console/admin/bundles.html")]
struct BundlesPage {
    lang: Language,
    frame: Frame,
    rows: Vec<Row>,
}

pub async fn list(admin: Admin) -> Answer {
    let lang = admin.lang;
    let offers = bundles::list(&admin.app.db, &admin.app.prices, false).await?;
    let rows = offers.into_iter().map(|offer| Row {
        id: offer.bundle.id,
        name: offer.bundle.name,
        badge: match offer.bundle.is_active {
            true => Badge { class: "good", word: lang.say("on offer", "в продаже") },
            false => Badge { class: "", word: lang.say("withdrawn", "снят") },
        },
        is_active: offer.bundle.is_active,
        count: offer.bundle.token_count,
        hours: lang.hours(u64::try_from(offer.bundle.duration_hours).unwrap_or_default()),
        scope: words::scope(lang, &offer.bundle.scope),
        discount: offer.bundle.discount_percent.normalize(),
        price: words::money(lang, offer.price.total),
    });
    response::page(&BundlesPage { lang, frame: admin.frame(NavItem::Bundles), rows: rows.collect() })
}

/// Something to choose.
struct Choice {
    value: String,
    word: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "console/admin/bundle.html")]
struct BundlePage {
    lang: Language,
    frame: Frame,
    /// `None` for one that is being made.
    id: Option<Uuid>,
    action: String,
    form: Fields,
    hours: Vec<Choice>,
    scopes: Vec<Choice>,
    /// The e-mail of the administrator who is asked for the password: a price is money.
    email: String,
    errors: FieldErrors,
}

fn form(admin: &Admin, id: Option<Uuid>, form: Fields, errors: FieldErrors) -> Answer {
    let lang = admin.lang;
    let hours = DURATIONS_HOURS.into_iter().map(|hours| {
        let value = hours.to_string();
        Choice { word: lang.hours(hours.into()), is_chosen: form.text("duration_hours") == value, value }
    });
    let scopes = shared::token::scope::Scope::ALL.into_iter().map(|scope| {
        let name = scope.as_str();
        let word = words::scope(lang, name).to_owned();
        Choice { value: name.to_owned(), word, is_chosen: form.text("scope") == name }
    });
    let page = BundlePage {
        lang,
        frame: admin.frame(NavItem::Bundles),
        id,
        action: id.map_or_else(|| format!("{PATH}/new"), |id| format!("{PATH}/{id}")),
        hours: hours.collect(),
        scopes: scopes.collect(),
        email: admin.session.user.email.clone(),
        form,
        errors,
    };
    if page.errors.is_empty() { response::page(&page) } else { response::refused(&page) }
}

pub async fn show_new(admin: Admin) -> Answer {
    let mut fields = Fields::default();
    for (name, value) in [("token_count", "5"), ("duration_hours", "24"), ("scope", "full"), ("discount_percent", "10")]
    {
        fields.set(name, value);
    }
    form(&admin, None, fields, FieldErrors::default())
}

async fn bundle_of_path(admin: &Admin) -> Result<bundle::Model, PageError> {
    bundle::find(&admin.app.db, admin.id()?).await?.ok_or(PageError::NotFound)
}

pub async fn show(admin: Admin) -> Answer {
    let bundle = bundle_of_path(&admin).await?;
    let mut fields = Fields::default();
    fields.set("name", &bundle.name);
    fields.set("description", bundle.description.as_deref().unwrap_or_default());
    fields.set("token_count", &bundle.token_count.to_string());
    fields.set("duration_hours", &bundle.duration_hours.to_string());
    fields.set("scope", &bundle.scope);
    fields.set("discount_percent", &bundle.discount_percent.normalize().to_string());
    if bundle.is_active {
        fields.set("is_active", "yes");
    }
    form(&admin, Some(bundle.id), fields, FieldErrors::default())
}

/// What a form says of a bundle; `None` with the faults noted.
fn read_form(fields: &Fields, lang: Language, errors: &mut FieldErrors) -> Option<NewBundle> {
    fn number<S: Scalar>(fields: &Fields, name: &'static str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
        read(fields.number(name).map_or(Value::Null, Value::from), name, lang, errors)
    }
    let name = fields.read::<BundleName>("name", lang, errors);
    let description = fields.read::<Description>("description", lang, errors);
    let count = number::<TokenCount>(fields, "token_count", lang, errors);
    let hours = number::<SoldHours>(fields, "duration_hours", lang, errors);
    let scope = fields.read::<Scope>("scope", lang, errors);
    let percent = fields.read_amount::<Percent>("discount_percent", lang, errors);
    Some(NewBundle {
        name: name?.0,
        description: Some(description?.0).filter(|description| !description.is_empty()),
        token_count: count?.0,
        duration_hours: hours?.0,
        scope: scope?.0.as_str().to_owned(),
        discount_percent: percent?.0,
    })
}

/// The same, if the administrator typed their own password too: what is sold, and for how much,
/// is money.
async fn confirmed_form(admin: &Admin, errors: &mut FieldErrors) -> Result<Option<NewBundle>, PageError> {
    match read_form(&admin.form, admin.lang, errors) {
        Some(bundle) if is_confirmed(admin, errors).await? => Ok(Some(bundle)),
        _ => Ok(None),
    }
}

/// The form once more, if the name is taken; else trouble.
fn refuse(admin: &Admin, id: Option<Uuid>, error: domain::Error, mut errors: FieldErrors) -> Answer {
    if !matches!(error, domain::Error::BundleNameTaken) {
        return Err(error.into());
    }
    errors.add("name", words::refusal(admin.lang, &error));
    form(admin, id, admin.form.clone(), errors)
}

pub async fn create(admin: Admin) -> Answer {
    let mut errors = FieldErrors::default();
    let Some(new) = confirmed_form(&admin, &mut errors).await? else {
        return form(&admin, None, admin.form.clone(), errors);
    };
    match bundles::create(&admin.app.db, &admin.app.prices, &admin.session, new).await {
        Ok(_) => response::see_other(&address(PATH, [("done", "bundle-created")])),
        Err(error) => refuse(&admin, None, error, errors),
    }
}

pub async fn change(admin: Admin) -> Answer {
    let (id, mut errors) = (admin.id()?, FieldErrors::default());
    let Some(to) = confirmed_form(&admin, &mut errors).await? else {
        return form(&admin, Some(id), admin.form.clone(), errors);
    };
    let change = Change {
        name: Some(to.name),
        description: Some(to.description),
        token_count: Some(to.token_count),
        duration_hours: Some(to.duration_hours),
        scope: Some(to.scope),
        discount_percent: Some(to.discount_percent),
        is_active: Some(admin.form.has("is_active")),
    };
    match bundles::change(&admin.app.db, &admin.app.prices, &admin.session, id, change).await {
        Ok(_) => response::see_other(&address(PATH, [("done", "bundle-changed")])),
        Err(error) => refuse(&admin, Some(id), error, errors),
    }
}

pub async fn ask_withdraw(admin: Admin) -> Answer {
    let (lang, bundle) = (admin.lang, bundle_of_path(&admin).await?);
    let happens = lang.say(
        "Nobody can buy it any more. What was bought stays as it is, and the bundle can be put on offer again.",
        "Купить его больше нельзя будет. Купленное останется как есть, а пакет можно будет снова выставить на продажу.",
    );
    let page = Confirm {
        lang,
        frame: admin.frame(NavItem::Bundles),
        title: lang.say("Withdraw this bundle?", "Снять пакет с продажи?").to_owned(),
        facts: vec![(lang.say("Bundle", "Пакет"), bundle.name)],
        happens: vec![happens.to_owned()],
        action: format!("{PATH}/{}/withdraw", bundle.id),
        hidden: Vec::new(),
        asks_password_of: None,
        button: lang.say("Withdraw", "Снять с продажи"),
        is_dangerous: true,
        back: PATH.to_owned(),
        errors: FieldErrors::default(),
    };
    page.answer()
}

pub async fn withdraw(admin: Admin) -> Answer {
    bundles::delete(&admin.app.db, &admin.session, admin.id()?).await?;
    response::see_other(&address(PATH, [("done", "bundle-withdrawn")]))
}
