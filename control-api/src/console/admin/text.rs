//! What the console says to administrators in words: actions of the audit log, what changed, how a
//! payment stands.

use rust_decimal::Decimal;
use serde_json::Value;
use shared::web::language::Language;

use crate::{console::components::Badge, db::user, domain::audit::Action};

/// What an action of the audit log is called.
pub fn action(lang: Language, action: Action) -> &'static str {
    let (english, russian) = match action {
        Action::Register => ("registered", "регистрация"),
        Action::Login => ("logged in", "вход"),
        Action::LoginFailed => ("login failed", "неудачный вход"),
        Action::LoginLocked => ("login locked", "вход заблокирован"),
        Action::ClearLoginFailures => ("failed logins cleared", "сброс неудачных входов"),
        Action::Logout => ("logged out", "выход"),
        Action::ChangeProfile => ("profile changed", "изменение профиля"),
        Action::ChangePassword => ("password changed", "смена пароля"),
        Action::DrawPasswordLink => ("password link drawn", "выдача ссылки для пароля"),
        Action::Purchase => ("bought", "покупка"),
        Action::Extend => ("extended", "продление"),
        Action::StartPayment => ("payment started", "начало платежа"),
        Action::SettlePayment => ("payment settled", "завершение платежа"),
        Action::Refund => ("refunded", "возврат"),
        Action::Revoke => ("token revoked", "отзыв токена"),
        Action::Rotate => ("token rotated", "замена текста токена"),
        Action::Open => ("Zenzefi opened", "открытие Zenzefi"),
        Action::ReleaseDevice => ("device released", "освобождение устройства"),
        Action::Restrict => ("token restricted", "ограничение токена"),
        Action::ChangeUser => ("user changed", "изменение пользователя"),
        Action::EndSession => ("session ended", "завершение сеанса"),
        Action::BumpEpoch => ("restored from a backup", "восстановление из копии"),
        Action::CreateBundle => ("bundle created", "создание пакета"),
        Action::ChangeBundle => ("bundle changed", "изменение пакета"),
        Action::DeleteBundle => ("bundle withdrawn", "снятие пакета с продажи"),
        Action::ReferralBonus => ("referral bonus", "бонус за приглашение"),
    };
    lang.say(english, russian)
}

/// The same of a line, which may be of another version of this program.
pub fn action_named(lang: Language, name: &str) -> String {
    let known = Action::ALL.into_iter().find(|action| action.as_str() == name);
    known.map_or_else(|| name.to_owned(), |known| action(lang, known).to_owned())
}

/// What a kind of thing is called.
pub fn resource(lang: Language, kind: &str) -> &str {
    match kind {
        "user" => lang.say("user", "пользователь"),
        "token" => lang.say("token", "токен"),
        "payment" => lang.say("payment", "платёж"),
        "session" => lang.say("session", "сеанс"),
        "bundle" => lang.say("bundle", "пакет"),
        "settings" => lang.say("settings", "настройки"),
        other => other,
    }
}

/// Something that a line of the audit log tells: what it was, if it was another, and what it is.
pub struct Detail {
    pub name: String,
    pub old: Option<String>,
    pub new: String,
}

/// What a line of the audit log tells, one by one.
pub fn details(lang: Language, details: &Value) -> Vec<Detail> {
    let Value::Object(fields) = details else { return Vec::new() };
    let told = fields.iter().filter(|(_, value)| !value.is_null());
    told.map(|(name, value)| {
        let change = value.as_object().and_then(|change| change.get("old").zip(change.get("new")));
        let (old, new) = change.map_or((None, value), |(old, new)| (Some(plain(lang, old)), new));
        Detail { name: field(lang, name).to_owned(), old, new: plain(lang, new) }
    })
    .collect()
}

