//! What each page says, in both languages: what happened as its title, then what that means and
//! what to do.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use shared::web::language::Language;

use super::context::{PageContext, SignInReason};
use crate::rejection::{InvalidCredential, Rejection};

/// A title, and what is said below it, one paragraph each.
#[derive(Debug)]
pub struct PageText {
    pub title: String,
    pub says: Vec<String>,
}

impl PageText {
    fn new(title: &str, says: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { title: title.to_owned(), says: says.into_iter().map(Into::into).collect() }
    }
}

/// Above the form that takes a token.
pub fn why(why: Option<SignInReason>, language: Language) -> PageText {
    let (title, says) = match why {
        None => (
            language.say("Sign in to Zenzefi", "Вход в Zenzefi"),
            language.say("Paste your access token to continue.", "Чтобы продолжить, вставьте токен доступа."),
        ),
        Some(SignInReason::InvalidCredential(InvalidCredential::Expired)) => (
            language.say("Your time is over", "Время доступа закончилось"),
            language.say(
                "All the time of this access token has been used. Buy more, and you come back to the page where you were.",
                "Всё время этого токена доступа израсходовано. Купите ещё, и вы вернётесь на ту же страницу.",
            ),
        ),
        Some(SignInReason::InvalidCredential(InvalidCredential::Revoked)) => (
            language.say("This token no longer works", "Этот токен больше не действует"),
            language.say(
                "It was revoked, or replaced by a new one. Your tokens are in the portal, where you can open Zenzefi again.",
                "Он отозван или заменён новым. Ваши токены — на портале, там же можно снова открыть Zenzefi.",
            ),
        ),
        Some(SignInReason::InvalidCredential(InvalidCredential::Suspended)) => (
            language.say("This account is suspended", "Учётная запись приостановлена"),
            language.say(
                "Its tokens do not work until an administrator enables it again. Please ask them about it.",
                "Её токены не работают, пока администратор не включит её снова. Обратитесь, пожалуйста, к нему.",
            ),
        ),
        Some(SignInReason::InvalidCredential(InvalidCredential::Unknown)) => (
            language.say("There is no such token", "Такого токена нет"),
            language.say(
                "Please check that all of it was copied, and nothing else. A token that ended some days ago is not known any more either.",
                "Проверьте, что он скопирован целиком и без лишнего. Токен, который закончился несколько дней назад, тоже уже не известен.",
            ),
        ),
        Some(SignInReason::HandoverGone) => (
            language.say("This link does not work any more", "Эта ссылка больше не действует"),
            language.say(
                "It works once, and for half a minute. Please go back to the portal and open Zenzefi again.",
                "Она действует один раз и полминуты. Вернитесь, пожалуйста, на портал и откройте Zenzefi снова.",
            ),
        ),
    };
    PageText::new(title, [says])
}

