//! Puts a script of the gateway's own into a page as it streams: once, at the beginning of its
//! head, so that no `<base>` of the page says where it comes from, or before its first element
//! where no head is written. And says whether the page's policy lets it run.

use std::ops::ControlFlow::{Break, Continue};

use bytes::Bytes;

use crate::{
    origin::Origin,
    rewrite::{
        carry::after_held,
        html::markup::{At, end_of_tag, find},
    },
};

/// Where the script is, and what it asks for.
pub const SCRIPT_PATH: &str = "/_gateway/time-left.js";
const ASKED_PATH: &str = "/_gateway/time-left";

/// The longest of the names that matter, which are `html` and `head`.
const LONGEST_NAME: usize = 4;

/// The state of one HTML body between its chunks. It holds no more than the beginning of a tag
/// whose name is not known yet.
#[derive(Debug)]
pub struct Notice {
    /// What is put in; `None` once it was.
    script: Option<Bytes>,
    place: Place,
    /// The last bytes that were taken in and may begin the tag before which it is put.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Text,
    /// In a start tag, after whose end the script is put if it is that of the head.
    Tag {
        at: At,
        is_head: bool,
    },
    Comment(Comment),
    /// What ends with the next `>`: a document type, an end tag, and what is treated as a comment.
    Declaration,
}

/// Where in a comment, after `<!--`.
#[derive(Clone, Copy, Debug)]
enum Comment {
    Start,
    StartDash,
    Within,
    Dash,
    TwoDashes,
    Bang,
}

/// What a `<` begins.
enum Opening {
    /// Where to go on, and as what.
    Place(Place, usize),
    /// The script comes before it.
    Element,
    /// It is no tag at all.
    Text,
    /// More must have come to say.
    Unknown,
}

impl Notice {
    /// Puts this into one page.
    pub fn new(script: Bytes) -> Self {
        Self { script: Some(script), place: Place::Text, held: Vec::new() }
    }

    /// Takes the next chunk, and gives what can go out: uncopied but where the script is put in.
    pub fn push(&mut self, chunk: Bytes, is_end: bool) -> Bytes {
        if self.script.is_none() {
            return chunk;
        }
        let text = after_held(&mut self.held, chunk);
        let (put_at, until) = self.look(&text);
        if let Some((at, script)) = put_at.and_then(|at| Some((at, self.script.take()?))) {
            return Bytes::from([&text[..at], &script, &text[at..]].concat());
        }
        if is_end {
            return text;
        }
        self.held = text[until..].to_vec();
        text.slice(..until)
    }

    /// Reads on: where the script is put, if it is here, and otherwise up to where it was read.
    fn look(&mut self, text: &[u8]) -> (Option<usize>, usize) {
        let mut at = 0;
        loop {
            match self.place {
                Place::Text => {
                    let Some(start) = find(b'<', text, at) else { return (None, text.len()) };
                    match opening(&text[start..]) {
                        Opening::Place(place, length) => (self.place, at) = (place, start + length),
                        Opening::Element => return (Some(start), start),
                        Opening::Text => at = start + 1,
                        Opening::Unknown => return (None, start),
                    }
                }
                Place::Tag { at: within, is_head } => match end_of_tag(within, text, at) {
                    Continue((end, _)) if is_head => return (Some(end), end),
                    Continue((end, _)) => (self.place, at) = (Place::Text, end),
                    Break(within) => {
                        self.place = Place::Tag { at: within, is_head };
                        return (None, text.len());
                    }
                },
                Place::Comment(comment) => {
                    let Some(&byte) = text.get(at) else { return (None, at) };
                    self.place = comment.after(byte).map_or(Place::Text, Place::Comment);
                    at += 1;
                }
                Place::Declaration => {
                    let Some(end) = find(b'>', text, at) else { return (None, text.len()) };
                    (self.place, at) = (Place::Text, end + 1);
                }
            }
        }
    }
}

