//! A body on its way through the rewriter: decoded as it came, rewritten, encoded as it is asked
//! for, piece by piece. What one piece expands to is rewritten and encoded again as it is decoded,
//! so that no more of it is ever there than a buffer and what goes out.

use std::io::{self, Write};

use brotli::{CompressorWriter, DecompressorWriter};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, MultiGzDecoder, ZlibDecoder},
};

use super::body::{Done, Transforms};

/// What one piece of a body may become at most; one that expands further is taken for an attack.
const PIECE_BECOMES: usize = 16 * 1024 * 1024;
const BUFFER: usize = 16 * 1024;
/// Quick rather than small: an answer is encoded for one client, once.
const GZIP_LEVEL: u32 = 3;
const BROTLI_LEVEL: u32 = 3;
const BROTLI_WINDOW: u32 = 20;
const ZSTD_LEVEL: i32 = 2;
/// As much as RFC 8878 asks every decoder to bear: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A content coding (RFC 9110 §8.4.1) that can be taken off and put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// Reads its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// One body as it passes.
pub struct Transcoder {
    /// `None` once it has ended.
    input: Option<Input>,
    is_begun: bool,
    done: Done,
}

enum Input {
    Plain(Box<Stage>),
    Gzip(Box<MultiGzDecoder<Stage>>),
    Deflate(Box<ZlibDecoder<Stage>>),
    Brotli(Box<DecompressorWriter<Stage>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Stage>>),
}

enum Output {
    Plain(Piece),
    Gzip(Box<GzEncoder<Piece>>),
    Brotli(Box<CompressorWriter<Piece>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Piece>>),
}

/// What goes out for one piece that came.
#[derive(Default)]
struct Piece(Vec<u8>);

