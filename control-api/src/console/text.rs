//! What the console says in words, in both languages: refusals of the domain, faults of a field,
//! states, amounts.

use rust_decimal::Decimal;
use shared::{
    token::state::{DURATIONS_HOURS, State},
    web::language::Language,
};

use crate::{
    db::transaction,
    domain::{self, ledger::Details},
    input::{Fault, znc},
};

/// Why the domain did not do what was asked, and what to do about it.
pub fn refusal(lang: Language, error: &domain::Error) -> String {
    use domain::Error;
    let (english, russian) = match error {
        Error::EmailTaken => {
            ("This e-mail is already registered. Log in instead.", "Эта почта уже зарегистрирована. Войдите.")
        }
        Error::UsernameTaken => ("This name is taken. Choose another.", "Это имя занято. Выберите другое."),
        Error::UnknownReferralCode => ("No such referral code.", "Такого кода приглашения нет."),
        Error::WrongCredentials => ("The e-mail or the password is wrong.", "Неверная почта или пароль."),
        Error::TooManyFailures { wait } => return wait_after_failures(lang, wait.as_secs() + 1),
        Error::InvalidJwt => ("Your login has ended. Log in again.", "Сеанс входа завершён. Войдите снова."),
        Error::InactiveUser => ("This account is disabled.", "Учётная запись отключена."),
        Error::WrongPassword => ("The password is wrong.", "Неверный пароль."),
        Error::UnknownPasswordLink => (
            "This link was used or has expired. Ask for a new one.",
            "Ссылка использована или устарела. Попросите новую.",
        ),
        Error::InvalidDuration => {
            let list = DURATIONS_HOURS.map(|hours| hours.to_string()).join(", ");
            return format!("{} {list}.", lang.say("Choose how many hours:", "Выберите число часов:"));
        }
        Error::InsufficientBalance { required, available } => {
            let (required, available) = (money(lang, *required), money(lang, *available));
            return match lang {
                Language::English => {
                    format!("Your balance is too low: this costs {required}, you have {available}. Top up first.")
                }
                Language::Russian => {
                    format!("Недостаточно средств: нужно {required}, у вас {available}. Сначала пополните баланс.")
                }
            };
        }
        Error::BalanceTooLarge => ("The balance would become too large.", "Баланс стал бы слишком большим."),
        Error::KeyReused => (
            "This form was already used for another purchase. Open the page anew.",
            "Эта форма уже использована для другой покупки. Откройте страницу заново.",
        ),
        Error::TextGone => (
            "This purchase is done, but its text can no longer be shown. Give the token a new text on its page.",
            "Покупка состоялась, но показать текст токена уже нельзя. Замените текст на странице токена.",
        ),
        Error::TokenNotFound | Error::TokenNotFoundOrRevoked => {
            ("There is no such token, or it was revoked.", "Такого токена нет, или он отозван.")
        }
        Error::TokenActivated => (
            "This token was used, so it cannot be refunded.",
            "Токен уже использовался, вернуть за него средства нельзя.",
        ),
        Error::TokenInUse => ("This token is being used right now.", "Токеном сейчас пользуются."),
        Error::SessionNotFound => ("There is no such session.", "Такого сеанса нет."),
        Error::TokenExpired => ("This token's time is over.", "Время этого токена вышло."),
        Error::TokenTooLong => ("This token cannot be extended any further.", "Этот токен больше нельзя продлить."),
        Error::BundleNotFound => ("This bundle is not on offer.", "Этот пакет не продаётся."),
        Error::BundleNameTaken => ("There is a bundle of this name already.", "Пакет с таким названием уже есть."),
        Error::UserNotFound => ("There is no such user.", "Такого пользователя нет."),
        Error::LastSuperuser => (
            "This is the last active administrator, who cannot be disabled or demoted.",
            "Это последний действующий администратор: отключить или понизить его нельзя.",
        ),
        Error::AmountTooSmall => {
            ("This is less than the smallest amount that can be paid.", "Это меньше наименьшей суммы платежа.")
        }
        Error::PaymentsNotConfigured => (
            "Payments are not set up here. Ask the administrator to credit your account.",
            "Приём платежей здесь не настроен. Попросите администратора пополнить счёт.",
        ),
        Error::NoticeUnverified => ("The payment could not be verified.", "Платёж не удалось проверить."),
        Error::ProviderUnavailable => (
            "The payment service does not answer. Nothing was charged; try again in a moment.",
            "Платёжный сервис не отвечает. Ничего не списано; повторите немного позже.",
        ),
        Error::Busy | Error::RedisUnavailable | Error::Database(_) => (
            "This does not work just now, and nothing was changed. Try again in a moment.",
            "Сейчас это не работает, ничего не изменено. Повторите немного позже.",
        ),
    };
    lang.say(english, russian).to_owned()
}