/// Of a refusal.
#[expect(clippy::too_many_lines, reason = "a table of texts")]
pub fn of(rejection: &Rejection, reader: &PageContext) -> PageText {
    let language = reader.language;
    let one = |title: [&str; 2], says: [&str; 2]| {
        PageText::new(language.say(title[0], title[1]), [language.say(says[0], says[1])])
    };
    match rejection {
        Rejection::NoCredential => why(None, language),
        Rejection::BadCredential(bad) => why(Some(SignInReason::InvalidCredential(*bad)), language),
        Rejection::HandoverGone => why(Some(SignInReason::HandoverGone), language),
        Rejection::InUse { device, since, lease } => in_use(reader, device, *since, lease.as_secs()),
        Rejection::NetworkNotAllowed => kept_out(reader),
        Rejection::ClientBlocked => one(
            ["Access from here is not allowed", "Отсюда доступ закрыт"],
            [
                "This gateway may not be used from your address. Please ask its administrator.",
                "С вашего адреса этим шлюзом пользоваться нельзя. Обратитесь, пожалуйста, к его администратору.",
            ],
        ),
        Rejection::OutsideScope { path, .. } => PageText::new(
            language.say("Your token does not open this", "Ваш токен этого не открывает"),
            [match language {
                Language::English => format!("It is for work with certificates only, and {path} is something else."),
                Language::Russian => format!("Он только для работы с сертификатами, а {path} к ним не относится."),
            }],
        ),
        Rejection::CrossSite => one(
            ["This came from another site", "Запрос пришёл с другого сайта"],
            [
                "To protect you it was not carried out. If it is what you want, please do it from the pages of Zenzefi itself.",
                "Чтобы защитить вас, он не выполнен. Если вы этого и хотели, сделайте это, пожалуйста, на страницах самого Zenzefi.",
            ],
        ),
        Rejection::DeviceRequired => one(
            ["This browser is not known yet", "Этот браузер ещё не известен"],
            [
                "A token works on one device at a time, and this gateway wants to know which one it is. Please sign in once more.",
                "Токен работает только на одном устройстве, и шлюзу нужно знать, на каком. Войдите, пожалуйста, ещё раз.",
            ],
        ),
        Rejection::TooManyRequests(_) => too_many(
            language,
            [
                "This access token makes more requests than it may.",
                "С этим токеном приходит больше запросов, чем разрешено.",
            ],
        ),
        Rejection::TooManyUnknown { .. } => too_many(
            language,
            [
                "Too many unknown tokens were tried from your address.",
                "С вашего адреса пробовали слишком много неизвестных токенов.",
            ],
        ),
        Rejection::Throttled { .. } => too_many(
            language,
            [
                "Zenzefi has failed to respond several times, so requests are paused for a moment. Your token's time has not started.",
                "Zenzefi слишком часто не мог ответить, поэтому запросы к нему ненадолго приостановлены. Время вашего токена ещё не пошло.",
            ],
        ),
        Rejection::TooManyOpen => too_many(
            language,
            [
                "Too much is open at once with this access token. Please close what you do not need.",
                "С этим токеном одновременно открыто слишком много. Закройте, пожалуйста, лишнее.",
            ],
        ),
        Rejection::Full => one(
            ["Many people are here right now", "Сейчас здесь очень много людей"],
            ["The gateway serves as many as it can.", "Шлюз обслуживает столько, сколько может."],
        ),
        Rejection::Unavailable => one(
            ["One moment, please", "Одну минуту, пожалуйста"],
            [
                "The gateway cannot check access tokens right now. Nothing is wrong with yours.",
                "Сейчас шлюз не может проверить токены доступа. С вашим токеном всё в порядке.",
            ],
        ),
        Rejection::UpstreamUnreachable => one(
            ["Zenzefi cannot be reached", "Zenzefi сейчас недоступен"],
            [
                "The gateway works, but the server behind it does not answer. It may be starting again.",
                "Шлюз работает, но сервер за ним не отвечает. Возможно, он перезапускается.",
            ],
        ),
        Rejection::UpstreamSilent => one(
            ["Zenzefi does not answer", "Zenzefi не отвечает"],
            [
                "The server took the request, but did not answer in time.",
                "Сервер принял запрос, но вовремя на него не ответил.",
            ],
        ),
        Rejection::ControlUnreachable | Rejection::ControlSilent => one(
            ["The portal cannot be reached", "Портал сейчас недоступен"],
            [
                "Zenzefi itself works on without it for everybody who has a token.",
                "Сам Zenzefi без него работает для всех, у кого есть токен.",
            ],
        ),
        Rejection::WrongHost => one(
            ["This address is not served here", "Этот адрес здесь не обслуживается"],
            ["Please check what stands in the address bar.", "Проверьте, пожалуйста, что стоит в адресной строке."],
        ),
        Rejection::NotFound => one(
            ["There is nothing here", "Здесь ничего нет"],
            ["The gateway has no page at this address.", "У шлюза нет страницы с таким адресом."],
        ),
        Rejection::MethodNotAllowed { .. } => one(
            ["This cannot be done here", "Здесь так сделать нельзя"],
            ["The address is right, but not for what was asked of it.", "Адрес верный, но не для такого запроса."],
        ),
        Rejection::Fault => one(
            ["Something went wrong", "Что-то пошло не так"],
            [
                "The gateway failed to handle this request. If it happens again, please tell its administrator the number below.",
                "Шлюз не смог обработать этот запрос. Если это повторится, сообщите, пожалуйста, администратору номер запроса ниже.",
            ],
        ),
        Rejection::PlainHttp
        | Rejection::MalformedDevice
        | Rejection::Path(_)
        | Rejection::MisspelledPath
        | Rejection::TokenMissing
        | Rejection::MalformedBody(_)
        | Rejection::NotJson
        | Rejection::BodyTooLarge
        | Rejection::BodyTimeout
        | Rejection::BrokenBody
        | Rejection::MalformedHead(_)
        | Rejection::RequestLineTooLong
        | Rejection::HeadersTooLarge
        | Rejection::HeadTimeout
        | Rejection::VersionNotSupported
        | Rejection::MethodNotImplemented
        | Rejection::CodingNotImplemented => one(
            ["This request cannot be handled", "Такой запрос выполнить нельзя"],
            [
                "The gateway does not pass it on, and nothing was done.",
                "Шлюз не передаёт его дальше, и ничего не сделано.",
            ],
        ),
    }
}

