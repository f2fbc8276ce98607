//! Takes the `integrity` off scripts and links whose bytes come through here: a page of the
//! upstream knows a hash of what they were before they were rewritten, and a browser would refuse
//! them. What other hosts serve keeps it.

use std::{io, sync::Arc};

use bytes::Bytes;
use lol_html::{HtmlRewriter, MemorySettings, Settings, element, html_content::Element};
use url::Url;

use crate::{
    origin::Origin,
    rewrite::{
        carry::after_held,
        escapes,
        html::scanner::{LONGEST_TAG, Look, Scanner},
        origins::OriginPatterns,
    },
};

const INTEGRITY: &str = "integrity";
/// More than a tag and what is noted of its attributes take, in bytes.
const MOST_MEMORY: usize = 64 * LONGEST_TAG;

/// The state of one HTML body between its chunks.
///
/// At most a tag of 16 KiB is held; a longer one is passed on as it is. In other respects the bytes
/// are those that came, in any charset in which ASCII is ASCII, but for the white space within a
/// tag that lost its attribute.
#[derive(Debug)]
pub struct Integrity {
    scanner: Scanner,
    page: Page,
    /// The last bytes that were taken in and may begin a tag that matters.
    held: Vec<u8>,
    /// How many of those the scanner has read.
    read: usize,
}

/// What decides where the links of a page lead.
#[derive(Debug)]
struct Page {
    spellings: Arc<OriginPatterns>,
    shown: Origin,
    /// What relative links are relative to, as far as its origin goes: where the page itself lies
    /// is not known.
    base: Url,
    /// Whether the page has said so itself. Only the first time counts.
    has_base: bool,
    removed: u64,
}

impl Integrity {
    /// For a page in which the origins of `spellings` will become `shown`, but have not yet.
    pub fn new(spellings: Arc<OriginPatterns>, shown: Origin) -> Self {
        Self { scanner: Scanner::default(), page: Page::new(spellings, shown), held: Vec::new(), read: 0 }
    }

    /// How many attributes were taken off.
    pub fn removed(&self) -> u64 {
        self.page.removed
    }

    /// Takes the next chunk, and gives what can go out: uncopied where nothing is held and nothing
    /// changes.
    pub fn push(&mut self, chunk: Bytes, is_end: bool) -> io::Result<Bytes> {
        let text = after_held(&mut self.held, chunk);
        let (mut out, mut copied, mut from) = (Vec::new(), 0, self.read);
        let until = loop {
            match self.scanner.look(&text, from) {
                Look::Tag(tag) => {
                    from = tag.end;
                    if let Some(changed) = self.page.read(&text[tag.clone()])? {
                        out.extend_from_slice(&text[copied..tag.start]);
                        out.extend_from_slice(&changed);
                        copied = tag.end;
                    }
                }
                Look::Nothing { .. } if is_end => break text.len(),
                Look::Nothing { until, read } => {
                    self.read = read - until;
                    break until;
                }
            }
        };
        self.held = text[until..].to_vec();
        if copied == 0 {
            return Ok(text.slice(..until));
        }
        out.extend_from_slice(&text[copied..until]);
        Ok(Bytes::from(out))
    }
}

impl Page {
    fn new(spellings: Arc<OriginPatterns>, shown: Origin) -> Self {
        let base = Url::parse(&shown.to_string()).expect("an origin is a URL");
        Self { spellings, shown, base, has_base: false, removed: 0 }
    }

