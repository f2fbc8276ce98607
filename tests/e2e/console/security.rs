//! That the console is read and changed by its own pages alone, wherever a browser is led: by raw
//! HTTP, where a client may send anything. In Chromium, which has the last word on what a page of
//! another origin can do, it is tested by `pages::console_in_browser`. Routes are taken from the
//! source, so that what is added is tested too.

mod forms;
mod heads;
mod logins;
mod redirects;

use std::{fmt::Display, fs};

use testbed::{people::User, stack::Stack};

/// Where the console has its routes.
const SOURCES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../control-api/src/console/mod.rs"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../control-api/src/console/admin/mod.rs"),
];

/// A path of the console and what it takes.
struct Route {
    path: String,
    is_page: bool,
    takes_form: bool,
}

/// Every route of the console but its assets, with `id` where a path names something.
fn routes(id: impl Display) -> Vec<Route> {
    let mut routes = Vec::new();
    for source in SOURCES {
        let text = fs::read_to_string(source).expect("source");
        for route in text.split(".at(").skip(1) {
            let route = route.split_once("\n}").map_or(route, |(route, _)| route);
            let route: String = route.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let (path, handlers) = route.trim_start().split_once(',').expect("a path and what serves it");
            let path = match path {
                "ROOT" => "/console",
                "password::PATH" => "/set-password",
                path => path.trim_matches('"'),
            };
            let is_known = path.starts_with("/console") || matches!(path, "/register" | "/set-password");
            assert!(is_known, "{path} in {source}: name it in full");
            let has = |method: &str| handlers.split(|char: char| !char.is_alphanumeric()).any(|word| word == method);
            for method in ["put", "patch", "delete"] {
                assert!(!has(method), "{path} takes {method}, which no form sends");
            }
            if path.contains('*') || path.starts_with("/console/assets/") {
                continue;
            }
            routes.push(Route {
                path: path.replace(":id", &id.to_string()),
                is_page: has("get"),
                takes_form: has("post"),
            });
        }
    }
    assert!(routes.iter().any(|route| route.takes_form) && !routes.iter().any(|route| route.path.contains(':')));
    routes
}

/// The paths that take a form.
pub fn forms(id: impl Display) -> Vec<String> {
    routes(id).into_iter().filter(|route| route.takes_form).map(|route| route.path).collect()
}

/// The paths that show a page.
pub fn pages(id: impl Display) -> Vec<String> {
    routes(id).into_iter().filter(|route| route.is_page).map(|route| route.path).collect()
}

/// What forms ask for, so that each would do something if it were taken.
pub fn fields(of: &User) -> Vec<(&'static str, String)> {
    let fields = [
        ("email", "mallory@evil.example"),
        ("username", "mallory"),
        ("full_name", "Mallory"),
        ("password", "what mallory knows"),
        ("current_password", &of.password),
        ("admin_password", &of.password),
        ("next", "/console"),
        ("hours", "1"),
        ("duration_hours", "1"),
        ("scope", "full"),
        ("amount", "100.00"),
        ("reason", "because"),
        ("name", "mallory's"),
        ("confirm", "yes"),
    ];
    fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// All that the console can change, in a few words: equal where nothing has changed.
pub async fn state(stack: &Stack) -> String {
    let tables =
        ["users", "transactions", "access_tokens", "payments", "bundles", "password_links", "ended_jwts", "audit_logs"];
    let sum = |table: &str| {
        format!(
            "SELECT '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t"
        )
    };
    stack.control.database.query(&tables.map(sum).join(" UNION ALL ")).await.expect("rows")
}