impl Write for Piece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PIECE_BECOMES {
            return Err(io::Error::other("a piece of a body expands without end"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rewrites what was decoded and hands it on to be encoded.
struct Stage {
    work: Transforms,
    output: Output,
    is_flushed: bool,
}

impl Stage {
    fn encode(&mut self, text: &[u8]) -> io::Result<()> {
        self.is_flushed &= text.is_empty();
        self.output.writer().write_all(text)
    }
}

impl Write for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = self.work.pass(Bytes::copy_from_slice(bytes), false)?;
        self.encode(&text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // An encoder writes an empty block for nothing.
        if !std::mem::replace(&mut self.is_flushed, true) {
            self.output.writer().flush()?;
        }
        Ok(())
    }
}

impl Output {
    fn of(coding: Option<Coding>) -> io::Result<Self> {
        let piece = Piece::default();
        Ok(match coding {
            None => Self::Plain(piece),
            Some(Coding::Gzip | Coding::Deflate) => {
                Self::Gzip(Box::new(GzEncoder::new(piece, Compression::new(GZIP_LEVEL))))
            }
            Some(Coding::Brotli) => {
                Self::Brotli(Box::new(CompressorWriter::new(piece, BUFFER, BROTLI_LEVEL, BROTLI_WINDOW)))
            }
            Some(Coding::Zstd) => Self::Zstd(Box::new(zstd::stream::write::Encoder::new(piece, ZSTD_LEVEL)?)),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(piece) => piece,
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn piece(&mut self) -> &mut Piece {
        match self {
            Self::Plain(piece) => piece,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// Writes what an encoding ends with.
    fn end(self) -> io::Result<Vec<u8>> {
        Ok(match self {
            Self::Plain(piece) => piece.0,
            Self::Gzip(encoder) => encoder.finish()?.0,
            Self::Brotli(encoder) => encoder.into_inner().0,
            Self::Zstd(encoder) => encoder.finish()?.0,
        })
    }
}

impl Transcoder {
    /// A body that comes in the first coding and leaves in the second.
    pub fn new(from: Option<Coding>, to: Option<Coding>, work: Transforms) -> io::Result<Self> {
        let stage = Stage { work, output: Output::of(to)?, is_flushed: true };
        let input = match from {
            None => Input::Plain(Box::new(stage)),
            Some(Coding::Gzip) => Input::Gzip(Box::new(MultiGzDecoder::new(stage))),
            Some(Coding::Deflate) => Input::Deflate(Box::new(ZlibDecoder::new(stage))),
            Some(Coding::Brotli) => Input::Brotli(Box::new(DecompressorWriter::new(stage, BUFFER))),
            Some(Coding::Zstd) => {
                let mut decoder = zstd::stream::write::Decoder::new(stage)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Input::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { input: Some(input), is_begun: false, done: Done::default() })
    }

    /// Takes the next piece and gives what can go out for it; nothing after the end. An error if it
    /// is broken, breaks off within its coding, or expands without end.
    pub fn push(&mut self, piece: Bytes, is_end: bool) -> io::Result<Bytes> {
        let Some(input) = &mut self.input else { return Ok(Bytes::new()) };
        if let Input::Plain(stage) = input
            && let Output::Plain(_) = stage.output
        {
            // Most answers are as they came, uncopied.
            let out = stage.work.pass(piece, is_end)?;
            self.done = stage.work.done();
            return Ok(out);
        }
        self.is_begun |= !piece.is_empty();
        if is_end && !self.is_begun {
            // No body at all is none in any coding.
            return Ok(Bytes::new());
        }
        input.take_in(&piece)?;
        self.done = input.stage().work.done();
        match is_end {
            false => Ok(Bytes::from(std::mem::take(&mut input.stage().output.piece().0))),
            true => self.end(),
        }
    }

    fn end(&mut self) -> io::Result<Bytes> {
        let Some(input) = self.input.take() else { return Ok(Bytes::new()) };
        let mut stage = input.end()?;
        let last = stage.work.pass(Bytes::new(), true)?;
        stage.encode(&last)?;
        self.done = stage.work.done();
        Ok(Bytes::from(stage.output.end()?))
    }

    pub fn done(&self) -> Done {
        self.done
    }
}

impl Input {
    fn take_in(&mut self, piece: &[u8]) -> io::Result<()> {
        let decoder: &mut dyn Write = match self {
            Self::Plain(stage) => stage,
            Self::Gzip(decoder) => decoder,
            Self::Deflate(decoder) => decoder,
            Self::Brotli(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
        };
        decoder.write_all(piece)?;
        decoder.flush()
    }

    /// Ends the decoding: an error if it broke off.
    fn end(self) -> io::Result<Stage> {
        Ok(match self {
            Self::Plain(stage) => *stage,
            Self::Gzip(mut decoder) => {
                decoder.try_finish()?;
                decoder.finish()?
            }
            Self::Deflate(decoder) => decoder.finish()?,
            Self::Brotli(mut decoder) => {
                decoder.close()?;
                decoder.into_inner().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?
            }
            Self::Zstd(mut decoder) => {
                decoder.do_finish()?;
                decoder.into_inner()
            }
        })
    }

    fn stage(&mut self) -> &mut Stage {
        match self {
            Self::Plain(stage) => stage,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Arc};

    use super::*;
    use crate::rewrite::{body::Rewriter, origins::OriginPatterns};

    const CODINGS: [Option<Coding>; 5] =
        [None, Some(Coding::Gzip), Some(Coding::Deflate), Some(Coding::Brotli), Some(Coding::Zstd)];

    fn passage(from: Option<Coding>, to: Option<Coding>) -> Transcoder {
        let origin = |text: &str| text.parse().expect("an origin");
        let spellings = Arc::new(OriginPatterns::of(&[origin("https://zenzefi.local")]));
        let rewriter = Rewriter::new(spellings, origin("https://gateway.example"));
        let work = Transforms { rewriter: Some(rewriter), ..Transforms::default() };
        Transcoder::new(from, to, work).expect("a passage")
    }

    fn page(origin: &str) -> Vec<u8> {
        (0..2_000).flat_map(|n| format!("<a href=\"{origin}/{n}\">{n}</a>\n").into_bytes()).collect()
    }

    fn encoded(coding: Option<Coding>, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            None => out.extend_from_slice(text),
            Some(Coding::Gzip) => drop(flate2::read::GzEncoder::new(text, Compression::best()).read_to_end(&mut out)),
            Some(Coding::Deflate) => {
                drop(flate2::read::ZlibEncoder::new(text, Compression::best()).read_to_end(&mut out))
            }
            Some(Coding::Brotli) => drop(brotli::CompressorReader::new(text, BUFFER, 5, 22).read_to_end(&mut out)),
            Some(Coding::Zstd) => out = zstd::encode_all(text, 3).expect("it is encoded"),
        }
        out
    }

    fn decoded(coding: Option<Coding>, text: &[u8]) -> Vec<u8> {
        let (mut text, mut out) = (text, Vec::new());
        let read = match coding {
            None => text.read_to_end(&mut out),
            Some(Coding::Gzip | Coding::Deflate) => flate2::read::GzDecoder::new(text).read_to_end(&mut out),
            Some(Coding::Brotli) => brotli::Decompressor::new(text, BUFFER).read_to_end(&mut out),
            Some(Coding::Zstd) => zstd::stream::read::Decoder::new(text).expect("a decoder").read_to_end(&mut out),
        };
        read.expect("it is whole");
        out
    }

    #[test]
    fn a_body_passes_from_every_coding_to_every_other_and_is_rewritten() {
        for from in CODINGS {
            for to in CODINGS {
                let mut passage = passage(from, to);
                let mut out = Vec::new();
                for piece in encoded(from, &page("https://zenzefi.local")).chunks(700) {
                    let piece = Bytes::copy_from_slice(piece);
                    out.extend_from_slice(&passage.push(piece, false).expect("a whole piece"));
                }
                out.extend_from_slice(&passage.push(Bytes::new(), true).expect("a whole body"));
                assert_eq!(passage.done().replaced, 2_000, "{from:?} to {to:?}");
                assert!(decoded(to, &out) == page("https://gateway.example"), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn no_body_at_all_is_none_in_any_coding() {
        for from in CODINGS {
            for to in CODINGS {
                assert!(from.is_none() || passage(from, to).push(Bytes::new(), true).expect("no body").is_empty());
            }
        }
    }

    #[test]
    fn a_body_is_decoded_without_being_rewritten() {
        let mut passage = Transcoder::new(Some(Coding::Brotli), None, Transforms::default()).expect("a passage");
        let body = encoded(Some(Coding::Brotli), &page("https://zenzefi.local"));
        assert!(passage.push(Bytes::from(body), true).expect("a whole body") == page("https://zenzefi.local"));
    }

    #[test]
    fn a_body_that_breaks_off_within_its_coding_is_an_error() {
        for from in CODINGS.into_iter().flatten() {
            let whole = encoded(Some(from), &page("https://zenzefi.local"));
            let mut passage = passage(Some(from), None);
            let begun = Bytes::copy_from_slice(&whole[..whole.len() - 20]);
            passage.push(begun, false).expect("it is whole so far");
            assert!(passage.push(Bytes::new(), true).is_err(), "{from:?}");
        }
    }

    #[test]
    fn what_is_not_in_its_coding_is_an_error() {
        for from in CODINGS.into_iter().flatten() {
            let mut passage = passage(Some(from), None);
            assert!(passage.push(Bytes::from(vec![b'x'; 4_096]), true).is_err(), "{from:?}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_and_passes_where_it_is_encoded_again() {
        let bomb = encoded(Some(Coding::Gzip), &vec![0; PIECE_BECOMES + BUFFER]);
        assert!(bomb.len() < PIECE_BECOMES / 500, "it is one");
        let bomb = Bytes::from(bomb);
        assert!(passage(Some(Coding::Gzip), None).push(bomb.clone(), true).is_err());
        let out = passage(Some(Coding::Gzip), Some(Coding::Gzip)).push(bomb, true).expect("it stays small");
        assert!(out.len() < PIECE_BECOMES / 50, "{}", out.len());
    }

    #[test]
    fn what_was_decoded_goes_out_at_once() {
        let mut source = GzEncoder::new(Vec::new(), Compression::fast());
        source.write_all(b"data: one\n\n").expect("it is written");
        source.flush().expect("it is flushed");
        let event = Bytes::from(std::mem::take(source.get_mut()));
        let plain = passage(Some(Coding::Gzip), None).push(event.clone(), false).expect("a piece");
        assert_eq!(plain, "data: one\n\n");
        let out = passage(Some(Coding::Gzip), Some(Coding::Gzip)).push(event, false).expect("a piece");
        let mut text = [0; 11];
        flate2::read::GzDecoder::new(&out[..]).read_exact(&mut text).expect("it is all there");
        assert_eq!(&text, b"data: one\n\n");
    }
}
