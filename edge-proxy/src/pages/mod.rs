//! The pages that a browser is shown here: where to sign in, and each refusal, with what happened
//! and what to do about it. Rendered from what the request says of its reader; nothing is asked,
//! and no page runs a script.

pub mod assets;
mod context;
pub mod text;

use std::time::Duration;

use askama::Template;
use shared::web::language::Language;
use url::form_urlencoded;

use crate::{
    origin::Origin,
    rejection::{InvalidCredential, Rejection},
};
use assets::Assets;
use text::PageText;

pub use context::{PageContext, SignInReason};

/// What pages are made of, the same for all of an edge's.
pub struct Pages {
    pub links: SiteLinks,
    pub assets: Assets,
}

/// Where pages lead, the same for all of an edge's.
#[derive(Debug)]
pub struct SiteLinks {
    /// The paths of what pages load.
    pub style: String,
    pub icon: String,
    /// The portal's address, where people buy tokens and look after them.
    pub portal: Option<String>,
    /// The first public origin: where what is not served by another name is.
    pub home: Option<Origin>,
}

/// A page, and after how long a browser is to ask for it again by itself.
#[derive(Debug)]
pub struct Page {
    pub html: String,
    pub again_after: Option<Duration>,
}

struct Link {
    to: String,
    label: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    site: &'a SiteLinks,
    reader: &'a PageContext,
    /// Where the page loads from, if that is another origin.
    loads: String,
    switch: Option<String>,
    request_id: Option<&'a str>,
    title: String,
    says: Vec<String>,
    /// What went wrong when it was posted, for another reason than the token.
    notice: Option<PageText>,
    link: Option<Link>,
    label: &'a str,
    buy: Option<String>,
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    site: &'a SiteLinks,
    reader: &'a PageContext,
    loads: String,
    switch: Option<String>,
    request_id: Option<&'a str>,
    title: String,
    says: Vec<String>,
    takes_over: bool,
    links: Vec<Link>,
    detail: Option<String>,
}

impl SiteLinks {
    /// Where to sign in; why, if there is a reason that is known.
    pub fn sign_in(&self, reader: &PageContext, why: Option<SignInReason>) -> Page {
        self.asks_to_sign_in(reader, why, None)
    }

    /// A refusal of what was posted there.
    pub fn sign_in_again(&self, reader: &PageContext, rejection: &Rejection) -> Page {
        let why = SignInReason::of(rejection);
        let notice = why.is_none().then(|| text::of(rejection, reader));
        self.asks_to_sign_in(reader, why, notice)
    }

    fn asks_to_sign_in(&self, reader: &PageContext, why: Option<SignInReason>, notice: Option<PageText>) -> Page {
        let language = reader.language;
        let PageText { title, says } = text::why(why, language);
        let next = encoded(&reader.next);
        let here = match why {
            Some(why) => format!("/_gateway/sign-in?why={}&next={next}", why.name()),
            None => format!("/_gateway/sign-in?next={next}"),
        };
        let link = match why {
            Some(SignInReason::InvalidCredential(InvalidCredential::Expired)) => self
                .buy(reader)
                .map(|to| Link { to, label: language.say("Buy more time", "Купить ещё время").into() }),
            Some(SignInReason::InvalidCredential(InvalidCredential::Revoked) | SignInReason::HandoverGone) => {
                self.to_portal(language)
            }
            Some(SignInReason::InvalidCredential(InvalidCredential::Suspended | InvalidCredential::Unknown)) | None => {
                None
            }
        };
        let label = match why {
            None => language.say("Access token", "Токен доступа"),
            Some(SignInReason::InvalidCredential(InvalidCredential::Unknown)) => {
                language.say("Access token, all 64 characters", "Токен доступа, все 64 символа")
            }
            Some(_) => language.say("Or paste another access token", "Или вставьте другой токен доступа"),
        };
        let page = SignIn {
            site: self,
            reader,
            loads: String::new(),
            switch: Some(switch(reader, &here)),
            request_id: None,
            title,
            says,
            notice,
            link,
            label,
            buy: self
                .buy(reader)
                .filter(|_| matches!(why, None | Some(SignInReason::InvalidCredential(InvalidCredential::Unknown)))),
        };
        Page { html: page.render().expect("the page renders from texts"), again_after: None }
    }