/// Reads what begins with this `<`.
fn opening(text: &[u8]) -> Opening {
    match text.get(1) {
        None => Opening::Unknown,
        Some(byte) if byte.is_ascii_alphabetic() => {
            let name = text[1..].iter().take(LONGEST_NAME + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let (is_html, is_head) = (is_name(text, name, b"html"), is_name(text, name, b"head"));
            match text.get(1 + name) {
                None if name <= LONGEST_NAME => Opening::Unknown,
                Some(byte) if (is_html || is_head) && (byte.is_ascii_whitespace() || b"/>".contains(byte)) => {
                    Opening::Place(Place::Tag { at: At::TagName, is_head }, 1 + name)
                }
                _ => Opening::Element,
            }
        }
        Some(b'!') => match text.get(2..4) {
            Some(b"--") => Opening::Place(Place::Comment(Comment::Start), 4),
            None if matches!(text.get(2), None | Some(b'-')) => Opening::Unknown,
            _ => Opening::Place(Place::Declaration, 2),
        },
        Some(b'?' | b'/') => Opening::Place(Place::Declaration, 2),
        Some(_) => Opening::Text,
    }
}

fn is_name(text: &[u8], length: usize, name: &[u8]) -> bool {
    text.get(1..=length).is_some_and(|read| read.eq_ignore_ascii_case(name))
}

impl Comment {
    /// Where the next byte leads; `None` if it ends the comment (HTML, 13.2.5.43 and after).
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Start | Self::StartDash | Self::TwoDashes | Self::Bang, b'>') => None,
            (Self::Start, b'-') => Some(Self::StartDash),
            (Self::StartDash | Self::Dash | Self::TwoDashes, b'-') => Some(Self::TwoDashes),
            (Self::Within | Self::Bang, b'-') => Some(Self::Dash),
            (Self::TwoDashes, b'!') => Some(Self::Bang),
            _ => Some(Self::Within),
        }
    }
}

/// The same line of a `Content-Security-Policy`, so that a page of this origin may run the script,
/// and the script ask for the time left. No more is added than these two addresses, for whatever
/// else the origin serves may be anybody's. `None` where the policy would be worth less then: where
/// scripts are named by a nonce or a hash, or may not run. Or where it cannot name the addresses.
pub fn policy_with_notice(line: &str, shown: &Origin) -> Option<String> {
    let policies: Option<Vec<String>> = line.split(',').map(|policy| one_with_notice(policy, shown)).collect();
    Some(policies?.join(","))
}

fn one_with_notice(policy: &str, shown: &Origin) -> Option<String> {
    let directives: Vec<Vec<&str>> =
        policy.split(';').map(|directive| directive.split_ascii_whitespace().collect()).collect();
    // Of several of a name the first counts.
    let named = |name: &&str| {
        let of_name = |directive: &&Vec<&str>| directive.first().is_some_and(|first| first.eq_ignore_ascii_case(name));
        directives.iter().find(of_name).map(|directive| &directive[1..])
    };
    let has = |sources: &[&str], wanted: &str| sources.iter().any(|source| source.eq_ignore_ascii_case(wanted));
    if named(&"sandbox").is_some_and(|flags| !has(flags, "allow-scripts") || !has(flags, "allow-same-origin")) {
        return None;
    }
    let lets_own = |sources: &[&str]| {
        ["'self'", "*", "http:"].iter().any(|wanted| has(sources, wanted)) || shown.is_https() && has(sources, "https:")
    };
    let mut added = Vec::new();
    if let Some(sources) = ["script-src-elem", "script-src", "default-src"].iter().find_map(named) {
        if has(sources, "'strict-dynamic'") {
            return None;
        }
        if !lets_own(sources) {
            let begins = ["'nonce-", "'sha256-", "'sha384-", "'sha512-"];
            let is_exact = |source: &&str| {
                begins
                    .iter()
                    .any(|begin| source.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)))
            };
            if sources.iter().any(is_exact) {
                return None;
            }
            added.push(("script-src-elem", with_address(sources, shown, SCRIPT_PATH)));
        }
    }
    if let Some(sources) = ["connect-src", "default-src"].iter().find_map(named)
        && !lets_own(sources)
    {
        let hosts: Vec<&str> = sources.iter().copied().filter(|source| !source.starts_with('\'')).collect();
        added.push(("connect-src", with_address(&hosts, shown, ASKED_PATH)));
    }
    if added.is_empty() {
        return Some(policy.to_owned());
    }
    // The grammar of policies has no IPv6.
    if shown.authority().starts_with('[') {
        return None;
    }
    let is_kept = |directive: &&str| {
        let name = directive.split_ascii_whitespace().next().unwrap_or_default();
        !name.is_empty() && !added.iter().any(|(replaced, _)| replaced.eq_ignore_ascii_case(name))
    };
    let kept = policy.split(';').filter(is_kept).map(|directive| directive.trim().to_owned());
    let added = added.iter().map(|(name, sources)| format!("{name} {sources}"));
    Some(kept.chain(added).collect::<Vec<_>>().join("; "))
}

