//! What pages load besides themselves, each named by its content, so that a browser keeps it until
//! it changes.

use bytes::Bytes;
use shared::{token::credential::Digest, web::style};

use crate::rewrite::html::script;

/// Of a digest in hex: enough to tell contents apart.
const VERSION_CHARS: usize = 16;

/// A text that pages load.
#[derive(Debug)]
pub struct Asset {
    pub content_type: &'static str,
    pub body: Bytes,
    path: &'static str,
    version: String,
}

/// All of them.
#[derive(Debug)]
pub struct Assets {
    /// How the gateway's own pages look.
    pub style: Asset,
    pub icon: Asset,
    /// Tells on a page of the upstream how much time is left.
    pub time_left: Asset,
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, body: String) -> Self {
        let version = Digest::of(body.as_bytes()).to_string().chars().take(VERSION_CHARS).collect();
        Self { content_type, body: body.into(), path, version }
    }

    /// Its path with its digest: that address has the same content for ever.
    pub fn address(&self) -> String {
        format!("{}?v={}", self.path, self.version)
    }

    /// Whether a query names this content.
    pub fn is_named_by(&self, query: Option<&str>) -> bool {
        query.and_then(|query| query.strip_prefix("v=")) == Some(&self.version)
    }
}

impl Default for Assets {
    fn default() -> Self {
        let style = [style::STYLESHEET, include_str!("../../assets/style.css")].concat();
        let script = include_str!("../../assets/time-left.js").to_owned();
        Self {
            style: Asset::new("/_gateway/style.css", "text/css; charset=utf-8", style),
            icon: Asset::new("/_gateway/icon.svg", "image/svg+xml", style::ICON.to_owned()),
            time_left: Asset::new(script::SCRIPT_PATH, "text/javascript; charset=utf-8", script),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_known_by_its_own_address_alone() {
        let assets = Assets::default();
        let (_, query) = assets
            .style
            .address()
            .split_once('?')
            .map(|(path, query)| (path.to_owned(), query.to_owned()))
            .expect("a query");
        assert!(assets.style.is_named_by(Some(&query)));
        assert!(!assets.time_left.is_named_by(Some(&query)));
        for other in [None, Some("v="), Some("v=0")] {
            assert!(!assets.style.is_named_by(other), "{other:?}");
        }
    }
}
