//! The head of an HTTP/1 request, read as strictly as RFC 9112 is written: what two servers could
//! read differently is refused, never repaired. Pure.

use http::{Method, header};
use memchr::memchr;

use super::framing::Framing;
use crate::rejection::Rejection;

/// How long and how many the parts of a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the first line, its end not counted.
    pub line_bytes: usize,
    /// Bytes of the whole head.
    pub head_bytes: usize,
    pub headers: usize,
}

/// What the gate must know of a head that is whole and good.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// With the empty line at its end.
    pub length: usize,
    /// How the body after it is framed.
    pub framing: Framing,
    /// It asks for a WebSocket: what follows may be anything.
    pub may_upgrade: bool,
}

/// Reads the head at the start of `bytes`; `None` while more of it must come. The refusal comes as
/// soon as it is known.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Option<Head>, Rejection> {
    let mut at = blank_lines(bytes)?;
    let Some(first) = line(bytes, at, limits)? else {
        return if bytes.len() - at > limits.line_bytes { Err(Rejection::RequestLineTooLong) } else { Ok(None) };
    };
    if first.len() > limits.line_bytes {
        return Err(Rejection::RequestLineTooLong);
    }
    let request = RequestLine::parse(first)?;
    at += first.len() + 2;
    let (mut fields, mut count) = (Fields::default(), 0);
    while let Some(field) = line(bytes, at, limits)? {
        at += field.len() + 2;
        if field.is_empty() {
            let (framing, may_upgrade) = fields.conclude(&request)?;
            return Ok(Some(Head { length: at, framing, may_upgrade }));
        }
        count += 1;
        if count > limits.headers {
            return Err(Rejection::HeadersTooLarge);
        }
        fields.take(field)?;
    }
    Ok(None)
}

/// How many bytes of empty lines stand before a request: some clients end a body with one too many
/// (RFC 9112 §2.2).
fn blank_lines(bytes: &[u8]) -> Result<usize, Rejection> {
    const MOST: usize = 4;
    let at = bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    if at > MOST { Err(Rejection::MalformedHead("Empty lines stand before the request line")) } else { Ok(at) }
}

/// The line that begins at `at`, without its end; `None` while more of it must come.
fn line<'a>(bytes: &'a [u8], at: usize, limits: &Limits) -> Result<Option<&'a [u8]>, Rejection> {
    let rest = &bytes[at..];
    let end = memchr(b'\n', rest);
    let line = &rest[..end.unwrap_or(rest.len())];
    if at + line.len() > limits.head_bytes {
        return Err(if at == 0 { Rejection::RequestLineTooLong } else { Rejection::HeadersTooLarge });
    }
    // Without its end the line may still get the `\n` that belongs to a `\r`.
    let text = match (end, line.split_last()) {
        (_, Some((b'\r', text))) => text,
        (Some(_), _) => return Err(Rejection::MalformedHead("A line of the request's head does not end in CR LF")),
        (None, _) => line,
    };
    match text.iter().find(|&&byte| is_control(byte)) {
        Some(_) => Err(Rejection::MalformedHead("A control character stands in the request's head")),
        None => Ok(end.map(|_| text)),
    }
}

fn is_control(byte: u8) -> bool {
    byte == 0x7f || byte < b' ' && byte != b'\t'
}

/// RFC 9110 §5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_part)
}

fn trimmed(value: &[u8]) -> &[u8] {
    // Other white space is refused before.
    value.trim_ascii()
}

struct RequestLine<'a> {
    is_http_11: bool,
    /// The authority of an absolute-form target.
    authority: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Rejection> {
        const MALFORMED: Rejection =
            Rejection::MalformedHead("The request line is not a method, a target and a version");
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        if !is_token(method) || target.is_empty() || target.contains(&b'\t') {
            return Err(MALFORMED);
        }
        let is_http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Rejection::VersionNotSupported);
            }
            _ => return Err(MALFORMED),
        };
        if is_not_for_gateways(method) {
            return Err(Rejection::MethodNotImplemented);
        }
        let authority = match target {
            [b'/', ..] => None,
            b"*" if method == b"OPTIONS" => None,
            _ => Some(authority(target).ok_or(Rejection::MalformedHead("The request's target is none"))?),
        };
        Ok(Self { is_http_11, authority })
    }
}

/// `CONNECT` would open a tunnel, and `TRACE` would show what the gateway adds to a request,
/// secrets among it.
pub fn is_not_for_gateways(method: &[u8]) -> bool {
    [Method::CONNECT, Method::TRACE].iter().any(|refused| refused.as_str().as_bytes() == method)
}