    /// Takes note of the start tag of a script, a link or a base; what it becomes, if it changes.
    fn read(&mut self, tag: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let is_base = tag[1].eq_ignore_ascii_case(&b'b');
        if !is_base && !tag.windows(INTEGRITY.len()).any(|part| part.eq_ignore_ascii_case(INTEGRITY.as_bytes())) {
            return Ok(None);
        }
        let (removed, mut out) = (self.removed, Vec::with_capacity(tag.len()));
        let settings = Settings {
            element_content_handlers: vec![element!("*", |element| {
                self.visit(element);
                Ok(())
            })],
            memory_settings: MemorySettings {
                preallocated_parsing_buffer_size: 0,
                max_allowed_memory_usage: MOST_MEMORY,
            },
            strict: false,
            ..Settings::new()
        };
        let mut rewriter = HtmlRewriter::new(settings, |chunk: &[u8]| out.extend_from_slice(chunk));
        let unreadable = |_| io::Error::other("a tag of a page cannot be read");
        rewriter.write(tag).map_err(unreadable)?;
        rewriter.end().map_err(unreadable)?;
        Ok((self.removed > removed).then_some(out))
    }

    /// Takes note of a base; takes the `integrity` off a script or a link that leads here.
    fn visit(&mut self, element: &mut Element<'_, '_>) {
        let name = element.tag_name();
        let Some(link) = element.get_attribute(if name == "script" { "src" } else { "href" }) else { return };
        let address = self.address(&link);
        if name == "base" {
            if !std::mem::replace(&mut self.has_base, true) {
                self.base = address.unwrap_or_else(|| self.base.clone());
            }
        } else if element.has_attribute(INTEGRITY)
            && address.is_some_and(|address| Origin::of_url(&address).as_ref() == Some(&self.shown))
        {
            element.remove_attribute(INTEGRITY);
            self.removed += 1;
        }
    }

    /// Where a link, as the page has it, will lead a browser; `None` if nowhere.
    fn address(&self, link: &str) -> Option<Url> {
        let rewritten = self.spellings.rewrite(link.as_bytes(), &self.shown);
        let link = rewritten.map_or_else(|| link.into(), |link| String::from_utf8_lossy(&link).into_owned());
        self.base.join(&escapes::without_entities(&link)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::rewrite::draws::Draws;

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    fn spellings() -> Arc<OriginPatterns> {
        Arc::new(OriginPatterns::of(&["https://zenzefi.local", "https://assets.zenzefi.local:8443"].map(origin)))
    }

    fn integrity() -> Integrity {
        Integrity::new(spellings(), origin("http://gateway.example:8000"))
    }

    /// What becomes of a page that comes in chunks of this many bytes.
    fn in_chunks(text: &[u8], lengths: impl FnMut() -> usize) -> (Vec<u8>, u64) {
        let (mut integrity, mut out, mut rest, mut lengths) = (integrity(), Vec::new(), text, lengths);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(lengths()));
            out.extend_from_slice(&integrity.push(Bytes::copy_from_slice(chunk), false).expect("it can be read"));
            assert!(integrity.held.len() <= LONGEST_TAG, "{} bytes are held", integrity.held.len());
            rest = after;
        }
        out.extend_from_slice(&integrity.push(Bytes::new(), true).expect("it can be read"));
        (out, integrity.removed())
    }

    fn of_page(text: &str) -> String {
        let whole = integrity().push(Bytes::copy_from_slice(text.as_bytes()), true).expect("it can be read");
        assert_eq!(in_chunks(text.as_bytes(), || 1).0, whole, "byte by byte");
        String::from_utf8(whole.to_vec()).expect("text stays text")
    }

