//! How text spells an origin, and what each spelling becomes. Whole origins only: what follows must
//! end a host and port.

use std::collections::BTreeSet;

use super::{
    escapes::{LONGEST_ENTITY, Unit, unit},
    finder::Finder,
};
use crate::origin::Origin;

/// How a spelling writes a slash and a colon.
struct Style {
    slash: &'static str,
    colon: &'static str,
}

/// Plain, JSON's two, percent-encoded, and HTML's three. Beside its own colon each may have a plain
/// one.
const STYLES: [Style; 7] = [
    Style { slash: "/", colon: ":" },
    Style { slash: "\\/", colon: ":" },
    Style { slash: "\\u002f", colon: "\\u003a" },
    Style { slash: "%2f", colon: "%3a" },
    Style { slash: "&#x2f;", colon: "&#x3a;" },
    Style { slash: "&#47;", colon: "&#58;" },
    Style { slash: "&sol;", colon: "&colon;" },
];
const PERCENT: &str = "%2f";

/// The schemes, and whether each is a WebSocket's; the longer of two that begin alike comes first.
const SCHEMES: [(&str, bool); 4] = [("https", false), ("http", false), ("wss", true), ("ws", true)];

/// How many bytes before a spelling decide whether it is one.
pub const CONTEXT: usize = 8;

/// How many of the bytes before a host are looked for together with its first: seldom found in
/// vain, and few enough for SIMD.
const BEFORE_HOST: usize = 3;

/// What stands before a host.
#[derive(Clone, Debug)]
struct Prefix {
    /// In lower case.
    text: String,
    /// `None` where only slashes stand there; whether it is a WebSocket's otherwise.
    is_socket: Option<bool>,
    /// What it becomes before a host that is shown over HTTP, and over HTTPS.
    written: [String; 2],
    /// Whether the host after it is percent-encoded as well.
    is_escaped: bool,
}

/// One spelling of a host, and the ports that may follow it.
#[derive(Clone, Debug)]
struct Host {
    /// In lower case.
    text: String,
    port: u16,
    may_be_bare: bool,
}

/// Every spelling of some origins.
#[derive(Debug)]
pub struct OriginPatterns {
    /// The longest first.
    hosts: Vec<Host>,
    /// The longest first.
    prefixes: Vec<Prefix>,
    /// Finds where a prefix ends and a host may begin.
    finder: Finder,
    /// Of each joint the prefixes that may end there, the longest first.
    ending: Vec<Vec<usize>>,
    longest: usize,
}

/// A spelling that was found: where it is, and how it was spelled.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    prefix: usize,
}

/// What a look at a text that goes on finds.
#[derive(Clone, Copy)]
enum Look {
    Found(Found),
    /// Nothing before this; what follows it may yet become a spelling. The text's length if nothing
    /// can.
    Nothing(usize),
}

/// How far a text was rewritten.
pub(super) struct Passed {
    /// What follows this place may yet become a spelling.
    pub until: usize,
    /// What the text up to there became; empty if nothing was replaced.
    pub out: Vec<u8>,
    pub replaced: u64,
}

impl OriginPatterns {
    /// The spellings of these origins.
    pub fn of(origins: &[Origin]) -> Self {
        let mut hosts: Vec<Host> = origins.iter().flat_map(host_spellings).collect();
        hosts.sort_by_key(|host| std::cmp::Reverse(host.text.len()));
        let prefixes = prefixes();
        let joints: Vec<Vec<u8>> = joints(&prefixes, &hosts).into_iter().collect();
        let ending = joints.iter().map(|joint| ending_at(joint, &prefixes)).collect();
        let finder = Finder::new(&joints);
        let longest_of = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
        let longest = longest_of(&mut prefixes.iter().map(|prefix| prefix.text.len()))
            + longest_of(&mut hosts.iter().map(|host| host.text.len()));
        Self { hosts, prefixes, finder, ending, longest }
    }

    /// The length of the longest spelling, with what must be seen after it, in bytes: no more is
    /// ever held back.
    pub fn longest(&self) -> usize {
        self.longest + 2 * LONGEST_ENTITY + "65535".len()
    }

