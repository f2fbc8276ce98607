//! Finds the start tags of scripts, links and bases in a stream of HTML, as a browser finds them:
//! not in comments, scripts or text areas. It steps from `<` to `<`, because a whole parser is
//! several times slower than all else that is done to a page.

use std::ops::{ControlFlow, Range};

use ControlFlow::{Break, Continue};

use crate::rewrite::html::{
    markup::{At, end_of_tag, find, is_space},
    skip,
};

/// A longer tag is passed on without a look, so that no page decides how much is held. In bytes.
pub const LONGEST_TAG: usize = 16 * 1024;
/// The longest name of an element that matters here: `foreignobject`.
const LONGEST_NAME: usize = 13;
/// How deep in each other drawings and formulas are followed.
const DEEPEST: usize = 256;

/// What a look at a text that goes on finds.
pub enum Look {
    /// The start tag of a script, a link or a base, from its `<` to after its `>`.
    Tag(Range<usize>),
    /// None before `until`, after which one may begin; the text has been read up to `read`.
    Nothing { until: usize, read: usize },
}

/// Where in a document its stream has come to.
///
/// It follows what opens and closes drawings and formulas by their tags alone. Where the tree of a
/// page that is not well formed would say otherwise, it can be wrong; a `<noscript>` is text to it,
/// as it is where scripts run.
#[derive(Debug, Default)]
pub struct Scanner {
    place: Place,
    /// What the elements around it belong to; HTML itself left out.
    within: Vec<Space>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Text,
    Tag(Open),
    /// After `<!--`.
    CommentStart,
    Comment,
    /// What ends with the next `>`: a document type, and what is no comment but is treated as one.
    Declaration,
    Cdata,
    /// In an element in which there are no tags but its own end.
    Raw(&'static [u8], Escape),
    /// After `<plaintext>`, which nothing ends.
    Plain,
}

/// A tag whose name has been read.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where it began, if it is one to be found.
    start: Option<usize>,
    at: At,
    then: Then,
}

/// What comes of a tag when it ends.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Raw(&'static [u8]),
    Plain,
    /// Unless it closes itself.
    Enter(Space),
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Html,
    Svg,
    Math,
}

/// How `<!--` and another `<script>` shield the end of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Once,
    Twice,
}

impl From<skip::Place> for Place {
    fn from(place: skip::Place) -> Self {
        match place {
            skip::Place::Text => Self::Text,
            skip::Place::Declaration => Self::Declaration,
            skip::Place::Tag(at) => Self::Tag(Open { start: None, at, then: Then::Nothing }),
        }
    }
}

/// Where to go on, or from where on all must be kept.
type Step = ControlFlow<usize, usize>;

impl Scanner {
    /// Reads on in `text`, from `from`. The next text begins where this one's [`Look::Nothing`] has
    /// `until`.
    pub fn look(&mut self, text: &[u8], from: usize) -> Look {
        let (mut at, mut next) = (from, from);
        loop {
            if matches!(self.place, Place::Text) && self.within.is_empty() {
                if next <= at {
                    next = skip::next(text, at);
                }
                if let Some(place) = skip::skip(text, at, next) {
                    (self.place, at) = (Place::from(place), next);
                }
            }
            let step = match self.place {
                Place::Text => self.text(text, at),
                Place::Tag(open) => match self.tag(open, text, at) {
                    Continue((end, Some(start))) => return Look::Tag(start..end),
                    Continue((end, None)) => Continue(end),
                    Break(until) => return Look::Nothing { until, read: text.len() },
                },
                Place::CommentStart => self.comment_start(text, at),
                Place::Comment => self.comment(text, at),
                Place::Declaration => self.until(text, at, b">"),
                Place::Cdata => self.until(text, at, b"]]>"),
                Place::Raw(name, escape) => self.raw(name, escape, text, at),
                Place::Plain => Break(text.len()),
            };
            match step {
                Continue(next) => at = next,
                Break(until) => return Look::Nothing { until, read: until },
            }
        }
    }

    fn space(&self) -> Space {
        self.within.last().copied().unwrap_or(Space::Html)
    }

    fn text(&mut self, text: &[u8], at: usize) -> Step {
        let Some(start) = find(b'<', text, at) else { return Break(text.len()) };
        match text.get(start + 1) {
            None => Break(start),
            Some(byte) if byte.is_ascii_alphabetic() => self.name(text, start, start + 1),
            Some(b'/') => match text.get(start + 2) {
                None => Break(start),
                Some(byte) if byte.is_ascii_alphabetic() => self.name(text, start, start + 2),
                Some(_) => self.go(Place::Declaration, start + 2),
            },
            Some(b'!') => match (begins_with(text, start + 2, b"--"), begins_with(text, start + 2, b"[CDATA[")) {
                (Some(true), _) => self.go(Place::CommentStart, start + 4),
                (_, Some(true)) if self.space() != Space::Html => self.go(Place::Cdata, start + 9),
                (Some(false), Some(false)) => self.go(Place::Declaration, start + 2),
                (Some(false), _) if self.space() == Space::Html => self.go(Place::Declaration, start + 2),
                _ => Break(start),
            },
            Some(b'?') => self.go(Place::Declaration, start + 2),
            Some(_) => Continue(start + 1),
        }
    }