    /// A refusal.
    pub fn refusal(&self, reader: &PageContext, rejection: &Rejection) -> Page {
        let language = reader.language;
        let PageText { title, mut says } = text::of(rejection, reader);
        let again_after = again_after(rejection);
        if let (Some(after), true) = (again_after, reader.may_repeat) {
            let after = language.lasting(after.as_secs());
            says.push(match language {
                Language::English => format!("This page tries again by itself in {after}."),
                Language::Russian => format!("Эта страница сама повторит попытку через {after}."),
            });
        }
        let elsewhere = self.home.as_ref().filter(|_| !reader.is_home);
        let page = Refusal {
            site: self,
            reader,
            loads: elsewhere.map(Origin::to_string).unwrap_or_default(),
            switch: reader.is_home.then(|| switch(reader, &reader.next)),
            request_id: Some(&reader.request_id),
            title,
            says,
            takes_over: matches!(rejection, Rejection::InUse { .. }),
            links: self.links(reader, rejection, again_after.is_some()),
            detail: text::detail(rejection),
        };
        Page {
            html: page.render().expect("the page renders from texts"),
            again_after: again_after.filter(|_| reader.may_repeat),
        }
    }

    fn links(&self, reader: &PageContext, rejection: &Rejection, is_over_soon: bool) -> Vec<Link> {
        let language = reader.language;
        let link = |to: &str, label: &str| Link { to: to.to_owned(), label: label.to_owned() };
        let to_start = || link("/", language.say("To the start page", "На главную страницу"));
        if !reader.is_home {
            let home = self.home.as_ref().filter(|_| *rejection == Rejection::WrongHost);
            return home.map(|home| link(&home.to_string(), &format!("{home}"))).into_iter().collect();
        }
        let first = match rejection {
            _ if is_over_soon => Some(link(&reader.next, language.say("Try again now", "Повторить сейчас"))),
            Rejection::InUse { .. } | Rejection::ClientBlocked | Rejection::NetworkNotAllowed => None,
            Rejection::DeviceRequired => {
                let to = format!("/_gateway/sign-in?next={}", encoded(&reader.next));
                Some(link(&to, language.say("Sign in", "Войти")))
            }
            Rejection::Fault => Some(link(&reader.next, language.say("Try again", "Повторить"))),
            _ => Some(to_start()),
        };
        let second = match rejection {
            Rejection::OutsideScope { .. } => self.buy(reader).map(|to| Link {
                to,
                label: language.say("Buy a token that opens everything", "Купить токен с полным доступом").into(),
            }),
            Rejection::InUse { .. } => self.to_portal(language),
            _ => None,
        };
        first.into_iter().chain(second).collect()
    }

    fn to_portal(&self, language: Language) -> Option<Link> {
        let label = language.say("Go to the portal", "Перейти на портал").to_owned();
        self.portal.clone().map(|to| Link { to, label })
    }

    /// Where more time is bought, to come back to where the reader was.
    fn buy(&self, reader: &PageContext) -> Option<String> {
        Some(format!("{}?to={}", self.buys_at()?, encoded(&reader.next)))
    }

    /// Where tokens are bought; `to` in its query is a path to come back to.
    pub fn buys_at(&self) -> Option<String> {
        self.portal.as_ref().map(|portal| format!("{portal}/buy"))
    }
}

