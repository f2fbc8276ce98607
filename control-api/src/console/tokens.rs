//! A person's tokens: the list, one of them with what can be done with it, and doing it.

use askama::Template;
use chrono::{DateTime, Utc};
use poem::{Response, http::StatusCode};
use rust_decimal::Decimal;
use shared::{
    token::state::{DURATIONS_HOURS, State},
    web::language::Language,
};
use uuid::Uuid;

use super::{
    components::{Confirm, Pager, Slice, Time},
    form::FieldErrors,
    layout::{Frame, NavItem},
    request::Member,
    response::{self, Answer, PageError},
    text,
};
use crate::{
    app::App,
    config::TokenHour,
    db::{access_token, session},
    domain::{self, idempotency::Idempotent, refunds, tokens},
    http::browser_handoff,
    input::znc,
    publish::{self, Delivery},
};

/// A token as its owner sees it.
pub struct TokenRow {
    pub id: Uuid,
    pub prefix: String,
    pub state: State,
    pub state_name: &'static str,
    pub state_class: &'static str,
    pub scope: &'static str,
    pub hours: String,
    pub cost: String,
    pub created_at: Time,
    pub activated_at: Option<Time>,
    pub expires_at: Option<Time>,
    /// Of an active token.
    pub seconds_left: Option<u64>,
    /// The same in words, for who has no script.
    pub left: String,
}

impl TokenRow {
    pub fn new(lang: Language, token: &access_token::Model, hour: TokenHour, now: DateTime<Utc>) -> Self {
        let state = tokens::state(token, hour, true, now);
        let left = token.expires_at(hour).filter(|_| state == State::Active);
        let left = left.map(|end| u64::try_from((end - now).num_seconds()).unwrap_or_default());
        Self {
            id: token.id,
            prefix: token.token_prefix.clone(),
            state,
            state_name: text::state(lang, state),
            state_class: text::state_class(state),
            scope: text::scope(lang, &token.scope),
            hours: lang.hours(u64::try_from(token.duration_hours).unwrap_or_default()),
            cost: text::money(lang, token.cost),
            created_at: Time(token.created_at),
            activated_at: token.activated_at.map(Time),
            expires_at: token.expires_at(hour).map(Time),
            seconds_left: left,
            left: left.map(|seconds| lang.lasting(seconds)).unwrap_or_default(),
        }
    }

    /// Whether it opens Zenzefi.
    pub fn works(&self) -> bool {
        matches!(self.state, State::Ready | State::Active)
    }
}

#[derive(Template)]
#[template(path = "console/tokens.html")]
struct TokensPage {
    lang: Language,
    frame: Frame,
    /// Whether what is over is listed too.
    all: bool,
    tokens: Vec<TokenRow>,
    pager: Pager,
}

pub async fn list(member: Member) -> Answer {
    let (hour, now, all) = (member.app.config.hour, Utc::now(), member.query.text("all") == "1");
    let filter = access_token::Filter { user_id: Some(member.session.user.id), live_at: (!all).then_some(now) };
    let slice = Slice::of(&member.query);
    let (owned, total) = access_token::list(&member.app.db, hour, &filter, slice.limit, slice.offset).await?;
    response::page(&TokensPage {
        lang: member.lang,
        frame: member.frame(NavItem::Tokens),
        all,
        pager: Pager {
            lang: member.lang,
            path: "/console/tokens",
            filters: vec![("all", if all { "1" } else { "" }.to_owned())],
            slice,
            shown: owned.len() as u64,
            total,
        },
        tokens: owned.iter().map(|owned| TokenRow::new(member.lang, &owned.token, hour, now)).collect(),
    })
}

/// A device that holds a token.
struct Holder {
    device: String,
    agent: Option<String>,
    address: Option<String>,
    last_activity: Time,
    open_connections: i64,
}

#[derive(Template)]
#[template(path = "console/token.html")]
struct TokenPage {
    lang: Language,
    frame: Frame,
    token: TokenRow,
    holders: Vec<Holder>,
    /// What more hours cost.
    extensions: Vec<(u32, String, String)>,
}