    fn go(&mut self, place: Place, at: usize) -> Step {
        self.place = place;
        Continue(at)
    }

    /// Reads the name of a tag that begins at `start`.
    fn name(&mut self, text: &[u8], start: usize, name: usize) -> Step {
        let head = &text[name..text.len().min(name + LONGEST_NAME + 1)];
        let Some(length) = head.iter().position(|&byte| is_space(byte) || matches!(byte, b'/' | b'>')) else {
            if head.len() <= LONGEST_NAME {
                return Break(start);
            }
            return self.go(Place::Tag(Open { start: None, at: At::TagName, then: Then::Nothing }), name + head.len());
        };
        let (is_start, end) = (name == start + 1, name + length);
        let mut open = Open { start: None, at: At::BeforeName, then: Then::Nothing };
        // Nearly all tags are of other elements: this decides how fast a page is.
        if self.within.is_empty() && !(is_start && may_matter(head[0], length)) {
            return match end_of_tag(open.at, text, end) {
                Continue((end, _)) => self.go(Place::Text, end),
                Break(at) => self.go(Place::Tag(Open { at, ..open }), text.len()),
            };
        }
        let mut lower = [0; LONGEST_NAME];
        let lower = &mut lower[..length];
        lower.copy_from_slice(&head[..length]);
        lower.make_ascii_lowercase();
        open.then = if is_start { self.opened(lower) } else { self.closed(lower) };
        let is_found = match &*lower {
            b"script" | b"link" => is_start,
            b"base" => is_start && self.space() == Space::Html,
            _ => false,
        };
        open.start = is_found.then_some(start);
        self.go(Place::Tag(open), end)
    }

    /// What the start tag of an element does.
    fn opened(&self, name: &[u8]) -> Then {
        match (self.space(), name) {
            (_, b"svg") => Then::Enter(Space::Svg),
            (_, b"math") => Then::Enter(Space::Math),
            (Space::Html, b"script") => Then::Raw(b"script"),
            (Space::Html, b"style") => Then::Raw(b"style"),
            (Space::Html, b"title") => Then::Raw(b"title"),
            (Space::Html, b"textarea") => Then::Raw(b"textarea"),
            (Space::Html, b"xmp") => Then::Raw(b"xmp"),
            (Space::Html, b"iframe") => Then::Raw(b"iframe"),
            (Space::Html, b"noembed") => Then::Raw(b"noembed"),
            (Space::Html, b"noframes") => Then::Raw(b"noframes"),
            // Where scripts run.
            (Space::Html, b"noscript") => Then::Raw(b"noscript"),
            (Space::Html, b"plaintext") => Then::Plain,
            (Space::Html, _) => Then::Nothing,
            (space, name) if holds_html(space, name) => Then::Enter(Space::Html),
            (_, name) if ends_foreign(name) => Then::Leave,
            _ => Then::Nothing,
        }
    }

    /// What the end tag of an element does.
    fn closed(&self, name: &[u8]) -> Then {
        let around = self.within.iter().rev().nth(1).copied().unwrap_or(Space::Html);
        let leaves = match self.space() {
            Space::Html => !self.within.is_empty() && holds_html(around, name),
            Space::Svg => matches!(name, b"svg" | b"p" | b"br"),
            Space::Math => matches!(name, b"math" | b"p" | b"br"),
        };
        if leaves { Then::Leave } else { Then::Nothing }
    }

    /// Reads on in a tag: where it ends, and where it began if it is one to be found.
    fn tag(&mut self, open: Open, text: &[u8], from: usize) -> ControlFlow<usize, (usize, Option<usize>)> {
        let (end, is_self_closing) = match end_of_tag(open.at, text, from) {
            Continue(end) => end,
            Break(at) => {
                let start = open.start.filter(|start| text.len() - start <= LONGEST_TAG);
                self.place = Place::Tag(Open { start: start.map(|_| 0), at, ..open });
                return Break(start.unwrap_or(text.len()));
            }
        };
        self.place = match open.then {
            Then::Raw(name) => Place::Raw(name, Escape::None),
            Then::Plain => Place::Plain,
            Then::Enter(_) | Then::Leave | Then::Nothing => Place::Text,
        };
        match open.then {
            Then::Enter(space) if !is_self_closing && self.within.len() < DEEPEST => self.within.push(space),
            Then::Leave => {
                self.within.pop();
            }
            _ => {}
        }
        Continue((end, open.start.filter(|start| end - start <= LONGEST_TAG)))
    }

