//! What the pages load: one stylesheet, one small script of ours, htmx, an icon. Their addresses
//! name what is in them, so that a browser may keep them for good.

use poem::{
    Response,
    http::{StatusCode, header},
};
use sha2::{Digest, Sha256};

const SCRIPT: &str = include_str!("../assets/console/console.js");
/// As published on npm in `htmx.org` 2.0.6 (0BSD; its licence is beside it).
const HTMX: &str = include_str!("../assets/console/htmx.min.js");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The assets, and what stands in their addresses.
pub struct Assets {
    style: String,
    version: String,
}

impl Assets {
    pub fn new() -> Self {
        let style = format!("{}{}", shared::web::style::STYLESHEET, include_str!("../assets/console/console.css"));
        let digest = [style.as_str(), SCRIPT, HTMX, shared::web::style::ICON]
            .iter()
            .fold(Sha256::new(), |digest, text| digest.chain_update(text));
        Self { style, version: hex::encode(&digest.finalize()[..6]) }
    }

    /// The address of the asset of this name.
    pub fn address(&self, name: &str) -> String {
        format!("/console/assets/{name}?v={}", self.version)
    }

    /// The asset of this name, to be kept for good if the address names its present content.
    pub fn answer(&self, name: &str, query: &str) -> Response {
        let (content_type, text) = match name {
            "console.css" => ("text/css; charset=utf-8", self.style.clone()),
            "console.js" => (JAVASCRIPT, SCRIPT.to_owned()),
            "icon.svg" => ("image/svg+xml", shared::web::style::ICON.to_owned()),
            "htmx.js" => (JAVASCRIPT, HTMX.to_owned()),
            _ => return Response::builder().status(StatusCode::NOT_FOUND).finish(),
        };
        let is_named = query.strip_prefix("v=") == Some(&self.version);
        let cached = if is_named { "public, max-age=31536000, immutable" } else { "no-cache" };
        Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, cached)
            .header("cross-origin-resource-policy", "same-origin")
            .body(text)
    }
}
