//! Crediting and debiting an account by an amount, for a reason. What it comes to is shown first,
//! and then the password is asked for; what moves the balance meanwhile is not overwritten.

use askama::Template;
use rust_decimal::Decimal;
use serde_json::json;
use shared::web::language::Language;
use uuid::Uuid;

use super::{
    common::{is_confirmed, user_of_path},
    user::page_of,
};
use crate::{
    app::App,
    console::{
        components::Confirm,
        form::{FieldErrors, Fields},
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer},
        text as words,
    },
    db::user,
    domain::{self, administration, idempotency::Idempotent},
    input::{Fault, Reason, Znc, znc},
};

/// Names the form among the calls that may be repeated.
const ENDPOINT: &str = "console/admin/balance";

#[derive(Template)]
#[template(path = "console/admin/balance.html")]
struct BalancePage {
    lang: Language,
    frame: Frame,
    id: Uuid,
    username: String,
    email: String,
    balance: String,
    is_debit: bool,
    amount: String,
    reason: String,
    errors: FieldErrors,
}

/// What a form asks for.
struct Movement {
    is_debit: bool,
    /// Up or down.
    change: Decimal,
    reason: String,
}

impl Movement {
    fn read(fields: &Fields, lang: Language, errors: &mut FieldErrors) -> Option<Self> {
        let amount = fields.read_amount::<Znc>("amount", lang, errors);
        if amount.as_ref().is_some_and(|amount| amount.0.is_zero()) {
            errors.add("amount", words::fault(lang, Fault::NotPositive));
        }
        let reason = fields.read::<Reason>("reason", lang, errors);
        if reason.as_ref().is_some_and(|reason| reason.0.is_empty()) {
            errors.add(
                "reason",
                lang.say("Say why; the user sees it too.", "Укажите причину; её увидит и пользователь."),
            );
        }
        let (amount, reason) = (amount?.0, reason?.0);
        let is_debit = fields.text("direction") == "debit";
        let change = if is_debit { -amount } else { amount };
        errors.is_empty().then_some(Self { is_debit, change, reason })
    }
}

fn form(admin: &Admin, user: &user::Model, fields: &Fields, errors: FieldErrors) -> Answer {
    let page = BalancePage {
        lang: admin.lang,
        frame: admin.frame(NavItem::Users),
        id: user.id,
        username: user.username.clone(),
        email: user.email.clone(),
        balance: words::money(admin.lang, user.currency_balance),
        is_debit: fields.text("direction") == "debit",
        amount: fields.text("amount").to_owned(),
        reason: fields.text("reason").to_owned(),
        errors,
    };
    if page.errors.is_empty() { response::page(&page) } else { response::refused(&page) }
}

pub async fn ask(admin: Admin) -> Answer {
    let user = user_of_path(&admin).await?;
    form(&admin, &user, &admin.query, FieldErrors::default())
}

/// The fault of a debit that the balance does not hold.
fn too_low(lang: Language, available: Decimal) -> String {
    let available = words::money(lang, available);
    match lang {
        Language::English => format!("The balance is only {available}."),
        Language::Russian => format!("На балансе только {available}."),
    }
}

pub async fn confirm(admin: Admin) -> Answer {
    let (mut errors, user) = (FieldErrors::default(), user_of_path(&admin).await?);
    let Some(movement) = Movement::read(&admin.query, admin.lang, &mut errors) else {
        return form(&admin, &user, &admin.query, errors);
    };
    if user.currency_balance + movement.change < Decimal::ZERO {
        errors.add("amount", too_low(admin.lang, user.currency_balance));
        return form(&admin, &user, &admin.query, errors);
    }
    confirm_page(&admin, &user, &movement, &Uuid::new_v4().to_string(), errors).answer()
}

fn confirm_page(admin: &Admin, user: &user::Model, movement: &Movement, key: &str, errors: FieldErrors) -> Confirm {
    let (lang, Movement { is_debit, change, reason }) = (admin.lang, movement);
    let (before, after) = (user.currency_balance, user.currency_balance + change);
    let (direction, amount) = (if *is_debit { "debit" } else { "credit" }, znc(change.abs()));
    let title = match is_debit {
        true => lang.say("Debit this account?", "Списать с баланса?"),
        false => lang.say("Credit this account?", "Пополнить баланс?"),
    };
    let happens = lang.say(
        "The balance moves by this amount, whatever else moves it meanwhile. The user sees it in their history with the reason.",
        "Баланс изменится на эту сумму, что бы ни происходило с ним тем временем. Пользователь увидит запись с причиной в своей истории.",
    );
    let back = [("direction", direction), ("amount", amount.as_str()), ("reason", reason.as_str())];
    let path = format!("/console/admin/users/{}/balance", user.id);
    Confirm {
        lang,
        frame: admin.frame(NavItem::Users),
        title: title.to_owned(),
        facts: vec![
            (lang.say("User", "Пользователь"), user.username.clone()),
            (lang.say("E-mail", "Почта"), user.email.clone()),
            (lang.say("Amount", "Сумма"), super::text::signed(lang, *change)),
            (
                lang.say("Balance", "Баланс"),
                format!("{} \u{2192} {}", words::money(lang, before), words::money(lang, after)),
            ),
            (lang.say("Reason", "Причина"), reason.clone()),
        ],
        happens: vec![happens.to_owned()],
        hidden: [back.as_slice(), &[("key", key)]]
            .concat()
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect(),
        asks_password_of: Some(admin.session.user.email.clone()),
        button: match is_debit {
            true => lang.say("Debit", "Списать"),
            false => lang.say("Credit", "Пополнить"),
        },
        is_dangerous: *is_debit,
        back: crate::console::url::address(&path, back),
        action: path,
        errors,
    }
}

pub async fn change(admin: Admin) -> Answer {
    let (mut errors, user) = (FieldErrors::default(), user_of_path(&admin).await?);
    let Some(movement) = Movement::read(&admin.form, admin.lang, &mut errors) else {
        return form(&admin, &user, &admin.form, errors);
    };
    // By it the same form, sent twice, moves the balance once.
    let key = admin.form.text("key");
    let key: Uuid = key.parse().unwrap_or_else(|_| Uuid::new_v4());
    let key = key.to_string();
    if !is_confirmed(&admin, &mut errors).await? {
        return confirm_page(&admin, &user, &movement, &key, errors).answer();
    }
    let App { db, sealer, .. } = &*admin.app;
    let Movement { is_debit, change, reason } = &movement;
    let request = json!({ "change": change.normalize(), "reason": reason });
    let once = Idempotent { sealer, endpoint: ENDPOINT, key: &key, request };
    match administration::move_balance(db, &admin.session, user.id, *change, reason, &once).await {
        Ok(_) => {
            tracing::info!(by = %admin.session.user.id, user_id = %user.id, "a balance was changed");
            response::see_other(&page_of(&user, if *is_debit { "debited" } else { "credited" }))
        }
        Err(domain::Error::InsufficientBalance { available, .. }) => {
            errors.add("amount", too_low(admin.lang, available));
            form(&admin, &user, &admin.form, errors)
        }
        Err(error @ domain::Error::BalanceTooLarge) => {
            errors.add("amount", words::refusal(admin.lang, &error));
            form(&admin, &user, &admin.form, errors)
        }
        Err(error) => Err(error.into()),
    }
}