    /// `<!-->` and `<!--->` are whole comments.
    fn comment_start(&mut self, text: &[u8], at: usize) -> Step {
        match (begins_with(text, at, b">"), begins_with(text, at, b"->")) {
            (Some(true), _) => self.go(Place::Text, at + 1),
            (_, Some(true)) => self.go(Place::Text, at + 2),
            (Some(false), Some(false)) => self.go(Place::Comment, at),
            _ => Break(at),
        }
    }

    fn comment(&mut self, text: &[u8], at: usize) -> Step {
        let Some(dash) = find(b'-', text, at) else { return Break(text.len()) };
        match (begins_with(text, dash, b"-->"), begins_with(text, dash, b"--!>")) {
            (Some(true), _) => self.go(Place::Text, dash + 3),
            (_, Some(true)) => self.go(Place::Text, dash + 4),
            (Some(false), Some(false)) => Continue(dash + 1),
            _ => Break(dash),
        }
    }

    /// Goes on as text after `end`.
    fn until(&mut self, text: &[u8], at: usize, end: &[u8]) -> Step {
        let Some(found) = find(end[0], text, at) else { return Break(text.len()) };
        match begins_with(text, found, end) {
            Some(true) => self.go(Place::Text, found + end.len()),
            Some(false) => Continue(found + 1),
            None => Break(found),
        }
    }

    fn raw(&mut self, name: &'static [u8], escape: Escape, text: &[u8], at: usize) -> Step {
        let found = match escape {
            Escape::None => find(b'<', text, at),
            Escape::Once | Escape::Twice => memchr::memchr2(b'<', b'-', &text[at..]).map(|offset| at + offset),
        };
        let Some(found) = found else { return Break(text.len()) };
        if text[found] == b'-' {
            return match begins_with(text, found, b"-->") {
                Some(true) => self.go(Place::Raw(name, Escape::None), found + 3),
                Some(false) => Continue(found + 1),
                None => Break(found),
            };
        }
        let Some(&next) = text.get(found + 1) else { return Break(found) };
        let is_script = name == b"script";
        match (next, escape) {
            (b'/', _) => match is_named(text, found + 2, name) {
                Some(true) if escape == Escape::Twice => self.go(Place::Raw(name, Escape::Once), found + 2),
                Some(true) => self.name(text, found, found + 2),
                Some(false) => Continue(found + 1),
                None => Break(found),
            },
            (b'!', Escape::None) if is_script => match begins_with(text, found + 2, b"--") {
                // The dashes may be those of `-->`, too.
                Some(true) => self.go(Place::Raw(name, Escape::Once), found + 2),
                Some(false) => Continue(found + 1),
                None => Break(found),
            },
            (_, Escape::Once) => match is_named(text, found + 1, name) {
                Some(true) => self.go(Place::Raw(name, Escape::Twice), found + 1),
                Some(false) => Continue(found + 1),
                None => Break(found),
            },
            _ => Continue(found + 1),
        }
    }
}

/// Whether these bytes stand there; `None` if the text ends before that can be said.
fn begins_with(text: &[u8], at: usize, what: &[u8]) -> Option<bool> {
    let rest = &text[at..];
    if rest.len() >= what.len() { Some(rest.starts_with(what)) } else { (!what.starts_with(rest)).then_some(false) }
}

/// Whether an element's name stands there, whole and in any case; `None` if the text ends before
/// that can be said.
fn is_named(text: &[u8], at: usize, name: &[u8]) -> Option<bool> {
    let rest = &text[at..];
    let length = rest.len().min(name.len());
    if !rest[..length].eq_ignore_ascii_case(&name[..length]) {
        return Some(false);
    }
    rest.get(name.len()).map(|&byte| is_space(byte) || matches!(byte, b'/' | b'>'))
}

/// Whether the name of an element that matters in HTML has this length and begins with this letter.
fn may_matter(first: u8, length: usize) -> bool {
    let letters: &[u8] = match length {
        3 => b"sx",
        4 => b"blm",
        5 => b"st",
        6 => b"is",
        7 => b"n",
        8 => b"nt",
        9 => b"p",
        _ => b"",
    };
    letters.contains(&first.to_ascii_lowercase())
}

/// Whether this element of a drawing or a formula has HTML in it.
fn holds_html(space: Space, name: &[u8]) -> bool {
    match space {
        Space::Html => false,
        Space::Svg => matches!(name, b"desc" | b"title" | b"foreignobject"),
        Space::Math => matches!(name, b"mi" | b"mo" | b"mn" | b"ms" | b"mtext"),
    }
}

/// Whether the start tag of this element ends a drawing or a formula that was left open:
/// <https://html.spec.whatwg.org/multipage/parsing.html#parsing-main-inforeign>.
fn ends_foreign(name: &[u8]) -> bool {
    const NAMES: &str = "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing \
                         menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var";
    NAMES.split(' ').any(|known| known.as_bytes() == name)
}