pub async fn show(member: Member) -> Answer {
    let token = find(&member).await?;
    let (app, lang) = (&member.app, member.lang);
    let filter = session::Filter { user_id: None, token_id: Some(token.id), active_only: true };
    let reported_since = app.reported_since(Utc::now());
    let (sessions, _) = session::list(&app.db, &filter, reported_since, 10, 0).await?;
    let holders = sessions.into_iter().map(|session| Holder {
        device: session.device_id.chars().take(12).collect(),
        agent: session.user_agent.as_deref().map(text::agent),
        address: session.ip_address,
        last_activity: Time(session.last_activity),
        open_connections: session.open_connections,
    });
    let extensions = DURATIONS_HOURS.into_iter().filter_map(|hours| {
        let price = app.prices.of(hours.into())?;
        Some((hours, lang.hours(hours.into()), text::money(lang, price)))
    });
    response::page(&TokenPage {
        lang,
        frame: member.frame(NavItem::Tokens),
        token: TokenRow::new(lang, &token, app.config.hour, Utc::now()),
        holders: holders.collect(),
        extensions: extensions.collect(),
    })
}

/// The token that the path names, if it is this person's.
async fn find(member: &Member) -> Result<access_token::Model, PageError> {
    Ok(tokens::find(&member.app.db, member.session.user.id, member.id()?).await?.token)
}

/// What can be done with a token once its owner was asked.
#[derive(Clone, Copy)]
enum Deed {
    Extend(i64),
    Rotate,
    Refund,
    TakeOver,
}

impl Deed {
    fn of(member: &Member) -> Result<Self, PageError> {
        match member.query.text("what") {
            "extend" => {
                let hours = member.query.number("hours").and_then(|hours| i64::try_from(hours).ok());
                Ok(Self::Extend(hours.ok_or(domain::Error::InvalidDuration)?))
            }
            "rotate" => Ok(Self::Rotate),
            "refund" => Ok(Self::Refund),
            "take-over" => Ok(Self::TakeOver),
            _ => Err(PageError::NotFound),
        }
    }
}

/// Says what a deed does before it is done.
pub async fn confirm(member: Member) -> Answer {
    let (token, deed, lang) = (find(&member).await?, Deed::of(&member)?, member.lang);
    let path = format!("/console/tokens/{}", token.id);
    let mut hidden = Vec::new();
    let (what, title, button, sentences) = match deed {
        Deed::Extend(hours) => {
            let price = member.app.prices.of(hours).ok_or(domain::Error::InvalidDuration)?;
            hidden = vec![
                ("hours", hours.to_string()),
                ("key", Uuid::new_v4().to_string()),
                ("price", znc(price)),
            ];
            let more = lang.hours(u64::try_from(hours).unwrap_or_default());
            (
                "extend",
                lang.say("More time", "Больше времени"),
                lang.say("Buy more time", "Купить время"),
                vec![
                    match lang {
                        Language::English => format!("The token {} gets {more} more. What is open with it goes on.", token.token_prefix),
                        Language::Russian => format!("Токен {} получит ещё {more}. Всё, что с ним открыто, продолжит работать.", token.token_prefix),
                    },
                    charged(lang, price, member.session.user.currency_balance),
                ],
            )
        }
        Deed::Rotate => (
            "rotate",
            lang.say("New text for this token", "Новый текст токена"),
            lang.say("Replace the text", "Заменить текст"),
            vec![
                lang.say(
                    "The token gets a new text. The old one, and every browser that was opened with it, stops working at once.",
                    "Токен получит новый текст. Старый, как и все открытые с ним браузеры, сразу перестанет работать.",
                )
                .to_owned(),
                lang.say("Its time stays as it is.", "Время токена не изменится.").to_owned(),
            ],
        ),
        Deed::Refund => (
            "refund",
            lang.say("Refund this token", "Вернуть токен"),
            lang.say("Refund", "Вернуть"),
            vec![match lang {
                Language::English => format!("The token {} stops working, and {} go back to your balance.", token.token_prefix, text::money(lang, token.cost)),
                Language::Russian => format!("Токен {} перестанет работать, на баланс вернётся {}.", token.token_prefix, text::money(lang, token.cost)),
            }],
        ),
        Deed::TakeOver => (
            "release-device",
            lang.say("Take over from the other device", "Освободить токен"),
            lang.say("Take over", "Освободить"),
            vec![
                lang.say(
                    "What is open on the device that uses this token ends at once. The next device that comes has the token.",
                    "Всё, что открыто на устройстве с этим токеном, сразу закроется. Токен достанется следующему устройству.",
                )
                .to_owned(),
            ],
        ),
    };
    let page = Confirm {
        lang,
        frame: member.frame(NavItem::Tokens),
        title: title.to_owned(),
        facts: Vec::new(),
        happens: sentences,
        action: format!("{path}/{what}"),
        hidden,
        asks_password_of: None,
        button,
        is_dangerous: !matches!(deed, Deed::Extend(_)),
        back: path,
        errors: FieldErrors::default(),
    };
    page.answer()
}