    /// Finds the first spelling in `text` at or after `from`; `before` are the bytes that came
    /// before `text`. `is_end`: nothing follows.
    fn look(&self, before: &[u8], text: &[u8], from: usize, is_end: bool) -> Look {
        let mut at = from;
        while let Some(joint) = self.finder.find(text, at) {
            at = joint.start + 1;
            let begin = joint.end - 1;
            let Some(host) = self.host_at(text, begin) else { continue };
            let ending = &self.ending[joint.index];
            let Some((start, prefix)) = self.prefix_before(ending, before, &text[..begin], from) else { continue };
            match self.end_of(text, begin + host.len(), is_end) {
                Some(Some((end, port))) if self.is_of_port(host, port) => {
                    return Look::Found(Found { start, end, prefix });
                }
                Some(_) => {}
                None => return Look::Nothing(start),
            }
        }
        Look::Nothing(if is_end { text.len() } else { self.begin_of_partial(before, text, from) })
    }

    /// Whether this is a host of one of the origins, with its port where it must be named, as
    /// headers write it.
    pub fn has_authority(&self, text: &str) -> bool {
        self.hosts.iter().any(|host| match after(text, &host.text) {
            Some("") => host.may_be_bare,
            Some(rest) => rest.strip_prefix(':').is_some_and(|port| port.parse() == Ok(host.port)),
            None => false,
        })
    }

    /// A whole text with every spelling rewritten; `None` if there is none.
    pub fn rewrite(&self, text: &[u8], shown: &Origin) -> Option<Vec<u8>> {
        self.rewrite_after(b"", text, shown)
    }

    /// The end of a text, after `before`, with every spelling rewritten; `None` if there is none.
    pub fn rewrite_after(&self, before: &[u8], text: &[u8], shown: &Origin) -> Option<Vec<u8>> {
        let Passed { out, replaced, .. } = self.pass(before, text, true, shown);
        (replaced > 0).then_some(out)
    }

    /// Rewrites what of a text can be decided; for `before`, `text` and `is_end` see
    /// [`OriginPatterns::look`].
    pub(super) fn pass(&self, before: &[u8], text: &[u8], is_end: bool, shown: &Origin) -> Passed {
        let (mut out, mut from, mut replaced) = (Vec::new(), 0, 0);
        loop {
            match self.look(before, text, from, is_end) {
                Look::Found(found) => {
                    if replaced == 0 {
                        // What is shown may be longer than what it stands for, but seldom by much
                        // in all.
                        out.reserve(text.len() + text.len() / 8);
                    }
                    out.extend_from_slice(&text[from..found.start]);
                    self.write(found, shown, &mut out);
                    from = found.end;
                    replaced += 1;
                }
                Look::Nothing(until) => {
                    if replaced > 0 {
                        out.extend_from_slice(&text[from..until]);
                    }
                    return Passed { until, out, replaced };
                }
            }
        }
    }

    /// Writes what a found spelling becomes under `shown`.
    fn write(&self, found: Found, shown: &Origin, out: &mut Vec<u8>) {
        let authority = shown.authority();
        let Prefix { written, is_escaped, .. } = &self.prefixes[found.prefix];
        out.extend_from_slice(written[usize::from(shown.is_https())].as_bytes());
        if *is_escaped {
            let escaped = authority.replace(':', "%3A").replace('[', "%5B").replace(']', "%5D");
            out.extend_from_slice(escaped.as_bytes());
        } else {
            out.extend_from_slice(authority.as_bytes());
        }
    }

    /// Where the spelling begins whose host follows `head`, and which of these prefixes it has.
    fn prefix_before(&self, of: &[usize], before: &[u8], head: &[u8], from: usize) -> Option<(usize, usize)> {
        let ends_with = |&&index: &&usize| {
            let prefix = self.prefixes[index].text.as_bytes();
            head.len() >= from + prefix.len() && head[head.len() - prefix.len()..].eq_ignore_ascii_case(prefix)
        };
        let index = *of.iter().find(ends_with)?;
        let prefix = &self.prefixes[index];
        let start = head.len() - prefix.text.len();
        (prefix.is_socket.is_some() || may_begin(&context(before, &head[..start]))).then_some((start, index))
    }