fn with_address(sources: &[&str], shown: &Origin, path: &str) -> String {
    let address = format!("{shown}{path}");
    let others = sources.iter().copied().filter(|source| !source.eq_ignore_ascii_case("'none'"));
    others.chain([address.as_str()]).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "[script]";

    fn in_chunks(page: &str, length: usize) -> String {
        let (mut notice, mut out) = (Notice::new(Bytes::from_static(SCRIPT.as_bytes())), Vec::new());
        for chunk in page.as_bytes().chunks(length) {
            out.extend_from_slice(&notice.push(Bytes::copy_from_slice(chunk), false));
            assert!(notice.held.len() <= LONGEST_NAME + 1, "{:?} is held", notice.held);
        }
        out.extend_from_slice(&notice.push(Bytes::new(), true));
        String::from_utf8(out).expect("text stays text")
    }

    #[test]
    fn the_script_comes_first_in_the_head_or_before_the_first_element() {
        for page in [
            "<!doctype html><html lang=\"a>b\"><head data-a='>'>[script]<title>x</title></head><body>",
            "\u{feff} <!DOCTYPE html PUBLIC \"x\">\n<HTML>\n<HEAD>[script]<base href=/x>",
            "<!-- <head> --><html><!----><!--> --><head/>[script]",
            "<!--><head>[script]<p>",
            "<!--a--!><head>[script]",
            "<!-- a -- > <head> ---><head>[script]",
            "<?xml version=\"1.0\"?><html><head\n>[script]",
            "<html>[script]<header><head>",
            "<html>[script]<heading>",
            "[script]<h1>no head</h1><head>",
            "[script]<title>",
            "text first, 1 < 2 <3 [script]<b>",
            "</p><html>[script]<body onload=\"x()\">",
            "[script]<a",
        ] {
            let without = page.replace(SCRIPT, "");
            let whole = in_chunks(&without, usize::MAX);
            // A tag that never ends is none.
            let expected = if page.ends_with("<a") { without.clone() } else { page.to_owned() };
            assert_eq!(whole, expected);
            for length in 1..without.len() {
                assert_eq!(in_chunks(&without, length), expected, "in chunks of {length}");
            }
        }
    }

    #[test]
    fn what_has_no_element_stays_as_it_is() {
        for text in ["", "{\"a\": \"<\"}", "<", "<!", "<!-", "<!-- <head>", "<he", "<html", "<head", "</", "a<1"] {
            for length in 1..=text.len().max(1) {
                assert_eq!(in_chunks(text, length), text);
            }
        }
    }

    #[test]
    fn a_policy_lets_the_script_run_and_ask_and_no_more_than_it_did_otherwise() {
        const OURS: &str = "https://gateway.example/_gateway/time-left";
        let under = |shown: &str, policy| policy_with_notice(policy, &shown.parse().expect("an origin"));
        let with = |policy| under("https://gateway.example", policy);
        for same in [
            "",
            "img-src 'none'",
            "default-src 'self'",
            "default-src *; object-src 'none'",
            "script-src https:; connect-src 'self'",
            "script-src 'self' 'nonce-abc'; connect-src 'self'",
            "sandbox allow-scripts allow-same-origin",
        ] {
            assert_eq!(with(same).as_deref(), Some(same));
        }
        for (policy, becomes) in [
            (
                "default-src 'none'; img-src 'self'",
                "default-src 'none'; img-src 'self'; script-src-elem {OURS}.js; connect-src {OURS}",
            ),
            (
                "default-src https://cdn.example 'unsafe-inline'",
                "default-src https://cdn.example 'unsafe-inline'; script-src-elem https://cdn.example 'unsafe-inline' {OURS}.js; \
                 connect-src https://cdn.example {OURS}",
            ),
            (
                "script-src cdn.example; Connect-Src 'none'",
                "script-src cdn.example; script-src-elem cdn.example {OURS}.js; connect-src {OURS}",
            ),
            ("script-src 'self'; script-src-elem a.example;", "script-src 'self'; script-src-elem a.example {OURS}.js"),
            (
                "connect-src a.example, script-src 'none'",
                "connect-src a.example {OURS},script-src 'none'; script-src-elem {OURS}.js",
            ),
        ] {
            assert_eq!(with(policy), Some(becomes.replace("{OURS}", OURS)));
        }
        for exact in [
            "script-src 'nonce-abc'",
            "script-src 'sha256-abc=' https://cdn.example",
            "script-src 'self' 'strict-dynamic' 'nonce-abc'",
            "default-src 'self', script-src 'Nonce-abc'",
            "sandbox",
            "sandbox allow-scripts",
        ] {
            assert_eq!(with(exact), None, "{exact}");
        }
        assert_eq!(
            under("http://gateway.example:8080", "script-src https:").as_deref(),
            Some("script-src https:; script-src-elem https: http://gateway.example:8080/_gateway/time-left.js")
        );
        assert_eq!(under("https://[2001:db8::1]", "script-src 'self'").as_deref(), Some("script-src 'self'"));
        assert_eq!(under("https://[2001:db8::1]", "script-src 'none'"), None, "a policy cannot name it");
    }
}