/// What is wrong with a field.
pub fn fault(lang: Language, fault: Fault) -> &'static str {
    let (english, russian) = match fault {
        Fault::Required => ("This is required.", "Это обязательное поле."),
        Fault::TooShort => ("This is too short.", "Слишком коротко."),
        Fault::TooLong => ("This is too long.", "Слишком длинно."),
        Fault::ControlCharacters | Fault::Nul => {
            ("It holds a character that is not allowed.", "Есть недопустимый символ.")
        }
        Fault::Email => ("This is not an e-mail address.", "Это не адрес почты."),
        Fault::Url => ("This is not an http:// or https:// address.", "Это не адрес вида http:// или https://."),
        Fault::PasswordTooShort => ("At least 8 characters.", "Не меньше 8 символов."),
        Fault::PasswordTooLong => ("At most 72 bytes.", "Не больше 72 байт."),
        Fault::TooManyDecimals => ("At most two decimals.", "Не больше двух знаков после запятой."),
        Fault::NotPositive => ("More than 0.", "Больше 0."),
        Fault::TooLarge => ("This is too large.", "Слишком много."),
        Fault::AboveTopUpMax => ("At most 1000000.00.", "Не больше 1000000,00."),
        Fault::NotAmount | Fault::NegativeAmount => ("An amount such as 482.00.", "Сумма, например 482.00."),
        Fault::Limit | Fault::TokenCount => ("A number from 1 to 100.", "Число от 1 до 100."),
        Fault::Percent => ("A percentage from 0 to 100.", "Процент от 0 до 100."),
        Fault::Days => ("A number of days from 1 to 366.", "Число дней от 1 до 366."),
        Fault::NotInteger => ("A whole number.", "Целое число."),
        Fault::BelowOne => ("At least 1.", "Не меньше 1."),
        Fault::Offset => ("A number from 0 to 1000000000.", "Число от 0 до 1000000000."),
        Fault::Duration => ("One of 1, 12, 24, 168, 720 hours.", "Одно из значений: 1, 12, 24, 168, 720 часов."),
        Fault::Networks => (
            "At most 64 addresses or networks, such as 10.0.0.0/8.",
            "Не больше 64 адресов или сетей, например 10.0.0.0/8.",
        ),
        Fault::Address => ("This is not an IPv4 or IPv6 address.", "Это не адрес IPv4 или IPv6."),
        Fault::Scope => ("Choose what the token opens.", "Выберите, что открывает токен."),
        Fault::Timestamp => ("This is not a date and time.", "Это не дата и время."),
        Fault::NotText
        | Fault::IdempotencyKey
        | Fault::Method
        | Fault::Flag
        | Fault::Id
        | Fault::TransactionType
        | Fault::ReadOnly => ("This is not valid.", "Недопустимое значение."),
    };
    lang.say(english, russian)
}

/// When to try again.
pub fn wait(lang: Language, seconds: u64) -> String {
    let lasting = lang.lasting(seconds);
    match lang {
        Language::English => format!("That was too often. Try again in {lasting}."),
        Language::Russian => format!("Слишком часто. Повторите через {lasting}."),
    }
}

fn wait_after_failures(lang: Language, seconds: u64) -> String {
    let lasting = lang.lasting(seconds);
    match lang {
        Language::English => format!("Too many failed logins. Try again in {lasting}."),
        Language::Russian => format!("Слишком много неудачных попыток входа. Повторите через {lasting}."),
    }
}

/// An amount in credits: `1,234.00 ZNC`, `1 234,00 ZNC`.
pub fn money(lang: Language, amount: Decimal) -> String {
    let text = znc(amount.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push_str(lang.say(",", "\u{a0}"));
        }
        grouped.push(digit);
    }
    let sign = if amount.is_sign_negative() && !amount.is_zero() { "\u{2212}" } else { "" };
    format!("{sign}{grouped}{}{cents}\u{a0}ZNC", lang.say(".", ","))
}

/// A token's state.
pub fn state(lang: Language, state: State) -> &'static str {
    match state {
        State::Ready => lang.say("ready", "не начат"),
        State::Active => lang.say("active", "действует"),
        State::Expired => lang.say("expired", "истёк"),
        State::Revoked => lang.say("revoked", "отозван"),
        State::Suspended => lang.say("suspended", "приостановлен"),
    }
}