/// After how long what was refused may work, where waiting is all that helps.
fn again_after(rejection: &Rejection) -> Option<Duration> {
    let seconds = match rejection {
        Rejection::Throttled { retry_after } | Rejection::TooManyUnknown { retry_after } => retry_after.as_secs() + 1,
        Rejection::TooManyRequests(exceeded) => exceeded.retry_after_seconds(),
        Rejection::Unavailable => 3,
        Rejection::UpstreamUnreachable | Rejection::ControlUnreachable | Rejection::TooManyOpen | Rejection::Full => 5,
        // It took its time to fail, too.
        Rejection::UpstreamSilent | Rejection::ControlSilent => 10,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// What shows a page of the gateway in the other language.
fn switch(reader: &PageContext, here: &str) -> String {
    format!("/_gateway/language?to={}&next={}", reader.language.other().tag(), encoded(here))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> SiteLinks {
        SiteLinks {
            style: "/_gateway/style.css?v=1".into(),
            icon: "/_gateway/icon.svg?v=1".into(),
            portal: Some("https://console.example/console".into()),
            home: "https://gateway.example".parse().ok(),
        }
    }

    fn reader(language: Language) -> PageContext {
        PageContext {
            language,
            next: "/certificates?x=1&y=%3Cb%3E".into(),
            is_home: true,
            may_repeat: true,
            address: "192.0.2.7".parse().ok(),
            now_ms: 1_800_000_000_000,
            request_id: "0123".into(),
        }
    }

    fn in_use() -> Rejection {
        let since = chrono::DateTime::from_timestamp_millis(1_800_000_000_000 - 3_720_000);
        Rejection::InUse { device: "browser-...".into(), since, lease: Duration::from_mins(5) }
    }

    #[test]
    fn who_has_no_time_left_is_led_to_more_and_back_to_where_they_were() {
        let page = site()
            .sign_in(&reader(Language::English), Some(SignInReason::InvalidCredential(InvalidCredential::Expired)))
            .html;
        for part in [
            "<html lang=\"en\">",
            "<h1>Your time is over</h1>",
            "https://console.example/console/buy?to=%2Fcertificates%3Fx%3D1%26y%3D%253Cb%253E",
            "id=\"token\"",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        let page = site()
            .sign_in(&reader(Language::Russian), Some(SignInReason::InvalidCredential(InvalidCredential::Expired)))
            .html;
        assert!(page.contains("<html lang=\"ru\">") && page.contains("Купить ещё время"), "{page}");
        let without = SiteLinks { portal: None, ..site() };
        assert!(!without.sign_in(&reader(Language::English), None).html.contains("Buy"), "there is nowhere to buy");
    }

    #[test]
    fn the_page_to_sign_in_is_known_by_its_address_in_the_other_language() {
        for (name, why) in SignInReason::ALL {
            assert_eq!(SignInReason::by_name(name), Some(why));
            let page = site().sign_in(&reader(Language::English), Some(why)).html;
            assert!(page.contains(&format!("%2F_gateway%2Fsign-in%3Fwhy%3D{name}%26next%3D")), "{page}");
        }
        assert_eq!(SignInReason::by_name("other"), None);
    }

    #[test]
    fn another_device_is_named_with_how_long_it_has_the_token() {
        let page = site().refusal(&reader(Language::English), &in_use());
        assert!(page.html.contains("another browser") && page.html.contains("1\u{a0}h 2\u{a0}min"), "{}", page.html);
        assert!(page.html.contains("action=\"/_gateway/take-over\"") && page.again_after.is_none());
        let page = site().refusal(&reader(Language::Russian), &in_use()).html;
        assert!(page.contains("другой браузер") && page.contains("1\u{a0}ч 2\u{a0}мин"), "{page}");
    }

    #[test]
    fn a_blocked_holder_is_sent_to_the_person_who_can_change_it_not_to_a_useless_page() {
        for (language, whom) in
            [(Language::English, "ask the administrator"), (Language::Russian, "Обратитесь к администратору")]
        {
            let page = site().refusal(&reader(language), &Rejection::NetworkNotAllowed).html;
            assert!(page.contains(whom) && page.contains("192.0.2.7") && !page.contains("console.example"), "{page}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_where_it_can_be_repeated() {
        let posted = PageContext { may_repeat: false, ..reader(Language::English) };
        for rejection in
            [Rejection::UpstreamUnreachable, Rejection::UpstreamSilent, Rejection::Unavailable, Rejection::Full]
        {
            let page = site().refusal(&reader(Language::English), &rejection);
            assert!(page.again_after.is_some() && page.html.contains("by itself"), "{rejection:?}");
            let page = site().refusal(&posted, &rejection);
            assert!(page.again_after.is_none() && !page.html.contains("by itself"), "{rejection:?}");
        }
        assert_eq!(site().refusal(&reader(Language::English), &Rejection::CrossSite).again_after, None);
    }

    #[test]
    fn where_the_gateway_has_no_endpoints_a_page_names_only_its_stylesheet_elsewhere() {
        let away = PageContext { is_home: false, ..reader(Language::English) };
        let page = site().refusal(&away, &Rejection::ControlUnreachable).html;
        assert!(page.contains("https://gateway.example/_gateway/style.css?v=1"), "{page}");
        assert!(!page.contains("/_gateway/language"), "{page}");
        assert!(site().refusal(&away, &Rejection::WrongHost).html.contains("href=\"https://gateway.example\""));
    }

    #[test]
    fn what_a_reader_was_asking_for_is_never_markup() {
        let hostile = PageContext { next: "/\"><script>alert(1)</script>".into(), ..reader(Language::English) };
        let outside = Rejection::OutsideScope {
            scope: shared::token::scope::Scope::CertificatesOnly,
            path: "/<script>alert(1)</script>".into(),
        };
        for page in
            [site().sign_in(&hostile, None), site().refusal(&hostile, &in_use()), site().refusal(&hostile, &outside)]
        {
            assert!(!page.html.contains("<script"), "{}", page.html);
        }
    }
}