    /// Where host and port end, and which port is named: `Some(None)` if they go on, `None` if that
    /// cannot be said yet.
    fn end_of(&self, text: &[u8], host_end: usize, is_end: bool) -> Option<Option<(usize, Option<u16>)>> {
        let stops_at = |at: usize| match unit(text, at, is_end)? {
            Unit::End => Some(true),
            Unit::Char(char, _) => Some(!(is_of_host(char) || matches!(char, '@' | ':'))),
        };
        // A full stop that ends a sentence ends an origin, too.
        let ends_at = |at: usize| match unit(text, at, is_end)? {
            Unit::Char('.', length) => stops_at(at + length),
            _ => stops_at(at),
        };
        Some(match unit(text, host_end, is_end)? {
            Unit::End => Some((host_end, None)),
            Unit::Char(':', length) => {
                let digits = &text[host_end + length..];
                let count = digits.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
                let port_end = host_end + length + count;
                if count == digits.len() && count < 6 && !is_end {
                    return None;
                }
                let is_over = ends_at(port_end)?;
                let port = std::str::from_utf8(&digits[..count]).ok().and_then(|digits| digits.parse().ok());
                match (is_over, count) {
                    // A colon of the sentence, not of the origin.
                    (true, 0) => Some((host_end, None)),
                    (true, _) => port.map(|port| (port_end, Some(port))),
                    (false, _) => None,
                }
            }
            Unit::Char(..) => ends_at(host_end)?.then_some((host_end, None)),
        })
    }

    /// The longest host that stands there.
    fn host_at<'a>(&self, text: &'a [u8], begin: usize) -> Option<&'a [u8]> {
        let mut standing =
            self.hosts.iter().filter_map(|known| text.get(begin..begin + known.text.len()).zip(Some(known)));
        standing.find(|(host, known)| host.eq_ignore_ascii_case(known.text.as_bytes())).map(|(host, _)| host)
    }

    fn is_of_port(&self, host: &[u8], port: Option<u16>) -> bool {
        let mut named = self.hosts.iter().filter(|known| known.text.as_bytes().eq_ignore_ascii_case(host));
        named.any(|known| port.map_or(known.may_be_bare, |port| port == known.port))
    }

    /// Where a spelling may begin whose end is not there yet; the text's length if nowhere.
    fn begin_of_partial(&self, before: &[u8], text: &[u8], from: usize) -> usize {
        let earliest = from.max(text.len().saturating_sub(self.longest));
        let begins = |&at: &usize| {
            // The first of every prefix.
            matches!(text[at], b'h' | b'H' | b'w' | b'W' | b'/' | b'\\' | b'%' | b'&')
                && self.may_become(&text[at..])
                && {
                    let is_relative = !text[at].is_ascii_alphabetic();
                    !is_relative || may_begin(&context(before, &text[..at]))
                }
        };
        (earliest..text.len()).find(begins).unwrap_or(text.len())
    }

    /// Whether more bytes can make this a prefix and a host.
    fn may_become(&self, tail: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| {
            let prefix = prefix.text.as_bytes();
            match tail.get(prefix.len()..) {
                None => prefix[..tail.len()].eq_ignore_ascii_case(tail),
                Some(host) => {
                    tail[..prefix.len()].eq_ignore_ascii_case(prefix)
                        && self.hosts.iter().any(|known| {
                            let known = known.text.as_bytes();
                            host.len() < known.len() && known[..host.len()].eq_ignore_ascii_case(host)
                        })
                }
            }
        })
    }
}

/// What follows `start`, whatever its case.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

fn prefixes() -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    for Style { slash, colon } in &STYLES {
        let slashes = slash.repeat(2);
        // Hex in escapes is written in capitals (RFC 3986, 2.1).
        let upper = |text: &str| if *slash == PERCENT { text.to_ascii_uppercase() } else { text.to_owned() };
        let colons: &[&'static str] = if *colon == ":" { &[":"] } else { &[colon, ":"] };
        for (scheme, is_socket) in SCHEMES {
            for colon in colons {
                let text = format!("{scheme}{colon}{slashes}");
                let written = if is_socket { ["ws", "wss"] } else { ["http", "https"] };
                let written = written.map(|scheme| format!("{scheme}{}", upper(&format!("{colon}{slashes}"))));
                let is_escaped = *slash == PERCENT && *colon != ":";
                prefixes.push(Prefix { text, is_socket: Some(is_socket), written, is_escaped });
            }
        }
        let written = [upper(&slashes), upper(&slashes)];
        prefixes.push(Prefix { text: slashes, is_socket: None, written, is_escaped: *slash == PERCENT });
    }
    // The longest that fits is the right one: `https://`, not `//`.
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.text.len()));
    prefixes
}

