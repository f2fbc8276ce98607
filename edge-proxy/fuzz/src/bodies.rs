//! Bodies, as they are and in their codings.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{
    Compression,
    read::GzDecoder,
    write::{GzEncoder, ZlibEncoder},
};

use crate::{
    input::{Input, Parties, chunks},
    origin::Origin,
    rewrite::{
        body::{Rewriter, Transforms},
        coding::{Coding, Transcoder},
        html::integrity::Integrity,
        html::script::Notice,
        origins::OriginPatterns,
    },
};

const CODINGS: [Option<Coding>; 5] =
    [None, Some(Coding::Gzip), Some(Coding::Deflate), Some(Coding::Brotli), Some(Coding::Zstd)];
/// What one piece of a body may become, in bytes.
const PIECE_BECOMES: usize = 16 * 1024 * 1024;

/// However it is cut into chunks, a body becomes the same; nothing is held for longer than it must
/// be, no plain spelling of the upstream is left, and rewriting again changes nothing.
pub fn the_stream_equals_the_whole(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let strides = input.strides();
    let text = input.text();
    let spellings = Arc::new(OriginPatterns::of(&upstreams));
    let mut rewriter = Rewriter::new(Arc::clone(&spellings), shown.clone());
    let (mut taken, mut out) = (0, Vec::new());
    for chunk in chunks(&text, strides) {
        taken += chunk.len();
        out.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(chunk), false));
        let is_held = || taken - out.len();
        assert!(rewriter.replaced() > 0 || is_held() <= spellings.longest(), "{} bytes are held", is_held());
    }
    out.extend_from_slice(&rewriter.push(Bytes::new(), true));
    let whole = spellings.rewrite(&text, &shown);
    assert_eq!(whole.is_some(), rewriter.replaced() > 0);
    assert_eq!(out.escape_ascii().to_string(), whole.unwrap_or(text).escape_ascii().to_string());
    for upstream in &upstreams {
        assert!(!is_named(&out, upstream), "{upstream} is left in {}", out.escape_ascii());
    }
    let again = spellings.rewrite(&out, &shown).map(|again| again.escape_ascii().to_string());
    assert_eq!(again, None, "it was {}", out.escape_ascii());
}

/// However a page is cut into chunks, it loses the same attributes, and no more the second time.
pub fn the_stream_loses_the_integrity_that_the_whole_loses(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let strides = input.strides();
    let page = Bytes::from(input.text());
    let spellings = Arc::new(OriginPatterns::of(&upstreams));
    let integrity = || Integrity::new(Arc::clone(&spellings), shown.clone());
    let (mut stream, mut out) = (integrity(), Vec::new());
    for chunk in chunks(&page, strides) {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk), false).expect("it can be read"));
    }
    out.extend_from_slice(&stream.push(Bytes::new(), true).expect("it can be read"));
    let mut whole = integrity();
    let expected = whole.push(page.clone(), true).expect("it can be read");
    assert!(out == expected, "{} became {}", page.escape_ascii(), out.escape_ascii());
    assert_eq!(stream.removed(), whole.removed());
    assert!(stream.removed() > 0 || out == page, "{} became {}", page.escape_ascii(), out.escape_ascii());
    let mut again = integrity();
    let unchanged = again.push(expected.clone(), true).expect("it can be read");
    assert!(unchanged == expected, "{} became {}", page.escape_ascii(), expected.escape_ascii());
}

/// However a page is cut into chunks, the script is put in once, at the same place, and nothing
/// else changes.
pub fn the_stream_gets_its_script_where_the_whole_does(mut input: Input<'_>) {
    const SCRIPT: &[u8] = b"\x00script\x00";
    let strides = input.strides();
    let page = Bytes::from(input.text());
    let notice = || Notice::new(Bytes::from_static(SCRIPT));
    let (mut stream, mut out) = (notice(), Vec::new());
    for chunk in chunks(&page, strides) {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk), false));
    }
    out.extend_from_slice(&stream.push(Bytes::new(), true));
    let expected = notice().push(page.clone(), true);
    assert!(out == expected, "{} became {}", page.escape_ascii(), out.escape_ascii());
    if out.len() != page.len() {
        // The page may hold the same text of its own.
        let is_put = |at: usize| out[..at] == page[..at] && out[at..] == [SCRIPT, &page[at..]].concat();
        assert!((0..=page.len()).any(is_put), "{} became {}", page.escape_ascii(), out.escape_ascii());
    }
}

