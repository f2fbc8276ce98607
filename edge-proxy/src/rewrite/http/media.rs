//! Which media types are text that may name an origin.

use encoding_rs::Encoding;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Its scripts and styles may stand under an `integrity`.
    Html,
    Other,
}

/// Types that are text although they are called `application`; any with `+json` or `+xml` at the
/// end is, too.
const APPLICATION: [&str; 11] = [
    "ecmascript",
    "javascript",
    "json",
    "json-seq",
    "jsonl",
    "ndjson",
    "x-javascript",
    "x-json",
    "x-ndjson",
    "x-source-map",
    "xml",
];

/// Reads a `Content-Type`: `None` for what is no text, or in a charset in which ASCII is not
/// spelled as ASCII.
pub fn text(content_type: &str) -> Option<Text> {
    let mut parts = content_type.split(';');
    let (kind, subtype) = parts.next().unwrap_or_default().trim().split_once('/')?;
    let is = |named: &str, known: &str| named.eq_ignore_ascii_case(known);
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    let is_text = is(kind, "text")
        || ["json", "xml"].iter().any(|known| is(suffix, known))
        || is(kind, "application") && APPLICATION.iter().any(|known| is(subtype, known));
    let mut parameters = parts.filter_map(|parameter| parameter.split_once('='));
    let charset = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let is_ascii_compatible = charset.is_none_or(|(_, label)| {
        let label = label.trim().trim_matches('"');
        Encoding::for_label(label.as_bytes()).is_some_and(Encoding::is_ascii_compatible)
    });
    let text = if is(kind, "text") && is(subtype, "html") { Text::Html } else { Text::Other };
    (is_text && is_ascii_compatible).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_known_by_its_type() {
        assert_eq!(text("Text/HTML; charset=\"utf-8\""), Some(Text::Html));
        for other in [
            "text/css",
            "text/event-stream",
            "text/plain;charset=windows-1251",
            "text/javascript",
            "application/javascript; charset=UTF-8",
            "application/json",
            "application/manifest+json",
            "application/problem+json",
            "application/xhtml+xml",
            "application/xml",
            "image/svg+xml",
            "application/x-ndjson",
            "text/xml; charset=Shift_JIS",
        ] {
            assert_eq!(text(other), Some(Text::Other), "{other}");
        }
    }

    #[test]
    fn what_is_no_text_or_not_spelled_in_ascii_is_left_alone() {
        for other in [
            "",
            "text",
            "image/png",
            "application/octet-stream",
            "application/pdf",
            "application/wasm",
            "application/x-pkcs12",
            "multipart/mixed; boundary=x",
            "text/html; charset=utf-16",
            "text/html; charset=UTF-16LE",
            "text/plain; charset=utf-32",
            "text/plain; charset=iso-2022-jp",
            "text/plain; charset=utf-7",
        ] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