/// The last bytes of each prefix with the first of each host, in every case.
fn joints(prefixes: &[Prefix], hosts: &[Host]) -> BTreeSet<Vec<u8>> {
    let tails = prefixes.iter().map(|prefix| &prefix.text.as_bytes()[prefix.text.len().saturating_sub(BEFORE_HOST)..]);
    let tails: BTreeSet<&[u8]> =
        tails.filter(|tail| tail.len() == BEFORE_HOST && !tail.ends_with(b"//")).chain([&b"//"[..]]).collect();
    let joined =
        tails.into_iter().flat_map(|tail| hosts.iter().map(move |host| [tail, &host.text.as_bytes()[..1]].concat()));
    joined.flat_map(|joint| cases(&joint)).collect()
}

/// The prefixes that end where this joint's host begins.
fn ending_at(joint: &[u8], prefixes: &[Prefix]) -> Vec<usize> {
    let tail = joint[..joint.len() - 1].to_ascii_lowercase();
    (0..prefixes.len()).filter(|&index| prefixes[index].text.as_bytes().ends_with(&tail)).collect()
}

/// A text of lower case in all its cases.
pub(super) fn cases(text: &[u8]) -> Vec<Vec<u8>> {
    text.iter().fold(vec![Vec::new()], |begun, &byte| {
        let next = BTreeSet::from([byte, byte.to_ascii_uppercase()]);
        begun.iter().flat_map(|begun| next.iter().map(move |&byte| [&begun[..], &[byte]].concat())).collect()
    })
}

fn host_spellings(origin: &Origin) -> Vec<Host> {
    let may_be_bare = origin.port() == if origin.is_https() { 443 } else { 80 };
    let host = |text: String| Host { text, port: origin.port(), may_be_bare };
    let plain = origin.host().to_ascii_lowercase();
    if !plain.contains(':') {
        return vec![host(plain)];
    }
    let escaped = format!("%5b{}%5d", plain.replace(':', "%3a"));
    vec![host(format!("[{plain}]")), host(format!("%5b{plain}%5d")), host(escaped)]
}

/// Whether a host may go on with it.
fn is_of_host(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.') || !char.is_ascii()
}

/// The last bytes before a place.
fn context(before: &[u8], text: &[u8]) -> Vec<u8> {
    let missing = CONTEXT.saturating_sub(text.len()).min(before.len());
    [&before[before.len() - missing..], &text[text.len().saturating_sub(CONTEXT)..]].concat()
}

