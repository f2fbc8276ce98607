//! Skips what of a page cannot matter to the [`Scanner`](super::scanner::Scanner), several times
//! faster than it reads.
//!
//! Between two places at which an element that matters may begin there are only tags that do not.
//! Where the last of those tags has come to is all that must be known at the second place, and that
//! is soon the same wherever one begins to read: so the last stretch before it is read once for
//! each place in a tag at which that stretch may begin.

use std::{ops::ControlFlow, sync::LazyLock};

use crate::rewrite::{
    finder::Finder,
    html::markup::{At, end_of_tag, find},
    origins::cases,
};

/// How the elements that matter begin, and comments: few enough in all their cases for SIMD.
const BEGINNINGS: [&str; 13] =
    ["<ba", "<if", "<lin", "<ma", "<no", "<pl", "<sc", "<sty", "<sv", "<te", "<tit", "<xm", "<!-"];
const LONGEST: usize = 4;
/// Less than this is as soon read as skipped, in bytes.
const LEAST: usize = 4 * 1024;
/// How long the last stretch is, and how long if that was too short, in bytes.
const STRETCHES: [usize; 4] = [256, 512, 1024, 2 * 1024];

static FINDER: LazyLock<Finder> = LazyLock::new(|| {
    let beginnings: Vec<Vec<u8>> = BEGINNINGS.iter().flat_map(|beginning| cases(beginning.as_bytes())).collect();
    Finder::new(&beginnings)
});

/// A place between the elements that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Text,
    Tag(At),
    Declaration,
}

/// Where the next element that matters may begin; the last bytes of a text may be the first of one.
pub fn next(text: &[u8], at: usize) -> usize {
    if let Some(found) = FINDER.find(text, at) {
        return found.start;
    }
    let mut end = text.len().saturating_sub(LONGEST - 1);
    // What begins before it can be told from what follows it alone.
    while end > at && text[end - 1] == b'<' {
        end -= 1;
    }
    end.max(at)
}

/// Skips from `at`, which is in text outside of all tags, to `next`; `None` if that is too near.
/// What the place there is.
pub fn skip(text: &[u8], at: usize, next: usize) -> Option<Place> {
    if next < at + LEAST {
        return None;
    }
    let agreed = STRETCHES.iter().find_map(|stretch| {
        let from = next - stretch;
        let mut read = possible(&text[at..from]).map(|place| follow(place, text, from, next));
        let first = read.next()?;
        read.all(|place| place == first).then_some(first)
    });
    Some(agreed.unwrap_or_else(|| follow(Place::Text, text, at, next)))
}

/// The places that may come after such a text.
fn possible(before: &[u8]) -> impl Iterator<Item = Place> {
    let quotes = [b'"', b'\''].into_iter().filter(|quote| memchr::memchr(*quote, before).is_some()).map(At::Quoted);
    let others =
        [At::TagName, At::BeforeName, At::Name, At::AfterName, At::BeforeValue, At::Unquoted, At::Slash].into_iter();
    [Place::Text, Place::Declaration].into_iter().chain(quotes.chain(others).map(Place::Tag))
}

/// Reads from one place to another, where nothing between them matters.
fn follow(mut place: Place, text: &[u8], mut at: usize, to: usize) -> Place {
    loop {
        (place, at) = match place {
            Place::Text => {
                let Some(start) = find(b'<', &text[..to], at) else { return Place::Text };
                match text[start + 1..] {
                    [byte, ..] if byte.is_ascii_alphabetic() => (Place::Tag(At::TagName), start + 1),
                    [b'/', byte, ..] if byte.is_ascii_alphabetic() => (Place::Tag(At::TagName), start + 2),
                    [b'/' | b'!' | b'?', ..] => (Place::Declaration, start + 2),
                    _ => (Place::Text, start + 1),
                }
            }
            Place::Declaration => match find(b'>', &text[..to], at) {
                Some(end) => (Place::Text, end + 1),
                None => return place,
            },
            Place::Tag(open) => match end_of_tag(open, &text[..to], at) {
                ControlFlow::Continue((end, _)) => (Place::Text, end),
                ControlFlow::Break(open) => return Place::Tag(open),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::draws::Draws;

    const PIECES: [&str; 18] = [
        "<p>", "</p>", "<a b='", "<a b=\"", "\"", "'", ">", "<", "</", "=", " ", "<!d", "<?", "a", "text ", "it's ",
        "/", "<br/>",
    ];

    #[test]
    fn a_place_that_was_skipped_to_is_the_one_that_reading_comes_to() {
        let (mut draws, mut agreed) = (Draws(6), 0);
        for _ in 0..400 {
            let few = 2 + draws.below(PIECES.len() - 1);
            let text: String = (0..4 * LEAST).map(|_| PIECES[draws.below(few)]).take(3 * LEAST).collect();
            let text = text.as_bytes();
            let next = next(text, 0);
            let Some(place) = skip(text, 0, next) else { continue };
            agreed += 1;
            assert_eq!(place, follow(Place::Text, text, 0, next), "{}", text.escape_ascii());
        }
        assert!(agreed > 300, "only {agreed} texts were long enough");
    }
}