/// The class of a badge for a token's state.
pub fn state_class(state: State) -> &'static str {
    match state {
        State::Ready => "accent",
        State::Active => "good",
        State::Expired | State::Suspended => "warn",
        State::Revoked => "bad",
    }
}

/// What a scope opens.
pub fn scope(lang: Language, scope: &str) -> &'static str {
    match scope {
        "full" => lang.say("everything", "всё"),
        "certificates_only" => lang.say("certificates only", "только сертификаты"),
        _ => lang.say("nothing", "ничего"),
    }
}

/// What program an agent names, in short: `Chrome, Windows`; its beginning where it is none that
/// people know.
pub fn agent(text: &str) -> String {
    // Each later one also names those before it.
    let programs = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("YaBrowser/", "Яндекс.Браузер"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ];
    let find =
        |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| text.contains(mark)).map(|(_, name)| *name);
    match (find(&programs), find(&systems)) {
        (Some(program), Some(system)) => format!("{program}, {system}"),
        _ => text.chars().take(60).collect(),
    }
}

/// What a line of the ledger is.
pub fn transaction(lang: Language, kind: &str) -> &'static str {
    match kind {
        "deposit" => lang.say("Top-up", "Пополнение"),
        "purchase" => lang.say("Purchase", "Покупка"),
        "refund" => lang.say("Refund", "Возврат"),
        "referral_bonus" => lang.say("Referral bonus", "Бонус за приглашение"),
        _ => lang.say("Adjustment", "Корректировка"),
    }
}

/// What a line of the ledger says. Names and reasons that people wrote stay as they are, and so do
/// the English words of a line that was written before lines had details.
pub fn description(lang: Language, line: &transaction::Model) -> String {
    let details = Details::of(line).filter(|_| lang == Language::Russian);
    match details {
        None => line.description.clone(),
        Some(Details::TopUp) => "Пополнение".to_owned(),
        Some(Details::TokenPurchase { duration_hours, scope: name }) => {
            format!("Покупка токена: {duration_hours} ч ({})", scope(lang, &name))
        }
        Some(Details::TokenExtension { duration_hours }) => format!("Продление токена: {duration_hours} ч"),
        Some(Details::TokenRefund { duration_hours }) => format!("Возврат токена: {duration_hours} ч (не начат)"),
        Some(Details::BundlePurchase { name, token_count }) => format!("Покупка пакета: {name} ({token_count} шт.)"),
        Some(Details::ReferralBonus { username }) => format!("Бонус за приглашение: {username}"),
        Some(Details::Adjustment { reason: Some(reason) }) => reason,
        Some(Details::Adjustment { reason: None }) => "Баланс установлен администратором".to_owned(),
    }
}

/// A number of bytes, by its largest unit: `1.5 MiB`.
pub fn bytes(lang: Language, bytes: u64) -> String {
    let units = [("B", "Б"), ("KiB", "КиБ"), ("MiB", "МиБ"), ("GiB", "ГиБ"), ("TiB", "ТиБ")];
    let mut unit = 0;
    let mut scaled = u128::from(bytes) * 10;
    while scaled >= 10_240 && unit + 1 < units.len() {
        scaled /= 1_024;
        unit += 1;
    }
    let (english, russian) = units[unit];
    let number =
        if unit == 0 { format!("{bytes}") } else { format!("{}{}{}", scaled / 10, lang.say(".", ","), scaled % 10) };
    format!("{number}\u{a0}{}", lang.say(english, russian))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_its_language_has_it() {
        let amount = Decimal::new(-123_456_789, 2);
        assert_eq!(money(Language::English, amount), "\u{2212}1,234,567.89\u{a0}ZNC");
        assert_eq!(money(Language::Russian, amount), "\u{2212}1\u{a0}234\u{a0}567,89\u{a0}ZNC");
        assert_eq!(money(Language::English, Decimal::ZERO), "0.00\u{a0}ZNC");
        assert_eq!(money(Language::English, Decimal::from(482)), "482.00\u{a0}ZNC");
    }

    #[test]
    fn bytes_have_their_largest_unit() {
        let english =
            [0, 1_023, 1_024, 1_536, 5 * 1_024 * 1_024, u64::MAX].map(|count| bytes(Language::English, count));
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "16777216.0 TiB"]
            .map(|text| text.replace(' ', "\u{a0}"));
        assert_eq!(english[..5], expected[..5]);
    }
}