/// What a page says of the very reason, to whom that means something: where its own words are
/// general.
pub fn detail(rejection: &Rejection) -> Option<String> {
    let is_general = matches!(
        rejection,
        Rejection::MalformedDevice
            | Rejection::Path(_)
            | Rejection::MisspelledPath
            | Rejection::MethodNotAllowed { .. }
            | Rejection::MalformedBody(_)
            | Rejection::BodyTooLarge
            | Rejection::BodyTimeout
            | Rejection::BrokenBody
            | Rejection::MalformedHead(_)
            | Rejection::RequestLineTooLong
            | Rejection::HeadersTooLarge
            | Rejection::HeadTimeout
            | Rejection::PlainHttp
    );
    is_general.then(|| rejection.detail())
}

fn too_many(language: Language, says: [&str; 2]) -> PageText {
    PageText::new(language.say("Too many requests", "Слишком много запросов"), [language.say(says[0], says[1])])
}

fn kept_out(PageContext { language, address, .. }: &PageContext) -> PageText {
    let address = address.as_ref().map(IpAddr::to_string).unwrap_or_default();
    let says = match language {
        Language::English => format!(
            "This access token may not be used from this network: your address is {address}. Please ask the administrator about it."
        ),
        Language::Russian => {
            format!("Этим токеном нельзя пользоваться из этой сети: ваш адрес {address}. Обратитесь к администратору.")
        }
    };
    PageText::new(language.say("Not from this network", "Не из этой сети"), [says])
}

fn in_use(reader: &PageContext, device: &str, since: Option<DateTime<Utc>>, lease_seconds: u64) -> PageText {
    let language = reader.language;
    // What is known of it but a digest, which tells nobody anything.
    let device = match device.split('-').next() {
        Some("browser") => language.say("another browser", "другой браузер").to_owned(),
        Some("address") => language.say("another program", "другая программа").to_owned(),
        _ => match (language, device.replace("...", "…")) {
            (Language::English, device) => format!("the device “{device}”"),
            (Language::Russian, device) => format!("устройство «{device}»"),
        },
    };
    let seconds = since.map_or(0, |since| (reader.now_ms - since.timestamp_millis()) / 1_000);
    let lasting = language.lasting(u64::try_from(seconds).unwrap_or_default().max(1));
    let since = since.map(|since| since.format(language.say("%-d %b %H:%M UTC", "%d.%m %H:%M UTC")).to_string());
    let (since, lease) = (since.unwrap_or_default(), language.lasting(lease_seconds));
    let says = match language {
        Language::English => [
            format!("{device} has been using it for {lasting} (since {since}). A token works on one device at a time."),
            format!(
                "You can go on here: what is open there is closed at once. Or wait: it is free {lease} after the last request there."
            ),
        ],
        Language::Russian => [
            format!(
                "Им пользуется {device}, уже {lasting} (с {since}). Токен работает только на одном устройстве одновременно."
            ),
            format!(
                "Можно продолжить здесь: всё, что открыто там, сразу закроется. Или подождите: через {lease} после последнего запроса оттуда он освободится."
            ),
        ],
    };
    PageText::new(
        language.say("Your token is in use on another device", "Ваш токен используется на другом устройстве"),
        says,
    )
}
