//! Where a request's body ends on the wire, followed byte by byte as strictly as RFC 9112 §7.1 is
//! written. Pure: it holds no byte back, so that the body streams.

use memchr::memchr;

/// The longest line with a chunk's size, and the longest block of trailers.
const MAX_SIZE_LINE: usize = 256;
const MAX_TRAILERS: usize = 16 * 1024;

/// How far a body has been followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes that are still to come.
    Left(u64),
    Chunked(Chunked),
}

/// Within a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    /// In a line with a size, of which this has come.
    Size {
        size: u64,
        digits: u8,
        line_bytes: usize,
        part: Part,
    },
    Data(u64),
    /// After a chunk's bytes, with so much of CR LF seen.
    DataEnd(u8),
    /// In the trailers: bytes of the line so far, and of all of them.
    Trailers {
        line_bytes: usize,
        bytes: usize,
        is_after_cr: bool,
    },
    Done,
}

/// Of a line with a chunk's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Digits,
    Extension,
    AfterCr,
}

/// A body that is not framed as HTTP asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

const SIZE: Chunked = Chunked::Size { size: 0, digits: 0, line_bytes: 0, part: Part::Digits };

impl Framing {
    pub const NONE: Self = Self::Left(0);
    pub const CHUNKED: Self = Self::Chunked(SIZE);
    /// After the last chunk and its trailers.
    pub const DONE: Self = Self::Chunked(Chunked::Done);

    pub fn length(bytes: u64) -> Self {
        Self::Left(bytes)
    }

    /// Whether the body has ended.
    pub fn is_done(self) -> bool {
        matches!(self, Self::NONE | Self::DONE)
    }

    /// How many bytes come before it must be asked again.
    pub fn sure_of(self) -> u64 {
        match self {
            Self::Left(bytes) | Self::Chunked(Chunked::Data(bytes)) => bytes,
            Self::Chunked(_) => 0,
        }
    }

    /// Follows the body through the next bytes: how many of them belong to it, and whether what
    /// comes then is malformed.
    pub fn follow(&mut self, bytes: &[u8]) -> (usize, Result<(), Malformed>) {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let sure = usize::try_from(self.sure_of()).unwrap_or(usize::MAX).min(bytes.len() - at);
            let step = match self {
                Self::Left(left) => {
                    *left -= sure as u64;
                    Ok(sure)
                }
                Self::Chunked(chunked) => chunked.step(&bytes[at..], sure),
            };
            match step {
                Ok(taken) => at += taken,
                Err(malformed) => return (at, Err(malformed)),
            }
        }
        (at, Ok(()))
    }
}

impl Chunked {
    /// Takes at least one of these bytes, of which the first `sure` are a chunk's own.
    fn step(&mut self, bytes: &[u8], sure: usize) -> Result<usize, Malformed> {
        let byte = bytes[0];
        let (next, taken) = match *self {
            Self::Data(left) => match left - sure as u64 {
                0 => (Self::DataEnd(0), sure),
                left => (Self::Data(left), sure),
            },
            Self::DataEnd(seen) => match (seen, byte) {
                (0, b'\r') => (Self::DataEnd(1), 1),
                (1, b'\n') => (SIZE, 1),
                _ => return Err(Malformed),
            },
            Self::Size { size, digits, line_bytes, part } => (Self::size(size, digits, line_bytes, part, byte)?, 1),
            Self::Trailers { line_bytes, bytes: before, is_after_cr } => {
                // Up to the next end of a line, or one byte of that.
                let plain = if is_after_cr { 0 } else { memchr(b'\r', bytes).unwrap_or(bytes.len()) };
                let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
                if before + plain > MAX_TRAILERS || !bytes[..plain].iter().all(is_text) {
                    return Err(Malformed);
                }
                match (plain, is_after_cr, byte) {
                    (0, false, _) => (Self::Trailers { line_bytes, bytes: before + 1, is_after_cr: true }, 1),
                    (0, true, b'\n') if line_bytes == 0 => (Self::Done, 1),
                    (0, true, b'\n') => (Self::Trailers { line_bytes: 0, bytes: before + 1, is_after_cr: false }, 1),
                    (0, true, _) => return Err(Malformed),
                    _ => {
                        let line_bytes = line_bytes + plain;
                        (Self::Trailers { line_bytes, bytes: before + plain, is_after_cr: false }, plain)
                    }
                }
            }
            Self::Done => (Self::Done, 0),
        };
        *self = next;
        Ok(taken)
    }

    fn size(size: u64, digits: u8, line_bytes: usize, part: Part, byte: u8) -> Result<Self, Malformed> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        let line_bytes = line_bytes + 1;
        if line_bytes > MAX_SIZE_LINE {
            return Err(Malformed);
        }
        match (part, byte, digit) {
            // 15 digits are more than anybody sends, and no overflow.
            (Part::Digits, _, Some(digit)) if digits < 15 => {
                Ok(Self::Size { size: size * 16 + digit, digits: digits + 1, line_bytes, part })
            }
            (Part::Digits, b';', _) if digits > 0 => Ok(Self::Size { size, digits, line_bytes, part: Part::Extension }),
            (Part::Digits | Part::Extension, b'\r', _) if digits > 0 => {
                Ok(Self::Size { size, digits, line_bytes, part: Part::AfterCr })
            }
            (Part::Extension, _, _) if byte == b'\t' || byte >= b' ' && byte != 0x7f => {
                Ok(Self::Size { size, digits, line_bytes, part })
            }
            (Part::AfterCr, b'\n', _) if size == 0 => {
                Ok(Self::Trailers { line_bytes: 0, bytes: 0, is_after_cr: false })
            }
            (Part::AfterCr, b'\n', _) => Ok(Self::Data(size)),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of `wire` belongs to the body when it comes in pieces of `step` bytes.
    fn followed(wire: &[u8], step: usize) -> Result<usize, Malformed> {
        let mut framing = Framing::CHUNKED;
        let mut at = 0;
        while at < wire.len() && !framing.is_done() {
            let (taken, outcome) = framing.follow(&wire[at..wire.len().min(at + step)]);
            outcome?;
            at += taken;
        }
        assert!(framing.is_done(), "{framing:?}");
        Ok(at)
    }

    #[test]
    fn a_chunked_body_ends_at_the_same_byte_however_it_is_split() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b c\"\r\nhello\r\n0a;x\r\n0123456789\r\n000;\r\nSum: 1\r\nB:\tc\r\n\r\n",
        ] {
            let wire = [body, b"GET / HTTP/1.1\r\n\r\n"].concat();
            for step in 1..=wire.len() {
                assert_eq!(followed(&wire, step), Ok(body.len()), "{} by {step}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn what_another_server_could_read_differently_is_malformed() {
        for wire in [
            &b"\r\n\r\n"[..],
            b";\r\n\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b"5\n",
            b"5\r5",
            b"5;a\nhello",
            b"5;a\0\r\n",
            b"10000000000000000\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n",
            b"5\r\nhello!\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n",
            b"0\r\nA: b\0\r\n",
        ] {
            for step in 1..=wire.len() {
                assert_eq!(followed(wire, step), Err(Malformed), "{} by {step}", wire.escape_ascii());
            }
        }
        let endless = [b"5;".to_vec(), vec![b'a'; 2 * MAX_SIZE_LINE]].concat();
        assert_eq!(followed(&endless, 10), Err(Malformed));
        let endless = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(MAX_TRAILERS)].concat();
        assert_eq!(followed(&endless, 1000), Err(Malformed));
    }
}
