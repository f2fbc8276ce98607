//! Content codings, put on piece by piece as a server does that streams.

use std::io::{self, Write};

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{HeaderMap, HeaderValue, header};

/// No coding at all.
pub const IDENTITY: &str = "identity";

const BROTLI_BUFFER: usize = 4096;
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 22;

/// An encoder that gives out what it has after each piece.
pub enum Encoder {
    Identity(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    /// HTTP's `deflate` is the zlib format (RFC 9110 §8.4.1.2).
    Deflate(ZlibEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// The encoder of the coding with that name; `None` where there is none.
    pub fn named(coding: &str) -> Option<Self> {
        let out = Vec::new();
        Some(match coding {
            IDENTITY => Self::Identity(out),
            "gzip" => Self::Gzip(GzEncoder::new(out, Compression::default())),
            "deflate" => Self::Deflate(ZlibEncoder::new(out, Compression::default())),
            "br" => {
                let encoder = brotli::CompressorWriter::new(out, BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Self::Brotli(Box::new(encoder))
            }
            "zstd" => Self::Zstd(zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?),
            _ => return None,
        })
    }

    /// Encodes a piece; what comes out can be decoded at once.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        self.writer().write_all(piece)?;
        self.writer().flush()?;
        Ok(std::mem::take(match self {
            Self::Identity(out) => out,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }))
    }

    /// What the encoding ends with.
    pub fn end(self) -> io::Result<Vec<u8>> {
        Ok(match self {
            Self::Identity(out) => out,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        })
    }

    /// Encodes a whole body.
    pub fn whole(mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.writer().write_all(plain)?;
        self.end()
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Identity(out) => out,
            Self::Gzip(encoder) => encoder,
            Self::Deflate(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }
}

/// Says in a head that its body is encoded, where it is.
pub fn announce(headers: &mut HeaderMap, coding: &str) {
    if let Some(value) = HeaderValue::from_str(coding).ok().filter(|_| coding != IDENTITY) {
        headers.insert(header::CONTENT_ENCODING, value);
    }
}