/// A value without the marks of JSON.
fn plain(lang: Language, value: &Value) -> String {
    match value {
        Value::Null => "\u{2013}".to_owned(),
        Value::Bool(yes) => (if *yes { lang.say("yes", "да") } else { lang.say("no", "нет") }).to_owned(),
        Value::String(text) if text.is_empty() => "\u{2013}".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "\u{2013}".to_owned(),
        Value::Array(items) => items.iter().map(|item| plain(lang, item)).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What a field of an account, a token or a bundle is called; others are called as they are.
fn field(lang: Language, name: &str) -> &str {
    match name {
        "is_active" => lang.say("active", "действует"),
        "is_superuser" => lang.say("administrator", "администратор"),
        "currency_balance" | "new_balance" => lang.say("balance", "баланс"),
        "allowed_networks" => lang.say("allowed networks", "разрешённые сети"),
        "denied_networks" => lang.say("denied networks", "запрещённые сети"),
        "reason" => lang.say("reason", "причина"),
        "full_name" => lang.say("full name", "полное имя"),
        "username" => lang.say("user name", "имя пользователя"),
        "duration_hours" => lang.say("hours", "часы"),
        "scope" => lang.say("scope", "область"),
        "name" | "bundle_name" => lang.say("name", "название"),
        "description" => lang.say("description", "описание"),
        "token_count" => lang.say("tokens", "токенов"),
        "discount_percent" => lang.say("discount, %", "скидка, %"),
        "cost_znc" => lang.say("price", "цена"),
        "refund_amount" => lang.say("refund", "возврат"),
        "token_id" => lang.say("token", "токен"),
        "token_ids" => lang.say("tokens", "токены"),
        "user_id" => lang.say("user", "пользователь"),
        "device_id" => lang.say("device", "устройство"),
        "expires_at" => lang.say("ends", "действует до"),
        "failures" => lang.say("failures", "неудач"),
        "seconds" => lang.say("seconds", "секунд"),
        "all" => lang.say("everywhere", "везде"),
        other => other,
    }
}

/// How a payment stands.
pub fn payment(lang: Language, status: &str) -> Badge {
    let (class, word) = match status {
        "pending" => ("accent", lang.say("pending", "ожидает")),
        "succeeded" => ("good", lang.say("succeeded", "оплачен")),
        "canceled" => ("", lang.say("canceled", "отменён")),
        "expired" => ("warn", lang.say("expired", "истёк")),
        _ => ("", lang.say("other", "другое")),
    };
    Badge { class, word }
}

/// How an account stands: whether it may be used, and whether it administers.
pub fn account(lang: Language, user: &user::Model) -> Vec<Badge> {
    let standing = match user.is_active {
        true => Badge { class: "good", word: lang.say("active", "действует") },
        false => Badge { class: "bad", word: lang.say("disabled", "отключена") },
    };
    let role = Badge { class: "accent", word: lang.say("administrator", "администратор") };
    [standing].into_iter().chain(user.is_superuser.then_some(role)).collect()
}

/// A movement with its sign.
pub fn signed(lang: Language, amount: Decimal) -> String {
    let shown = crate::console::text::money(lang, amount);
    if amount > Decimal::ZERO { format!("+{shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::audit::Resource;

    #[test]
    fn what_changed_is_told_as_it_was_and_as_it_is() {
        let line = json!({
            "currency_balance": { "old": "10.00", "new": "15.00" },
            "allowed_networks": { "old": [], "new": ["10.0.0.0/8", "192.0.2.1"] },
            "is_active": { "old": true, "new": false },
            "reason": null,
            "odd": { "deep": 1 },
        });
        let told = details(Language::English, &line);
        let told: Vec<_> =
            told.iter().map(|told| (told.name.as_str(), told.old.as_deref(), told.new.as_str())).collect();
        for expected in [
            ("balance", Some("10.00"), "15.00"),
            ("allowed networks", Some("\u{2013}"), "10.0.0.0/8, 192.0.2.1"),
            ("active", Some("yes"), "no"),
            ("odd", None, r#"{"deep":1}"#),
        ] {
            assert!(told.contains(&expected), "{expected:?} in {told:?}");
        }
        assert_eq!(told.len(), 4);
        assert!(details(Language::Russian, &json!([])).is_empty());
    }

    #[test]
    fn every_action_has_a_name_of_its_own_in_both_languages() {
        for lang in [Language::English, Language::Russian] {
            let mut names: Vec<_> = Action::ALL.into_iter().map(|each| action(lang, each)).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), Action::ALL.len());
        }
        assert_eq!(action_named(Language::English, "of tomorrow"), "of tomorrow");
        assert!(Resource::KINDS.into_iter().all(|kind| resource(Language::Russian, kind) != kind));
    }
}