/// Whether slashes after this may begin an origin: not after a scheme of another kind (`ftp:`), nor
/// within a path.
fn may_begin(context: &[u8]) -> bool {
    let lower = context.to_ascii_lowercase();
    if STYLES.iter().any(|style| lower.ends_with(style.slash.as_bytes()) || lower.ends_with(style.colon.as_bytes())) {
        return false;
    }
    if let [.., b'%', high, low] = lower[..]
        && high.is_ascii_hexdigit()
        && low.is_ascii_hexdigit()
    {
        return true;
    }
    lower.last().is_none_or(|&byte| !(is_of_host(char::from(byte)) || matches!(byte, b'~' | b'\\' | b'@')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| text.parse().expect("an origin")).collect()
    }

    fn rewritten(upstreams: &[&str], shown: &str, text: &str) -> String {
        let shown: Origin = shown.parse().expect("an origin");
        let out = OriginPatterns::of(&origins(upstreams)).rewrite(text.as_bytes(), &shown);
        out.map_or_else(|| text.to_owned(), |out| String::from_utf8(out).expect("text stays text"))
    }

    #[test]
    fn every_spelling_of_the_upstream_becomes_the_same_spelling_of_what_is_shown() {
        let spelled = |text| rewritten(&["https://zenzefi.local"], "https://gateway.example:8000", text);
        for (text, becomes) in [
            ("https://zenzefi.local/a", "https://gateway.example:8000/a"),
            ("http://zenzefi.local", "https://gateway.example:8000"),
            ("wss://ZENZEFI.Local/ws", "wss://gateway.example:8000/ws"),
            ("ws://zenzefi.local:443/ws", "wss://gateway.example:8000/ws"),
            ("at https://zenzefi.local:443.", "at https://gateway.example:8000."),
            ("\"//zenzefi.local/a\"", "\"//gateway.example:8000/a\""),
            ("https:\\/\\/zenzefi.local\\/a", "https:\\/\\/gateway.example:8000\\/a"),
            ("\"\\/\\/zenzefi.local\\/a", "\"\\/\\/gateway.example:8000\\/a"),
            ("https\\u003A\\u002F\\u002Fzenzefi.local", "https\\u003a\\u002f\\u002fgateway.example:8000"),
            ("to=https%3A%2F%2Fzenzefi.local%2Fa", "to=https%3A%2F%2Fgateway.example%3A8000%2Fa"),
            ("to=https%3a%2f%2fzenzefi.local%3a443%2fa", "to=https%3A%2F%2Fgateway.example%3A8000%2fa"),
            ("to=https:%2F%2Fzenzefi.local:443", "to=https:%2F%2Fgateway.example:8000"),
            ("https:&#x2F;&#x2F;zenzefi.local&#x2F;", "https:&#x2f;&#x2f;gateway.example:8000&#x2F;"),
            ("https&#58;&#47;&#47;zenzefi.local", "https&#58;&#47;&#47;gateway.example:8000"),
            ("https:&sol;&sol;zenzefi.local&quot;", "https:&sol;&sol;gateway.example:8000&quot;"),
            (
                "See https://zenzefi.local. Or https://zenzefi.local: both",
                "See https://gateway.example:8000. Or https://gateway.example:8000: both",
            ),
            ("(https://zenzefi.local)", "(https://gateway.example:8000)"),
            ("https://zenzefi.localhttps://zenzefi.local", "https://zenzefi.localhttps://gateway.example:8000"),
        ] {
            assert_eq!(spelled(text), becomes);
        }
    }

    #[test]
    fn another_host_or_port_stays_as_it_is() {
        for text in [
            "https://zenzefi.local.evil.com/",
            "https://zenzefi.local%2Eevil.com/",
            "https://zenzefi.local&#46;evil.com/",
            "https://zenzefi.local\\u002eevil.com/",
            "https://my-zenzefi.local/",
            "https://zenzefi.local-2/",
            "https://zenzefi.local:8444/",
            "https://zenzefi.local:4433/",
            "https://zenzefi.local:443x/",
            "https://zenzefi.local@evil.com/",
            "https://zenzefi.local:443@evil.com/",
            "https://zenzefi.local:secret@evil.com/",
            "https://user@zenzefi.local/",
            "ftp://zenzefi.local/",
            "https://cdn.example//zenzefi.local/a.js",
            "zenzefi.local",
            "https://zenzefi.localé/",
        ] {
            assert_eq!(rewritten(&["https://zenzefi.local"], "https://gateway.example", text), text);
        }
    }

    #[test]
    fn a_port_of_its_own_is_needed_where_the_upstream_has_one() {
        let spelled = |text| rewritten(&["https://zenzefi.local:8443"], "http://127.0.0.1:8000", text);
        assert_eq!(spelled("https://zenzefi.local:8443/a"), "http://127.0.0.1:8000/a");
        assert_eq!(spelled("wss%3A%2F%2Fzenzefi.local%3A8443"), "ws%3A%2F%2F127.0.0.1%3A8000");
        assert_eq!(spelled("https://zenzefi.local/a"), "https://zenzefi.local/a");
    }

    #[test]
    fn several_upstreams_and_addresses_are_found() {
        let upstreams =
            ["https://zenzefi.local", "https://zenzefi.local.corp", "https://[fd00::1]:8443", "http://10.0.0.5"];
        let spelled = |text| rewritten(&upstreams, "https://[::1]:9", text);
        assert_eq!(spelled("https://zenzefi.local.corp/a"), "https://[::1]:9/a");
        assert_eq!(spelled("https://zenzefi.local/a"), "https://[::1]:9/a");
        assert_eq!(spelled("https://[FD00::1]:8443/a"), "https://[::1]:9/a");
        assert_eq!(spelled("https%3A%2F%2F%5Bfd00%3A%3A1%5D%3A8443/a"), "https%3A%2F%2F%5B%3A%3A1%5D%3A9/a");
        assert_eq!(spelled("http://10.0.0.5/a http://10.0.0.50/"), "https://[::1]:9/a http://10.0.0.50/");
    }
}
