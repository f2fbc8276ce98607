//! The small web application: what a browser sees of the stand-in.

use super::{
    answer::{self, Answer},
    route::Origin,
};

/// Stands in the pages for the server's own origin, `https://host:port`.
const ORIGIN_MARK: &str = "{{origin}}";
/// Stands in the pages for the server's own host and port.
const AUTHORITY_MARK: &str = "{{authority}}";

/// Answers a page or an asset; `None` where there is none.
pub fn answer(path: &str, origin: &Origin) -> Option<Answer> {
    let text = |media_type, text: &str| {
        let text = text.replace(ORIGIN_MARK, &origin.url("")).replace(AUTHORITY_MARK, &origin.authority);
        answer::ok(media_type, text)
    };
    Some(match path {
        "/" => text("text/html; charset=utf-8", include_str!("site/index.html")),
        "/page" => text("text/html; charset=utf-8", include_str!("site/page.html")),
        "/assets/site.css" => text("text/css; charset=utf-8", include_str!("site/site.css")),
        "/assets/site.js" => text("text/javascript; charset=utf-8", include_str!("site/site.js")),
        "/assets/absolute.js" => text("text/javascript; charset=utf-8", include_str!("site/absolute.js")),
        "/assets/site.js.map" => text("application/json", r#"{"version":3,"sources":["site.js"],"mappings":""}"#),
        "/assets/logo.svg" => text("image/svg+xml", include_str!("site/logo.svg")),
        "/assets/badge.png" => answer::ok("image/png", &include_bytes!("site/badge.png")[..]),
        "/favicon.ico" => answer::ok("image/png", &include_bytes!("site/badge.png")[..]),
        _ => return None,
    })
}