/// The authority of an absolute-form target (RFC 9112 §3.2.2).
fn authority(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(target.windows(3).position(|part| part == b"://")? + 3)?;
    let is_http = [&b"http://"[..], b"https://"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let authority = &rest[..end];
    let is_plain = !authority.is_empty() && !authority.iter().any(|byte| b"@\\,".contains(byte));
    (is_http && is_plain).then_some(authority)
}

/// What the header lines say of the request's end and of its host.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    may_upgrade: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Rejection> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Rejection::MalformedHead("A header is folded over two lines"));
        }
        let colon = memchr(b':', line).ok_or(Rejection::MalformedHead("A header has no colon"))?;
        let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
        if !is_token(name) {
            return Err(Rejection::MalformedHead("A header's name is none"));
        }
        let is = |known: &header::HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
        let once = |slot: &mut Option<&'a [u8]>, why| match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Rejection::MalformedHead(why)),
        };
        if is(&header::HOST) {
            once(&mut self.host, "There is more than one Host header")
        } else if is(&header::CONTENT_LENGTH) {
            once(&mut self.content_length, "There is more than one Content-Length")
        } else if is(&header::TRANSFER_ENCODING) {
            once(&mut self.transfer_encoding, "There is more than one Transfer-Encoding")
        } else {
            let names_websocket = || value.windows(9).any(|part| part.eq_ignore_ascii_case(b"websocket"));
            self.may_upgrade |= is(&header::UPGRADE) && names_websocket();
            Ok(())
        }
    }

    fn conclude(self, request: &RequestLine<'_>) -> Result<(Framing, bool), Rejection> {
        match (self.host, request.authority) {
            (None, _) if request.is_http_11 => return Err(Rejection::MalformedHead("The Host header is missing")),
            (Some(host), _) if host.contains(&b'@') => {
                return Err(Rejection::MalformedHead("The Host header names a user"));
            }
            (Some(host), Some(authority)) if host != authority => {
                return Err(Rejection::MalformedHead("The Host header and the request's target differ"));
            }
            _ => {}
        }
        let framing = match (self.transfer_encoding, self.content_length) {
            (None, None) => Framing::NONE,
            (None, Some(length)) => Framing::length(parse_length(length)?),
            (Some(_), Some(_)) => {
                return Err(Rejection::MalformedHead("Content-Length stands beside Transfer-Encoding"));
            }
            (Some(_), None) if !request.is_http_11 => {
                return Err(Rejection::MalformedHead("HTTP/1.0 has no Transfer-Encoding"));
            }
            (Some(coding), None) => {
                check_codings(coding)?;
                Framing::CHUNKED
            }
        };
        Ok((framing, self.may_upgrade))
    }
}

/// One number, of digits alone (RFC 9110 §8.6).
fn parse_length(value: &[u8]) -> Result<u64, Rejection> {
    let text = Some(value).filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
    let number = text.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<i64>().ok());
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(Rejection::MalformedHead("The Content-Length is no number"))
}

/// `chunked` and nothing else. Another coding before it is well formed, but would be taken off
/// nowhere (RFC 9112 §6.1).
fn check_codings(value: &[u8]) -> Result<(), Rejection> {
    const MALFORMED: Rejection = Rejection::MalformedHead("The Transfer-Encoding does not end in one chunked");
    let codings: Vec<&[u8]> = value.split(|&byte| byte == b',').map(trimmed).collect();
    let is_chunked = |coding: &&&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_well = codings.last().as_ref().is_some_and(is_chunked) && codings.iter().filter(is_chunked).count() == 1;
    if !ends_well || codings.iter().any(|coding| coding.is_empty()) {
        return Err(MALFORMED);
    }
    if codings.len() > 1 { Err(Rejection::CodingNotImplemented) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { line_bytes: 64, head_bytes: 256, headers: 4 };

    fn status(head: &[u8]) -> Option<u16> {
        read(head, &LIMITS).err().map(|rejection| rejection.status().as_u16())
    }

    #[test]
    fn a_good_head_is_found_at_its_last_byte_and_not_before() {
        let wire = b"\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let end = wire.len() - 5;
        for length in 0..end {
            assert_eq!(read(&wire[..length], &LIMITS), Ok(None), "{length}");
        }
        let head = Head { length: end, framing: Framing::length(5), may_upgrade: false };
        assert_eq!(read(wire, &LIMITS), Ok(Some(head)));
    }

    #[test]
    fn a_refusal_does_not_wait_for_the_rest() {
        let long_line = [b"GET /".to_vec(), vec![b'a'; 80]].concat();
        let long_head = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; 256]].concat();
        let many = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(5)].concat();
        for (head, expected) in [
            (&b"GET / HTTP/1.1\n"[..], 400),
            (b"GET / HTTP/1.1\r\nA: b\0", 400),
            (b"GET / HTTP/1.1\r\nA\r b: ", 400),
            (b"GET / HTTP/2.0\r\n", 505),
            (b"GET /\r\n", 400),
            (b"CONNECT a:1 HTTP/1.1\r\n", 501),
            (&long_line, 414),
            (&long_head, 431),
            (&many, 431),
        ] {
            assert_eq!(status(head), Some(expected), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_body_is_framed_in_one_way_or_refused() {
        let of = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            read(head.as_bytes(), &LIMITS).map(|head| head.expect("all of it").framing)
        };
        assert_eq!(of("Transfer-Encoding: Chunked"), Ok(Framing::CHUNKED));
        assert_eq!(of("transfer-encoding: gzip, chunked"), Err(Rejection::CodingNotImplemented));
        for refused in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 99999999999999999999",
            "Content-Length:",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\n , gzip",
        ] {
            assert!(matches!(of(refused), Err(Rejection::MalformedHead(_))), "{refused}");
        }
    }
}
