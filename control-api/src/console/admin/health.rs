//! How the parts of the system stand, as far as this process can tell.

use std::time::Duration;

use askama::{Template, filters::HtmlSafe};
use chrono::{TimeDelta, Utc};
use shared::web::language::Language;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    app::App,
    console::{
        components::{Badge, Time, page_or_piece},
        layout::{Frame, NavItem},
        request::Admin,
        response::{Answer, PageError},
    },
    db::{self, outbox, session},
    redis::{PublishError, Server},
};

/// How long a part may take to answer.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// An outbox or a stream that is older than this is slow to be told; a minute is too slow.
const SLOW_SECONDS: u64 = 5;
const STUCK_SECONDS: u64 = 60;
/// Edges are shown that told of sessions which began within this time.
const EDGES_WITHIN: TimeDelta = TimeDelta::hours(1);
const EDGES_MAX: i64 = 50;

/// A part of the system, and how it stands.
struct Part {
    name: &'static str,
    badge: Badge,
    facts: Vec<(&'static str, String)>,
}

struct Edge {
    id: Uuid,
    badge: Badge,
    reported_at: Time,
    sessions: i64,
    connections: i64,
}

#[derive(Template)]
#[template(path = "console/admin/health_live.html")]
struct Live {
    lang: Language,
    parts: Vec<Part>,
    edges: Vec<Edge>,
    at: Time,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Live {}

#[derive(Template)]
#[template(path = "console/admin/health.html")]
struct HealthPage<'a> {
    lang: Language,
    frame: Frame,
    live: &'a Live,
}

/// What Redis says of itself and of what it holds.
struct Heard {
    server: Server,
    is_whole: bool,
    build: String,
    built_at_ms: Option<i64>,
    feed_lag: Option<Duration>,
    usage_lag: Duration,
}

async fn ask_redis(app: &App) -> Result<Heard, PublishError> {
    let (server, pulse) = (app.publisher.server().await?, app.publisher.pulse().await?);
    let waited = |at: i64| Duration::from_millis(u64::try_from(pulse.now_ms - at).unwrap_or_default());
    Ok(Heard {
        is_whole: pulse.is_whole,
        build: pulse.contents.build().to_owned(),
        feed_lag: pulse.caught_up_at_ms.map(waited),
        built_at_ms: app.publisher.built_at().await?,
        usage_lag: app.publisher.usage_lag().await?,
        server,
    })
}

fn good(lang: Language) -> Badge {
    Badge { class: "good", word: lang.say("good", "в порядке") }
}

fn slow(lang: Language) -> Badge {
    Badge { class: "warn", word: lang.say("behind", "отстаёт") }
}

fn bad(lang: Language) -> Badge {
    Badge { class: "bad", word: lang.say("does not work", "не работает") }
}

/// How something stands that has waited for so long.
fn by_wait(lang: Language, seconds: u64) -> Badge {
    if seconds <= SLOW_SECONDS {
        good(lang)
    } else if seconds <= STUCK_SECONDS {
        slow(lang)
    } else {
        bad(lang)
    }
}

fn redis_parts(lang: Language, app: &App, heard: Option<Heard>) -> Vec<Part> {
    let [feed, usage] = [lang.say("Change feed", "Лента изменений"), lang.say("Usage stream", "Поток использования")];
    let Some(heard) = heard else {
        let silent = || vec![(lang.say("Redis", "Redis"), lang.say("does not answer", "не отвечает").to_owned())];
        return ["Redis", feed, usage].map(|name| Part { name, badge: bad(lang), facts: silent() }).into();
    };
    let keeps = heard.server.maxmemory_policy == "noeviction" || app.config.allow_eviction;
    let whole = if heard.is_whole {
        lang.say("yes", "да")
    } else {
        lang.say("no, being filled", "нет, заполняется")
    };
    let short = |text: &str| text.chars().take(8).collect::<String>();
    let mut facts = vec![
        (lang.say("Holds everything", "Данные полны"), whole.to_owned()),
        (lang.say("Server's run", "Запуск сервера"), short(&heard.server.run_id)),
        (lang.say("Filling", "Заполнение"), short(&heard.build)),
        (lang.say("When memory is full", "При нехватке памяти"), heard.server.maxmemory_policy.clone()),
    ];
    if let Some(at) = heard.built_at_ms.and_then(chrono::DateTime::from_timestamp_millis) {
        facts.push((lang.say("Filled", "Заполнен"), Time(at).to_string()));
    }
    let redis = Part {
        name: "Redis",
        badge: if !keeps {
            bad(lang)
        } else if heard.is_whole {
            good(lang)
        } else {
            slow(lang)
        },
        facts,
    };
    let feed_seconds = heard.feed_lag.map(|lag| lag.as_secs());
    let feed = Part {
        name: feed,
        badge: feed_seconds.map_or_else(|| slow(lang), |seconds| by_wait(lang, seconds)),
        facts: vec![(
            lang.say("Behind by", "Отстаёт на"),
            feed_seconds.map_or_else(
                || lang.say("not told yet", "пока неизвестно").to_owned(),
                |seconds| lang.lasting(seconds),
            ),
        )],
    };
    let usage = Part {
        name: usage,
        badge: by_wait(lang, heard.usage_lag.as_secs()),
        facts: vec![(
            lang.say("Oldest entry has waited", "Старейшая запись ждёт"),
            lang.lasting(heard.usage_lag.as_secs()),
        )],
    };
    vec![redis, feed, usage]
}

async fn live(admin: &Admin) -> Result<Live, PageError> {
    let (app, lang, now) = (&admin.app, admin.lang, Utc::now());
    let postgres = timeout(PROBE_WITHIN, db::pending_migrations(&app.db));
    let redis = timeout(PROBE_WITHIN, ask_redis(app));
    let (postgres, redis) = tokio::join!(postgres, redis);
    let pending = postgres.ok().and_then(Result::ok);
    let schema = match &pending {
        Some(pending) if pending.is_empty() => {
            lang.say("as this program needs it", "соответствует программе").to_owned()
        }
        Some(pending) => pending.join(", "),
        None => lang.say("does not answer", "не отвечает").to_owned(),
    };
    let postgres = Part {
        name: "Postgres",
        badge: if pending.is_some_and(|pending| pending.is_empty()) { good(lang) } else { bad(lang) },
        facts: vec![(lang.say("Schema", "Схема"), schema)],
    };
    let (rows, oldest) = outbox::backlog(&app.db).await?;
    // A clock may have been set back.
    let oldest = Duration::try_from_secs_f64(oldest.max(0.0)).unwrap_or_default().as_secs();
    let outbox = Part {
        name: lang.say("Outbox", "Очередь изменений"),
        badge: by_wait(lang, oldest),
        facts: vec![
            (lang.say("Changes that wait", "Ожидают отправки"), rows.to_string()),
            (lang.say("Oldest has waited", "Старейшее ждёт"), lang.lasting(oldest)),
        ],
    };
    let program = Part {
        name: lang.say("This program", "Эта программа"),
        badge: if app.stop.is_cancelled() { slow(lang) } else { good(lang) },
        facts: vec![(lang.say("Version", "Версия"), env!("CARGO_PKG_VERSION").to_owned())],
    };
    let since = app.reported_since(now);
    let edges =
        session::list_edges(&app.db, now - EDGES_WITHIN, since, EDGES_MAX).await?.into_iter().map(|edge| Edge {
            id: edge.instance_id,
            badge: match edge.reported_at >= since {
                true => Badge { class: "good", word: lang.say("reports", "на связи") },
                false => Badge { class: "", word: lang.say("silent", "молчит") },
            },
            reported_at: Time(edge.reported_at),
            sessions: edge.sessions,
            connections: edge.open_connections,
        });
    let edges = edges.collect();
    let parts = [postgres].into_iter().chain(redis_parts(lang, app, redis.ok().and_then(Result::ok)));
    Ok(Live { lang, parts: parts.chain([outbox, program]).collect(), edges, at: Time(now) })
}

pub async fn show(admin: Admin) -> Answer {
    let live = live(&admin).await?;
    let page = HealthPage { lang: admin.lang, frame: admin.frame(NavItem::Health), live: &live };
    page_or_piece(admin.wants_piece, &page, &live)
}
