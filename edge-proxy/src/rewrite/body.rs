//! Rewrites a body as it streams: what cannot become a spelling is passed on at once, and no more
//! is held than a spelling is long.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    carry::after_held,
    html::{integrity::Integrity, script::Notice},
    origins::{CONTEXT, OriginPatterns, Passed},
};
use crate::origin::Origin;

/// The state of one body between its chunks.
#[derive(Debug)]
pub struct Rewriter {
    spellings: Arc<OriginPatterns>,
    shown: Origin,
    /// The last bytes that were taken in and are not held.
    before: Vec<u8>,
    /// The last bytes that were taken in and may begin a spelling.
    held: Vec<u8>,
    replaced: u64,
}

impl Rewriter {
    /// Rewrites every spelling to one of `shown`.
    pub fn new(spellings: Arc<OriginPatterns>, shown: Origin) -> Self {
        Self { spellings, shown, before: Vec::new(), held: Vec::new(), replaced: 0 }
    }

    /// How many spellings were replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Takes the next chunk, and gives what can go out. A chunk in which there is nothing to do is
    /// passed on uncopied.
    pub fn push(&mut self, chunk: Bytes, is_end: bool) -> Bytes {
        let text = after_held(&mut self.held, chunk);
        let Passed { until, out, replaced } = self.spellings.pass(&self.before, &text, is_end, &self.shown);
        self.replaced += replaced;
        self.held = text[until..].to_vec();
        self.before.extend_from_slice(&text[until.saturating_sub(CONTEXT)..until]);
        let surplus = self.before.len().saturating_sub(CONTEXT);
        self.before.drain(..surplus);
        if replaced == 0 { text.slice(..until) } else { Bytes::from(out) }
    }
}

/// What is done to a body's text; nothing where it is only decoded.
#[derive(Debug, Default)]
pub struct Transforms {
    /// Reads the page as the upstream wrote it.
    pub integrity: Option<Integrity>,
    pub rewriter: Option<Rewriter>,
    /// Comes last, for what it puts in is the gateway's own.
    pub notice: Option<Notice>,
}

impl Transforms {
    /// Takes the next text, and gives what can go out. An error if a tag cannot be read.
    pub fn pass(&mut self, text: Bytes, is_end: bool) -> io::Result<Bytes> {
        let text = match &mut self.integrity {
            Some(integrity) => integrity.push(text, is_end)?,
            None => text,
        };
        let text = match &mut self.rewriter {
            Some(rewriter) => rewriter.push(text, is_end),
            None => text,
        };
        Ok(match &mut self.notice {
            Some(notice) => notice.push(text, is_end),
            None => text,
        })
    }

    pub fn done(&self) -> Done {
        Done {
            replaced: self.rewriter.as_ref().map_or(0, Rewriter::replaced),
            integrities: self.integrity.as_ref().map_or(0, Integrity::removed),
        }
    }
}

/// What was done to a body's text so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Spellings of an origin that were replaced.
    pub replaced: u64,
    /// `integrity` attributes that were taken off.
    pub integrities: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::draws::Draws;

    /// Pieces of which texts are made that have much that is nearly a spelling.
    const PIECES: [&str; 35] = [
        "https://",
        "wss://",
        "//",
        "https:\\/\\/",
        "https%3A%2F%2F",
        "http&#x3a;&#x2F;&#x2F;",
        "ws&colon;&sol;&sol;",
        "https\\u003a\\u002f\\u002f",
        "zenzefi.local",
        "ZENZEFI.local",
        "zenzefi.local.corp:8443",
        "zenzefi",
        ".local",
        ".corp",
        "https",
        "http",
        ":",
        "%3a",
        "&#58;",
        "/",
        "\\/",
        "%2F",
        "&#x2F",
        "&#x0000003a",
        ";",
        ":443",
        ":8443",
        ":44",
        "%3A443",
        "@",
        ".",
        " ",
        "\"",
        "é",
        "<a href=",
    ];

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    fn spellings() -> Arc<OriginPatterns> {
        Arc::new(OriginPatterns::of(&["https://zenzefi.local", "https://zenzefi.local.corp:8443"].map(origin)))
    }

    fn rewriter(spellings: &Arc<OriginPatterns>) -> Rewriter {
        Rewriter::new(Arc::clone(spellings), origin("https://gateway.example:8000"))
    }

    #[test]
    fn however_a_body_is_cut_into_chunks_the_stream_equals_the_whole() {
        let (mut draws, spellings, mut replaced) = (Draws(4), spellings(), 0);
        for _ in 0..5_000 {
            let text: String = (0..draws.below(30)).map(|_| PIECES[draws.below(PIECES.len())]).collect();
            let text = text.into_bytes();
            let (mut rewriter, mut out, mut at) = (rewriter(&spellings), Vec::new(), 0);
            while at < text.len() {
                let end = text.len().min(at + 1 + draws.below(40));
                let chunk = Bytes::copy_from_slice(&text[at..end]);
                out.extend_from_slice(&rewriter.push(chunk, false));
                assert!(rewriter.held.len() <= spellings.longest(), "{} bytes are held", rewriter.held.len());
                at = end;
            }
            out.extend_from_slice(&rewriter.push(Bytes::new(), true));
            replaced += rewriter.replaced();
            let whole = self::rewriter(&spellings).push(Bytes::from(text.clone()), true);
            assert_eq!(Bytes::from(out), whole, "{}", String::from_utf8_lossy(&text));
        }
        assert!(replaced > 300, "only {replaced} spellings came up");
    }

    #[test]
    fn an_entity_that_is_as_long_as_may_be_is_waited_for() {
        let mut rewriter = rewriter(&spellings());
        assert_eq!(rewriter.push(Bytes::from_static(b"https://zenzefi.local&#x0000003a"), false), "");
        assert_eq!(rewriter.push(Bytes::from_static(b";8444/"), false), "https://zenzefi.local&#x0000003a;8444/");
    }

    #[test]
    fn what_cannot_begin_a_spelling_is_passed_on_at_once_and_uncopied() {
        let mut rewriter = rewriter(&spellings());
        let chunk = Bytes::from_static(b"data: a line of events\n\n");
        let out = rewriter.push(chunk.clone(), false);
        assert_eq!(out, chunk);
        assert_eq!(out.as_ptr(), chunk.as_ptr());
        assert_eq!(rewriter.push(Bytes::from_static(b"see https://zenz"), false), "see ");
        assert_eq!(rewriter.push(Bytes::from_static(b"efi.local/a"), false), "https://gateway.example:8000/a");
        assert_eq!(rewriter.replaced(), 1);
        assert_eq!(rewriter.push(Bytes::from_static(b" http"), true), " http");
    }
}