/// A body in any coding comes out in any other, whole and rewritten.
pub fn every_coding_passes_into_every_other(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let (from, to) = (*input.pick(&CODINGS), *input.pick(&CODINGS));
    let strides = input.strides().map(|stride| stride * 8);
    // Long enough for what codings do with repetition.
    let times = 1 + usize::from(input.byte()) % 32;
    let text = input.text().repeat(times);
    if text.is_empty() {
        // No body at all is none in any coding.
        return;
    }
    let spellings = Arc::new(OriginPatterns::of(&upstreams));
    let whole = spellings.rewrite(&text, &shown).unwrap_or_else(|| text.clone());
    let mut passage = Transcoder::new(from, to, rewriting(spellings, shown)).expect("a passage");
    let mut out = Vec::new();
    for piece in chunks(&encoded(from, &text), strides) {
        out.extend_from_slice(&passage.push(Bytes::copy_from_slice(piece), false).expect("a whole piece"));
    }
    out.extend_from_slice(&passage.push(Bytes::new(), true).expect("a whole body"));
    assert!(decoded(to, &out) == whole, "{from:?} to {to:?}: {}", text.escape_ascii());
}

/// Anything at all in place of a coded body is an error or a body, and no piece becomes more than
/// it may.
pub fn what_is_broken_ends_and_stays_small(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let (from, to) = (*input.pick(&CODINGS), *input.pick(&CODINGS));
    let strides = input.strides();
    let work = rewriting(Arc::new(OriginPatterns::of(&upstreams)), shown);
    let mut passage = Transcoder::new(from, to, work).expect("a passage");
    let pieces = chunks(input.raw(), strides).map(|piece| (piece, false));
    for (piece, is_end) in pieces.chain([(&b""[..], true)]) {
        let Ok(out) = passage.push(Bytes::copy_from_slice(piece), is_end) else { return };
        assert!(out.len() <= PIECE_BECOMES, "{} bytes at once", out.len());
    }
}

fn rewriting(spellings: Arc<OriginPatterns>, shown: Origin) -> Transforms {
    Transforms { rewriter: Some(Rewriter::new(spellings, shown)), ..Transforms::default() }
}

/// Whether an absolute URL of this origin stands in a text: looked for in the simplest way, in the
/// spellings that are sure.
fn is_named(text: &[u8], origin: &Origin) -> bool {
    let text = text.to_ascii_lowercase();
    ["://", ":\\/\\/", "%3a%2f%2f"].iter().any(|separator| {
        let spelled = format!("{separator}{}", origin.authority());
        let starts = text.windows(spelled.len()).enumerate().filter(|(_, window)| *window == spelled.as_bytes());
        starts.map(|(start, _)| start).any(|start| {
            let has_scheme =
                ["http", "https", "ws", "wss"].iter().any(|scheme| text[..start].ends_with(scheme.as_bytes()));
            has_scheme && text.get(start + spelled.len()).is_none_or(|next| b"/\"' <>)?#".contains(next))
        })
    })
}

fn encoded(coding: Option<Coding>, text: &[u8]) -> Vec<u8> {
    let encoded = match coding {
        None => Ok(text.to_owned()),
        Some(Coding::Gzip) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        Some(Coding::Deflate) => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        Some(Coding::Brotli) => {
            let mut out = Vec::new();
            brotli::CompressorReader::new(text, 4096, 1, 16).read_to_end(&mut out).map(|_| out)
        }
        Some(Coding::Zstd) => zstd::encode_all(text, 1),
    };
    encoded.expect("memory takes it")
}

fn decoded(coding: Option<Coding>, mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match coding {
        None => text.read_to_end(&mut out),
        // What came in `deflate` leaves in gzip.
        Some(Coding::Gzip | Coding::Deflate) => GzDecoder::new(text).read_to_end(&mut out),
        Some(Coding::Brotli) => brotli::Decompressor::new(text, 4096).read_to_end(&mut out),
        Some(Coding::Zstd) => zstd::stream::read::Decoder::new(text).and_then(|mut text| text.read_to_end(&mut out)),
    };
    read.expect("it is whole");
    out
}
