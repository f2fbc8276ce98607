//! The inside of a tag, byte by byte, as the HTML standard's tokenizer reads it:
//! <https://html.spec.whatwg.org/multipage/parsing.html#tokenization>.

use std::ops::ControlFlow::{self, Break, Continue};

/// The tokenizer's state within a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    TagName,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Unquoted,
    Slash,
}

/// Reads to the end of a tag. `Continue`: the index after its `>`, and whether a slash stands
/// before that. `Break`: the state in which the text ends.
pub fn end_of_tag(mut at: At, text: &[u8], from: usize) -> ControlFlow<At, (usize, bool)> {
    let mut next = from;
    loop {
        let Some(&byte) = text.get(next) else { return Break(at) };
        if let At::Quoted(quote) = at {
            let Some(end) = find(quote, text, next) else { return Break(at) };
            (at, next) = (At::BeforeName, end + 1);
            continue;
        }
        next += 1;
        at = match (at, byte) {
            (_, b'>') => return Continue((next, matches!(at, At::Slash))),
            (At::TagName | At::BeforeName | At::Name | At::AfterName | At::Slash, b'/') => At::Slash,
            (At::Name | At::AfterName, b'=') => At::BeforeValue,
            (At::BeforeValue, b'"' | b'\'') => At::Quoted(byte),
            (At::TagName | At::BeforeName | At::Slash | At::Unquoted, byte) if is_space(byte) => At::BeforeName,
            (At::Name | At::AfterName, byte) if is_space(byte) => At::AfterName,
            (At::BeforeValue, byte) if is_space(byte) => At::BeforeValue,
            (At::TagName, _) => At::TagName,
            (At::BeforeName | At::Name | At::AfterName | At::Slash, _) => {
                let rest = &text[next..];
                let is_end = |&byte: &u8| is_space(byte) || matches!(byte, b'=' | b'>' | b'/');
                next += rest.iter().position(is_end).unwrap_or(rest.len());
                match text.get(next..) {
                    Some([b'=', quote @ (b'"' | b'\''), ..]) => {
                        next += 2;
                        At::Quoted(*quote)
                    }
                    _ => At::Name,
                }
            }
            (At::BeforeValue | At::Unquoted, _) => {
                let rest = &text[next..];
                next += rest.iter().position(|&byte| is_space(byte) || byte == b'>').unwrap_or(rest.len());
                At::Unquoted
            }
            (At::Quoted(_), _) => at,
        };
    }
}

/// The index of the next such byte at or after `from`.
pub fn find(byte: u8, text: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(byte, &text[from..]).map(|offset| from + offset)
}

pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b'\x0c')
}
