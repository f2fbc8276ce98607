//! Which code may name which library, and which crate may depend on which.
//!
//! Source is read as tokens, so comments and text do not count, however `use` is spelled; a
//! manifest is read for the names of its dependencies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use testbed::house::source::{self, Found, MEMBERS};

use crate::root;

/// A rule on what must not stand where.
struct Boundary {
    says: &'static str,
    /// The files that it holds for: those whose path starts with one of these …
    within: &'static [&'static str],
    /// … and with none of these.
    except: &'static [&'static str],
    forbids: &'static [Forbidden],
    /// A file and code in it that break the rule: proof that it can be broken.
    broken_by: (&'static str, &'static str),
}

enum Forbidden {
    /// A path, or a piece of one: `poem` is in `use poem::{Route, get}`, `begin` in
    /// `connection.begin()`. In a manifest, the name of a dependency.
    Name(&'static str),
    /// Part of a literal.
    Text(&'static str),
}
use Forbidden::{Name, Text};

const BOUNDARIES: &[Boundary] = &[
    Boundary {
        says: "the contract has no runtime, no network, no web framework and no database, and knows neither plane",
        within: &["shared/Cargo.toml"],
        except: &[],
        forbids: &[
            Name("control-api"),
            Name("edge-proxy"),
            Name("migrations"),
            Name("testbed"),
            Name("tokio"),
            Name("futures-util"),
            Name("fred"),
            Name("http"),
            Name("hyper"),
            Name("reqwest"),
            Name("poem"),
            Name("poem-openapi"),
            Name("pingora"),
            Name("sea-orm"),
            Name("sqlx"),
        ],
        broken_by: ("shared/Cargo.toml", "[dependencies]\nserde.workspace = true\ntokio = { version = \"1\" }"),
    },
    Boundary {
        says: "the edge knows neither the control plane nor a database",
        within: &["edge-proxy/Cargo.toml"],
        except: &[],
        forbids: &[Name("control-api"), Name("migrations"), Name("sea-orm"), Name("sqlx"), Name("poem")],
        broken_by: ("edge-proxy/Cargo.toml", "[dev-dependencies.control-api]\npath = \"../control-api\""),
    },
    Boundary {
        says: "the control plane does not know the edge",
        within: &["control-api/Cargo.toml", "migrations/Cargo.toml"],
        except: &[],
        forbids: &[Name("edge-proxy"), Name("pingora")],
        broken_by: ("control-api/Cargo.toml", "[dependencies]\nedge-proxy.workspace = true"),
    },
    Boundary {
        says: "tests speak to the planes over sockets",
        within: &["tests/Cargo.toml"],
        except: &[],
        forbids: &[Name("control-api"), Name("edge-proxy"), Name("migrations")],
        broken_by: ("tests/Cargo.toml", "[dependencies]\ncontrol-api = { path = \"../control-api\" }"),
    },
    Boundary {
        says: "sea_orm only under db/",
        within: &["control-api/src/"],
        except: &["control-api/src/db/"],
        forbids: &[Name("sea_orm")],
        broken_by: ("control-api/src/domain/tokens.rs", "use sea_orm::{EntityTrait, Set};"),
    },
    Boundary {
        says: "poem only under api/ and console/, and where it is served",
        within: &["control-api/src/"],
        except: &[
            "control-api/src/api/",
            "control-api/src/console/",
            "control-api/src/http/",
            "control-api/src/input/",
            "control-api/src/server/",
            "control-api/src/assets.rs",
        ],
        forbids: &[Name("poem"), Name("poem_openapi")],
        broken_by: ("control-api/src/domain/tokens.rs", "fn render() -> poem::Response { respond() }"),
    },
    Boundary {
        says: "only the publisher and the intake speak to Redis",
        within: &["control-api/src/"],
        except: &[
            "control-api/src/redis/",
            "control-api/src/publish/",
            "control-api/src/jobs/usage_consumer.rs",
            // These name its errors and check its URL.
            "control-api/src/app.rs",
            "control-api/src/config/mod.rs",
        ],
        forbids: &[Name("fred")],
        broken_by: ("control-api/src/domain/tokens.rs", "async fn f(redis: &fred::clients::Client) {}"),
    },
    Boundary {
        says: "the control plane asks nobody by HTTP but the payment provider, and tells nobody but the collector of traces",
        within: &["control-api/src/"],
        except: &["control-api/src/payments/", "control-api/src/telemetry.rs"],
        forbids: &[Name("reqwest")],
        broken_by: ("control-api/src/domain/payments.rs", "async fn f(http: &reqwest::Client) {}"),
    },
    Boundary {
        says: "endpoint → domain → entity: no layer calls back up",
        within: &["control-api/src/db/", "control-api/src/domain/"],
        except: &[],
        forbids: &[Name("crate::api")],
        broken_by: ("control-api/src/domain/tokens.rs", "use crate::{api::error::ApiError, db};"),
    },
    Boundary {
        says: "endpoint → domain → entity: db/ calls no domain function",
        within: &["control-api/src/db/"],
        except: &[],
        forbids: &[Name("crate::domain")],
        broken_by: ("control-api/src/db/user.rs", "fn f() { crate::domain::tokens::issue() }"),
    },
    Boundary {
        says: "only domain functions and background tasks begin a transaction, so no endpoint changes anything past the rules",
        within: &["control-api/src/"],
        except: &[
            "control-api/src/db/mod.rs",
            "control-api/src/domain/",
            "control-api/src/jobs/usage_consumer.rs",
            "control-api/src/jobs/outbox_relay.rs",
            "control-api/src/jobs/redis_rebuild.rs",
            "control-api/src/publish/mod.rs",
            "control-api/src/jobs/sweeper.rs",
        ],
        forbids: &[Name("begin")],
        broken_by: ("control-api/src/api/tokens.rs", "async fn f(db: Db) { let tx = db.begin().await; }"),
    },
    Boundary {
        says: "what the edge decides it decides without Pingora, Redis, a runtime or a clock",
        within: &[
            "edge-proxy/src/admission/policy.rs",
            "edge-proxy/src/admission/credential.rs",
            "edge-proxy/src/proxy/websocket/frames.rs",
            "edge-proxy/src/cookies.rs",
            "edge-proxy/src/origin.rs",
            "edge-proxy/src/pages/",
            "edge-proxy/src/rewrite/",
            "edge-proxy/src/grants/evaluate.rs",
            "edge-proxy/src/grants/state.rs",
            "edge-proxy/src/rejection.rs",
            "edge-proxy/src/route.rs",
        ],
        except: &[],
        forbids: &[
            Name("pingora"),
            Name("fred"),
            Name("tokio"),
            Name("Instant::now"),
            Name("SystemTime::now"),
            Name("Utc::now"),
        ],
        broken_by: (
            "edge-proxy/src/rewrite/http/headers.rs",
            "pub fn f(header: &mut pingora::http::ResponseHeader) {}",
        ),
    },
    Boundary {
        says: "grants are held, and what passes is counted, without Pingora",
        within: &[
            "edge-proxy/src/assertion/",
            "edge-proxy/src/grants/feed.rs",
            "edge-proxy/src/clock.rs",
            "edge-proxy/src/grants/single_flight.rs",
            "edge-proxy/src/grants/mod.rs",
            "edge-proxy/src/grants/freshness.rs",
            "edge-proxy/src/grants/live.rs",
            "edge-proxy/src/grants/index.rs",
            "edge-proxy/src/usage/",
            "edge-proxy/src/admission/permit.rs",
            "edge-proxy/src/admission/outcomes.rs",
            "edge-proxy/src/redis/",
            "edge-proxy/src/grants/release.rs",
            "edge-proxy/src/grants/lease_use.rs",
            "edge-proxy/src/grants/evaluate.rs",
        ],
        except: &[],
        forbids: &[Name("pingora")],
        broken_by: ("edge-proxy/src/grants/mod.rs", "use pingora::proxy::Session;"),
    },
    Boundary {
        says: "nothing in the edge goes by its wall clock, which is only shown",
        within: &["edge-proxy/src/"],
        except: &["edge-proxy/src/clock.rs", "edge-proxy/src/endpoints/operator.rs"],
        forbids: &[Name("SystemTime"), Name("Utc::now"), Name("Local")],
        broken_by: ("edge-proxy/src/grants/live.rs", "fn is_over(&self) -> bool { Utc::now() >= self.expires_at }"),
    },
    Boundary {
        says: "the edge writes a response of its own in response.rs; others pass on the upstream's",
        within: &["edge-proxy/src/"],
        except: &[
            "edge-proxy/src/response.rs",
            "edge-proxy/src/proxy/exchange.rs",
            "edge-proxy/src/proxy/websocket/mod.rs",
        ],
        forbids: &[
            Name("write_response_header"),
            Name("write_response_body"),
            Name("respond_error"),
            Name("respond_error_with_body"),
        ],
        broken_by: ("edge-proxy/src/proxy/mod.rs", "async fn f(s: &mut Session) { s.respond_error(403).await; }"),
    },
    Boundary {
        says: "a Redis key stands only in shared/src/redis/mod.rs",
        within: &["control-api/", "edge-proxy/", "migrations/", "shared/", "tests/"],
        except: &["shared/src/redis/mod.rs", "tests/boundaries/"],
        forbids: &[Text("zenzefi:v")],
        broken_by: (
            "edge-proxy/src/grants/mod.rs",
            "fn key(id: Uuid) -> String { format!(\"zenzefi:v1:token:{id}\") }",
        ),
    },
    Boundary {
        says: "a Redis script stands only in shared/src/redis/scripts",
        within: &["control-api/src/", "edge-proxy/src/", "shared/src/"],
        except: &["shared/src/redis/calls/tests.rs"],
        forbids: &[Text("redis.call(")],
        broken_by: ("edge-proxy/src/redis/mod.rs", "const GET: &str = \"return redis.call('GET', KEYS[1])\";"),
    },
    Boundary {
        says: "std::env only where options are read",
        within: &["control-api/src/", "edge-proxy/src/", "shared/src/"],
        except: &["control-api/src/config/mod.rs", "edge-proxy/src/config/mod.rs", "shared/src/process/settings.rs"],
        forbids: &[Name("std::env")],
        broken_by: ("control-api/src/telemetry.rs", "use std::{env, fmt};"),
    },
];

#[test]
fn the_tree_keeps_its_boundaries() {
    let root = root();
    let mut breaches = Vec::new();
    for file in files(&root) {
        let path = file.strip_prefix(&root).expect("it was found below").to_str().expect("our names are UTF-8");
        let source = fs::read_to_string(&file).expect("a file that was just listed");
        breaches.extend(breaches_in(path, &source));
    }
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn every_boundary_can_be_broken() {
    for boundary in BOUNDARIES {
        let (path, source) = boundary.broken_by;
        let noticed = breaches_in(path, source).iter().any(|breach| breach.contains(boundary.says));
        assert!(noticed, "{} is not noticed", boundary.says);
    }
}

#[test]
fn every_place_that_a_boundary_names_exists() {
    for boundary in BOUNDARIES {
        for place in boundary.within.iter().chain(boundary.except) {
            assert!(root().join(place).exists(), "{}: {place} is gone", boundary.says);
        }
    }
}

#[test]
fn comments_and_text_are_no_code_and_every_spelling_of_use_is() {
    let file = "control-api/src/domain/tokens.rs";
    for innocent in ["//! poem\n/// sea_orm\nfn f() { /* std::env */ }", "const NAME: &str = \"poem::Route\";"] {
        assert_eq!(breaches_in(file, innocent), Vec::<String>::new(), "{innocent}");
    }
    for guilty in ["use ::std::env;", "use std::{fmt, env::{self, var}};", "use {std::env as e};", "m!(std :: env)"] {
        assert!(!breaches_in(file, guilty).is_empty(), "{guilty}");
    }
    let breaches = breaches_in(file, "\n\nuse poem::Route;");
    assert!(breaches[0].starts_with("control-api/src/domain/tokens.rs:3: `poem::Route`: "), "{}", breaches[0]);
}

/// What breaks a boundary in one file: where, what, and which.
fn breaches_in(path: &str, source: &str) -> Vec<String> {
    let found = if path.ends_with(".toml") { dependencies(source) } else { source::code(path, source) };
    let holds = |boundary: &&Boundary| {
        let covers = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        covers(boundary.within) && !covers(boundary.except)
    };
    let mut breaches = Vec::new();
    for boundary in BOUNDARIES.iter().filter(holds) {
        for found in &found {
            if boundary.forbids.iter().any(|forbidden| is(found, forbidden)) {
                breaches.push(format!("{path}:{}: `{}`: {}", found.line, found.text, boundary.says));
            }
        }
    }
    breaches
}

fn is(found: &Found, forbidden: &Forbidden) -> bool {
    match forbidden {
        Name(name) => !found.is_literal && format!("::{}::", found.text).contains(&format!("::{name}::")),
        Text(text) => found.is_literal && found.text.contains(text),
    }
}

/// The names that stand in the dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        let name = if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end().trim_end_matches(']');
            in_table = header.ends_with("dependencies");
            header.rsplit_once("dependencies.").map(|(_, name)| name)
        } else {
            line.split(['.', '=', ' ']).next().filter(|_| in_table)
        };
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            found.push(Found { text: name.to_owned(), line: index + 1, is_literal: false });
        }
    }
    found
}

/// Every manifest and source file of the workspace's members.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let is_read = |path: &Path| source::is_of_kind(path, &["rs"]) || path.ends_with("Cargo.toml");
    MEMBERS.into_iter().flat_map(|member| source::files_below(&root.join(member), is_read)).collect()
}
