//! What becomes of an answer's body: whether it is rewritten, and from which coding to which.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::rewrite::{
    coding::Coding,
    http::{
        media::{self, Text},
        negotiation,
    },
};

/// Who asked, as far as it decides what becomes of an answer's body.
#[derive(Clone, Debug)]
pub struct Asker<'a> {
    /// Whether an origin is known that bodies are rewritten to.
    pub is_shown: bool,
    /// Whether codings are lost on the way to the client.
    pub drops_coding: bool,
    /// Its `Accept-Encoding`; `None` if it said nothing.
    pub accepts: Option<Cow<'a, str>>,
}

/// A body that does not pass as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The coding that it comes in.
    pub from: Option<Coding>,
    /// The coding that it leaves in.
    pub to: Option<Coding>,
    /// `None` where it is only decoded.
    pub text: Option<Text>,
}

impl Plan {
    /// The plan for an answer by its head; `None` if it passes untouched.
    pub fn of(status: StatusCode, headers: &HeaderMap, asker: &Asker<'_>) -> Option<Self> {
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            && !status.is_informational()
            && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length != "0");
        // Part of a text cannot be rewritten: where a range begins and ends counts the upstream's
        // own bytes.
        if !has_body || status == StatusCode::PARTIAL_CONTENT {
            return None;
        }
        let text = text(headers).filter(|_| asker.is_shown);
        let from = match joined(headers, &header::CONTENT_ENCODING).as_deref().map(str::trim) {
            None | Some("") => None,
            Some(name) if name.eq_ignore_ascii_case("identity") => None,
            // One that is not known, or several, cannot be looked into.
            Some(name) => Some(Coding::named(name)?),
        };
        let accepted = |coding: &Coding| negotiation::accepts(asker.accepts.as_deref(), *coding);
        let to = from.filter(|_| !asker.drops_coding).map(|coding| match coding {
            // Servers and clients differ in what they take `deflate` for.
            Coding::Deflate => Coding::Gzip,
            coding => coding,
        });
        let to = to.filter(accepted);
        (text.is_some() || from.is_some() && asker.drops_coding).then_some(Self { from, to, text })
    }
}

/// How a body is to be read by its type; `None` if it is no text.
pub fn text(headers: &HeaderMap) -> Option<Text> {
    media::text(headers.get(header::CONTENT_TYPE)?.to_str().ok()?)
}

/// The lines of a header as one, but for those that are no text; `None` if there is none.
pub fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |joined, line| format!("{joined}, {line}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(status: u16, headers: &[(HeaderName, &'static str)], asker: &Asker<'_>) -> Option<Plan> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        Plan::of(StatusCode::from_u16(status).expect("a status"), &headers, asker)
    }

    fn browser(accepts: &str) -> Asker<'_> {
        Asker { is_shown: true, drops_coding: false, accepts: Some(accepts.into()) }
    }

    const HTML: (HeaderName, &str) = (header::CONTENT_TYPE, "text/html");
    const PNG: (HeaderName, &str) = (header::CONTENT_TYPE, "image/png");

    #[test]
    fn text_is_rewritten_in_a_coding_that_the_client_accepts() {
        for (comes, accepts, leaves) in [
            ("gzip", "gzip, br", Some(Coding::Gzip)),
            ("BR", "gzip, br", Some(Coding::Brotli)),
            ("zstd", "zstd", Some(Coding::Zstd)),
            ("gzip", "br", None),
            ("deflate", "gzip, deflate", Some(Coding::Gzip)),
            ("deflate", "deflate", None),
            ("identity", "gzip", None),
        ] {
            let plan = plan(200, &[HTML, (header::CONTENT_ENCODING, comes)], &browser(accepts)).expect(comes);
            assert_eq!((plan.text, plan.to), (Some(Text::Html), leaves), "{comes} for {accepts}");
        }
    }

    #[test]
    fn what_is_no_text_has_no_body_or_cannot_be_looked_into_passes_untouched() {
        let browser = browser("gzip");
        assert_eq!(plan(200, &[PNG, (header::CONTENT_ENCODING, "gzip")], &browser), None);
        for status in [101, 103, 204, 206, 304] {
            assert_eq!(plan(status, &[HTML], &browser), None, "{status}");
        }
        assert_eq!(plan(200, &[HTML, (header::CONTENT_LENGTH, "0")], &browser), None);
        for coding in ["compress", "gzip, gzip", "dcb"] {
            assert_eq!(plan(200, &[HTML, (header::CONTENT_ENCODING, coding)], &browser), None, "{coding}");
        }
        assert!(plan(404, &[HTML], &browser).is_some());
        assert!(plan(416, &[HTML], &browser).is_some());
    }

    #[test]
    fn callers_that_lose_the_coding_get_none_whatever_the_type() {
        let client = Asker { is_shown: false, drops_coding: true, accepts: Some("gzip".into()) };
        assert_eq!(plan(200, &[HTML], &client), None);
        for kind in [HTML, PNG] {
            let decoded = plan(200, &[kind, (header::CONTENT_ENCODING, "gzip")], &client);
            assert_eq!(decoded, Some(Plan { from: Some(Coding::Gzip), to: None, text: None }));
        }
        let shown = Asker { is_shown: true, ..client };
        let rewritten = plan(200, &[HTML, (header::CONTENT_ENCODING, "br")], &shown);
        assert_eq!(rewritten, Some(Plan { from: Some(Coding::Brotli), to: None, text: Some(Text::Html) }));
    }
}