/// What a purchase leaves of a balance.
fn charged(lang: Language, price: Decimal, balance: Decimal) -> String {
    let (price, after) = (text::money(lang, price), text::money(lang, balance - price));
    match lang {
        Language::English => format!("It costs {price}. Your balance will be {after}."),
        Language::Russian => format!("Это стоит {price}. На балансе останется {after}."),
    }
}

pub async fn open(member: Member) -> Answer {
    let next = Some(member.form.text("to")).filter(|next| next.starts_with('/'));
    response::see_other(&browser_handoff::open(&member.app, &member.session, member.id()?, next).await?)
}

pub async fn extend(member: Member) -> Answer {
    let App { db, prices, publisher, config, sealer, .. } = &*member.app;
    let (id, form) = (member.id()?, &member.form);
    let hours = form.number("hours").and_then(|hours| i64::try_from(hours).ok());
    let hours = hours.ok_or(domain::Error::InvalidDuration)?;
    if prices.of(hours).map(znc).as_deref() != Some(form.text("price")) {
        // It was another when the person said yes.
        return response::see_other(&format!(
            "/console/tokens/{id}/confirm?what=extend&hours={hours}&done=price-changed"
        ));
    }
    let request = serde_json::json!({ "id": id, "duration_hours": hours });
    let once = Idempotent { sealer, endpoint: "tokens/extend", key: once_key(&member)?, request };
    let terms = tokens::Terms { prices, hour: config.hour, now: Utc::now() };
    let extended = tokens::extend(db, &terms, &member.session, id, hours, Some(&once)).await?;
    publish::deliver(db, publisher, extended).await;
    response::see_other(&format!("/console/tokens/{id}?done=extended"))
}

/// What names a purchase that a form may send twice.
pub fn once_key(member: &Member) -> Result<&str, PageError> {
    let key = member.form.text("key");
    key.parse::<Uuid>().map(|_| key).map_err(|_| PageError::Malformed)
}

pub async fn rotate(member: Member) -> Answer {
    let App { db, publisher, config, .. } = &*member.app;
    let issued = tokens::rotate(db, config.hour, &member.session, member.id()?, Utc::now()).await?;
    let (issued, _) = publish::deliver(db, publisher, issued).await;
    let title = member.lang.say("The new text of your token", "Новый текст токена").to_owned();
    let issued = [issued];
    Ok(show_texts(&member, title, None, &issued, "/"))
}

pub async fn refund(member: Member) -> Answer {
    let App { db, publisher, config, .. } = &*member.app;
    let id = member.id()?;
    let refund = refunds::refund(db, publisher, config.refund_hold, &member.session, id).await?;
    publish::deliver(db, publisher, refund).await;
    response::see_other("/console/tokens?done=refunded")
}

pub async fn release_device(member: Member) -> Answer {
    let App { db, publisher, config, .. } = &*member.app;
    let id = member.id()?;
    let released = tokens::release_device(db, config.hour, &member.session, id, Utc::now()).await?;
    let ((), delivery) = publish::deliver(db, publisher, released).await;
    let done = if delivery == Delivery::Pending { "taken-over-soon" } else { "taken-over" };
    response::see_other(&format!("/console/tokens/{id}?done={done}"))
}

/// A token whose text is shown now and never again.
struct Text {
    id: Uuid,
    text: String,
    prefix: String,
}

#[derive(Template)]
#[template(path = "console/texts.html")]
struct TextsPage {
    lang: Language,
    frame: Frame,
    title: String,
    sentence: Option<String>,
    tokens: Vec<Text>,
    /// Where in Zenzefi to go on.
    to: String,
}

/// The page that shows the texts of tokens, once.
pub fn show_texts(
    member: &Member,
    title: String,
    sentence: Option<String>,
    issued: &[tokens::Issued],
    to: &str,
) -> Response {
    let text = |issued: &tokens::Issued| Text {
        id: issued.token.id,
        text: issued.text.expose().to_owned(),
        prefix: issued.token.token_prefix.clone(),
    };
    let page = TextsPage {
        lang: member.lang,
        frame: member.frame(NavItem::Tokens),
        title,
        sentence,
        tokens: issued.iter().map(text).collect(),
        to: to.to_owned(),
    };
    response::page_of(StatusCode::OK, &page)
}