    #[test]
    fn scripts_and_styles_that_come_through_here_lose_their_integrity_and_nothing_else() {
        for (tag, becomes) in [
            (
                r#"<script src="/app.js" integrity="sha384-a" defer></script>"#,
                r#"<script src="/app.js" defer></script>"#,
            ),
            ("<SCRIPT INTEGRITY=sha384-a SRC=app.js>", "<SCRIPT SRC=app.js>"),
            (
                r#"<link rel="stylesheet" integrity="a" href='https://zenzefi.local/a.css' crossorigin/>"#,
                r#"<link rel="stylesheet" href='https://zenzefi.local/a.css' crossorigin />"#,
            ),
            (
                r#"<link integrity="a" integrity="b" href="//Zenzefi.local/a.css">"#,
                r#"<link href="//Zenzefi.local/a.css">"#,
            ),
            (
                r#"<script integrity="a" src="https:&#x2F;&#x2F;zenzefi.local/a">"#,
                r#"<script src="https:&#x2F;&#x2F;zenzefi.local/a">"#,
            ),
            (
                r#"<script integrity="a" src="http://assets.zenzefi.local:8443/a">"#,
                r#"<script src="http://assets.zenzefi.local:8443/a">"#,
            ),
            (r#"<script integrity="a" src="?a=https://cdn.example/">"#, r#"<script src="?a=https://cdn.example/">"#),
            (
                r#"<script integrity="a" src="http://gateway.example:8000/a">"#,
                r#"<script src="http://gateway.example:8000/a">"#,
            ),
        ] {
            assert_eq!(of_page(tag), becomes);
        }
    }

    #[test]
    fn what_another_host_serves_keeps_its_integrity() {
        for tag in [
            r#"<script src="https://cdn.example/a.js" integrity="a"></script>"#,
            r#"<script src="//cdn.example/a.js" integrity="a"></script>"#,
            r#"<script src=" &#47;&bsol;cdn.example/a.js" integrity="a"></script>"#,
            r#"<script src="https&colon;//cdn.example/a.js" integrity="a"></script>"#,
            r#"<script src="https://cdn.example/?for=https://zenzefi.local/" integrity="a"></script>"#,
            r#"<script src="https://zenzefi.local.evil.example/a.js" integrity="a"></script>"#,
            r#"<script src="https://zenzefi.local:9/a.js" integrity="a"></script>"#,
            r#"<link href="data:text/css,a{}" integrity="a">"#,
        ] {
            assert_eq!(of_page(tag), tag);
        }
    }

    #[test]
    fn what_is_no_such_attribute_of_a_script_or_a_link_stays() {
        for tag in [
            r#"<script integrity="a">inline()</script>"#,
            r#"<link integrity="a">"#,
            r#"<img src="/a" integrity="a">"#,
            r#"<script src="/a" data-integrity="a"></script>"#,
            r#"<scripts src="/a" integrity="a">"#,
            r#"<script src="/a" integrity="a""#,
        ] {
            assert_eq!(of_page(tag), tag);
        }
    }

    #[test]
    fn relative_links_lead_where_the_first_base_says() {
        let (tag, without) = (r#"<script src="a.js" integrity="a">"#, r#"<script src="a.js">"#);
        for (base, leads_here) in [
            (r#"<base href="https://cdn.example/">"#, false),
            (r#"<base href=//cdn.example>"#, false),
            (r#"<base target="_top"><base href="https://cdn.example/">"#, false),
            (r#"<base href="https://zenzefi.local/b/">"#, true),
            (r#"<base href="/b/">"#, true),
            (r#"<base href="/b/"><base href="https://cdn.example/">"#, true),
            (r#"<!-- <base href="https://cdn.example/"> -->"#, true),
            (r#"<svg><base href="https://cdn.example/"></svg>"#, true),
        ] {
            assert_eq!(of_page(&format!("{base}{tag}")), format!("{base}{}", if leads_here { without } else { tag }));
        }
        let page = r#"<base href="https://cdn.example/"><link integrity="a" href="https://zenzefi.local/a">"#;
        assert_eq!(of_page(page), r#"<base href="https://cdn.example/"><link href="https://zenzefi.local/a">"#);
    }

    #[test]
    fn what_is_text_to_a_browser_is_text_here() {
        let (tag, without) = (r#"<link href="/a" integrity="a">"#, r#"<link href="/a">"#);
        for (before, is_text) in [
            ("<!--", true),
            ("<!-- > ->", true),
            ("<!-- -- >", true),
            ("<!-->", false),
            ("<!--->", false),
            ("<!-- --!>", false),
            ("<!-- --->", false),
            ("<!doctype html>", false),
            ("<?xml ?>", false),
            ("</>", false),
            ("</ a='>", false),
            ("a < b", false),
            ("<![CDATA[", true),
            ("<svg><![CDATA[ > ]]", true),
            ("<svg><![CDATA[ > ]]]>", false),
            ("<a title='>", true),
            ("<a title=' >' ", true),
            ("<a'>", false),
            ("<a b'>", false),
            ("<a b=c'>", false),
            ("<a ='>", false),
            ("<a b = '>", true),
            ("<a b=/>", false),
            ("<script>", true),
            ("<script src=>", true),
            ("<script/>", true),
            ("<script></script", true),
            ("<script></scripts>", true),
            ("<script></script >", false),
            ("<script></SCRIPT a='>'>", false),
            ("<script><!-- </script>", false),
            ("<script><!-- <script> </script>", true),
            ("<script><!-- <script> </script> </script>", false),
            ("<script><!--> <script> </script>", false),
            ("<script><!-- <script> --> </script>", false),
            ("<style>", true),
            ("<style></style>", false),
            ("<title><title></title>", false),
            ("<textarea></title>", true),
            ("<TextArea></textareA/>", false),
            ("<iframe>", true),
            ("<noscript>", true),
            ("<plaintext></plaintext>", true),
            ("<svg><style>", false),
            ("<svg><title/><style>", false),
            ("<svg/><style>", true),
            ("<svg></svg><style>", true),
            ("<svg><div><style>", true),
            ("<svg><foreignObject><style>", true),
            ("<math><mi><style></style></mi><style>", false),
        ] {
            // Whatever else is open ends with the page; what is text up to here must be text in all
            // of it.
            let becomes = if is_text { tag } else { without };
            assert_eq!(of_page(&format!("{before}{tag}")), format!("{before}{becomes}"));
        }
    }

    #[test]
    fn bytes_of_any_charset_stay_as_they_are() {
        let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\'').collect();
        let page = |integrity: &str| {
            let head = format!("<link{integrity} title='");
            [b"\xff\x80", head.as_bytes(), &all, b"' href=/a>", &all, b"\xfe"].concat()
        };
        for length in [1, 7, 1000] {
            assert_eq!(in_chunks(&page(" integrity=a"), || length), (page(""), 1));
        }
    }

    #[test]
    fn what_cannot_begin_such_a_tag_is_passed_on_at_once_and_uncopied() {
        let mut integrity = integrity();
        let mut push =
            |text: &'static str| integrity.push(Bytes::from_static(text.as_bytes()), false).expect("it can be read");
        let chunk = "<div class=\"a\">text <b>and</b> 1 < 2, <a href='";
        assert_eq!(push(chunk).as_ptr(), chunk.as_ptr());
        assert_eq!(push("/a'>a</a> <lin"), "/a'>a</a> ");
        assert_eq!(push("k href=/a "), "");
        assert_eq!(push("integrity=a>b"), "<link href=/a>b");
    }

    #[test]
    fn a_tag_that_is_too_long_to_be_held_is_passed_on() {
        let page = format!("<script src=/a integrity=a title='{}'></script>", "a".repeat(LONGEST_TAG));
        for length in [1000, 100_000] {
            assert_eq!(in_chunks(page.as_bytes(), || length), (page.clone().into_bytes(), 0));
        }
    }

    /// Pieces of which pages are made that are much like tags. Left out is what lol_html takes for
    /// something else than browsers do: a tag's end right after an attribute's `=`, `<svg/>`, and
    /// attributes that end a drawing.
    const PIECES: [&str; 67] = [
        "<script src=/a integrity=a></script>",
        "<script integrity src=\"https://zenzefi.local/a\" >",
        "<link title='>' integrity='a' href='/a'/>",
        "<link integrity=\"a\" href=\"//cdn.example/a\">",
        "</script>",
        "</style></title></textarea>",
        "<script",
        "<script ",
        "<SCRIPT>",
        "<link ",
        "<link/",
        "<base ",
        "<div",
        "<div>",
        "<p a",
        " src=\"/a\"",
        " src='//cdn.example'",
        " href=/a",
        " href=\"https://zenzefi.local/a\"",
        " href=\"https://cdn.example/\"",
        " integrity=\"a\"",
        " integrity='>'",
        " Integrity=a",
        "integrity",
        " a='",
        " a=\"",
        " = '",
        "=\"",
        "'",
        "\"",
        "/",
        ">",
        ">",
        ">",
        ">",
        " ",
        "\n",
        "a",
        "é",
        "<",
        "</",
        "</script",
        "</script>",
        "</SCRIPT ",
        "<!--",
        "-->",
        "--",
        "-",
        "!",
        "--!>",
        "<!",
        "<!doctype html>",
        "<?",
        "<![CDATA[",
        "]]>",
        "]",
        "<style>",
        "</style>",
        "<title>",
        "</title>",
        "<textarea",
        "</textarea>",
        "<svg>",
        "</svg>",
        "<desc>",
        "<math>",
        "<mi>",
    ];

    /// What becomes of a page that a whole parser reads.
    fn parsed(text: &[u8]) -> (Vec<u8>, u64) {
        let (page, mut out) = (RefCell::new(integrity().page), Vec::new());
        let settings = Settings {
            element_content_handlers: vec![element!("script, link, base", |element| {
                if element.tag_name() != "base" || element.namespace_uri() == "http://www.w3.org/1999/xhtml" {
                    page.borrow_mut().visit(element);
                }
                Ok(())
            })],
            strict: false,
            ..Settings::new()
        };
        let mut rewriter = HtmlRewriter::new(settings, |chunk: &[u8]| out.extend_from_slice(chunk));
        rewriter.write(text).expect("it can be read");
        rewriter.end().expect("it can be read");
        let removed = page.borrow().removed;
        (out, removed)
    }

    #[test]
    fn however_a_page_is_cut_into_chunks_it_becomes_what_a_whole_parser_makes_of_it() {
        let (mut draws, mut removed) = (Draws(4), 0);
        for _ in 0..3_000 {
            let text: String = (0..draws.below(40)).map(|_| PIECES[draws.below(PIECES.len())]).collect();
            let parsed = parsed(text.as_bytes());
            removed += parsed.1;
            let streamed = in_chunks(text.as_bytes(), || 1 + draws.below(30));
            assert_eq!(String::from_utf8_lossy(&streamed.0), String::from_utf8_lossy(&parsed.0), "{text}");
            assert_eq!(streamed.1, parsed.1, "{text}");
        }
        assert!(removed > 1_000, "only {removed} attributes came up");
    }

    #[test]
    fn long_stretches_of_a_page_in_which_nothing_matters_are_skipped_right() {
        let matters = ["<s", "<S", "<l", "<b", "<t", "<m", "<!"];
        let dull: Vec<&str> =
            PIECES.into_iter().filter(|piece| !matters.iter().any(|begin| piece.contains(begin))).collect();
        let (mut draws, mut removed) = (Draws(5), 0);
        for _ in 0..150 {
            let mut piece = || match draws.below(1_500) {
                0..3 => PIECES[draws.below(PIECES.len())],
                3..6 => PIECES[draws.below(4)],
                _ => dull[draws.below(dull.len())],
            };
            let text: String = (0..8_000).map(|_| piece()).collect();
            let parsed = parsed(text.as_bytes());
            removed += parsed.1;
            let streamed = in_chunks(text.as_bytes(), || 1 + draws.below(24 * 1024));
            assert!(streamed == parsed, "of {} bytes", text.len());
        }
        assert!(removed > 300, "only {removed} attributes came up");
    }
}
