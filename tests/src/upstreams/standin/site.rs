//! The small web application: what a browser sees of the stand-in. Part of it names its own server
//! in full, as applications do that were never meant to stand behind a proxy.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{
    answer::{self, Answer},
    asked::Origin,
};

const SCRIPT: &str = include_str!("site/absolute.js");
const STYLES: &str = include_str!("site/absolute.css");

/// Headers of the first page that name the server. Its policy names it alone, in three ways:
/// nothing is loaded from elsewhere.
const HEADERS: [(&str, &str); 3] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src {{origin}}; style-src {{authority}}; img-src {{origin}}; manifest-src {{origin}}; \
         connect-src {{origin}} {{socket_origin}}; form-action {{origin}}",
    ),
    ("link", "<{{origin}}/assets/badge.png>; rel=preload; as=image"),
    ("set-cookie", "zenzefi_visited=yes; Domain={{host}}; Path=/"),
];

/// Answers a page or an asset; `None` where there is none.
pub fn answer(path: &str, origin: &Origin) -> Option<Answer> {
    let text = |media_type, text: &str| answer::ok(media_type, fill_in(text, origin));
    Some(match path {
        "/" => {
            let mut page = text("text/html; charset=utf-8", include_str!("site/index.html"));
            for (name, value) in HEADERS {
                let value = HeaderValue::from_str(&fill_in(value, origin)).ok()?;
                page.headers_mut().append(HeaderName::from_static(name), value);
            }
            page
        }
        "/page" => text("text/html; charset=utf-8", include_str!("site/page.html")),
        "/manifest.webmanifest" => text("application/manifest+json", include_str!("site/manifest.webmanifest")),
        "/assets/site.css" => text("text/css; charset=utf-8", include_str!("site/site.css")),
        "/assets/site.js" => text("text/javascript; charset=utf-8", include_str!("site/site.js")),
        "/assets/absolute.css" => text("text/css; charset=utf-8", STYLES),
        "/assets/absolute.js" => text("text/javascript; charset=utf-8", SCRIPT),
        "/assets/links.json" => text("application/json", include_str!("site/links.json")),
        "/assets/site.js.map" => text("application/json", r#"{"version":3,"sources":["site.js"],"mappings":""}"#),
        "/assets/logo.svg" => text("image/svg+xml", include_str!("site/logo.svg")),
        "/assets/badge.png" => answer::ok("image/png", &include_bytes!("site/badge.png")[..]),
        "/favicon.ico" => answer::ok("image/png", &include_bytes!("site/badge.png")[..]),
        _ => return None,
    })
}

/// Puts the server's own origin, as the request named it, where text has a mark for it.
pub fn fill_in(text: &str, origin: &Origin) -> String {
    let named = |text: &str| {
        text.replace("{{origin}}", &origin.url(""))
            .replace("{{socket_origin}}", &origin.socket_url())
            .replace("{{escaped_origin}}", &origin.url("").replace('/', "\\/"))
            .replace("{{authority}}", &origin.authority)
            .replace("{{encoded_authority}}", &origin.authority.replace(':', "%3A"))
            .replace("{{host}}", origin.host())
    };
    let integrity = |text: &str| format!("sha256-{}", STANDARD.encode(Sha256::digest(named(text))));
    named(text)
        .replace("{{integrity of absolute.js}}", &integrity(SCRIPT))
        .replace("{{integrity of absolute.css}}", &integrity(STYLES))
}
