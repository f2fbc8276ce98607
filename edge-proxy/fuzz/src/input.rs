//! How the bytes that the fuzzer makes up become texts and choices.

use http::HeaderValue;

use crate::origin::Origin;

/// What bytes above ASCII stand for in a text, so that a short input says much that is a spelling,
/// or nearly one.
const PIECES: [&[u8]; 81] = [
    b"https://",
    b"http://",
    b"wss://",
    b"//",
    b"https:\\/\\/",
    b"\\/\\/",
    b"https%3A%2F%2F",
    b"https%3a%2f%2f",
    b"http&#x3a;&#x2F;&#x2F;",
    b"http&#58;&#47;&#47;",
    b"ws&colon;&sol;&sol;",
    b"https\\u003a\\u002f\\u002f",
    b"zenzefi.local",
    b"ZENZEFI.local",
    b"zenzefi.local.corp:8443",
    b"zenzefi",
    b".local",
    b".corp",
    b"[fd00::1]:8443",
    b"%5Bfd00%3A%3A1%5D%3A8443",
    b"10.0.0.5",
    b"gateway.example",
    b"gateway.example:8000",
    b"127.0.0.1:8000",
    b"https",
    b"ws",
    b"%3a",
    b"&#58;",
    b"&#x0000003a;",
    b"&colon",
    b"\\/",
    b"\\u002f",
    b"%2F",
    b"&#x2F;",
    b"&#47",
    b":443",
    b":8443",
    b":80",
    b":44",
    b"%3A443",
    b"user@",
    b"&commat;",
    b"\\u002e",
    b"%2E",
    b"<a href=\"",
    b"url(",
    b"\"",
    b"\xc3\xa9",
    b"\xff",
    b"\\",
    b"; Domain=",
    b"; Secure",
    b"; SameSite=None",
    b"; Path=/",
    b"zenzefi_access_token",
    b"zenzefi_device=",
    b"default-src 'self' ",
    b"; upgrade-insecure-requests",
    b"<script src=",
    b"<link href='",
    b"<base href=",
    b" integrity=\"sha384-a\"",
    b" integrity",
    b"</script>",
    b"<!--",
    b"-->",
    b"<style>",
    b"</style>",
    b"<textarea>",
    b"</textarea>",
    b"<svg>",
    b"<![CDATA[",
    b"]]>",
    b" ",
    b"=",
    b">",
    b"private",
    b"no-store, max-age=1",
    b"<!doctype html>",
    b"<html lang=en>",
    b"<head>",
];

const UPSTREAMS: [&[&str]; 4] = [
    &["https://zenzefi.local"],
    &["https://zenzefi.local", "https://zenzefi.local.corp:8443"],
    &["https://[fd00::1]:8443"],
    &["http://10.0.0.5"],
];
const SHOWN: [&str; 4] =
    ["https://gateway.example", "https://gateway.example:8000", "http://127.0.0.1:8000", "https://[::1]:9"];

/// What is left of an input.
#[derive(Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

/// Whose names are rewritten, and to what.
pub struct Parties {
    /// The first is the upstream; the others are its aliases.
    pub upstreams: Vec<Origin>,
    pub shown: Origin,
}

impl<'a> Input<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; 0 where there is none.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    pub fn pick<'b, T>(&mut self, among: &'b [T]) -> &'b T {
        &among[usize::from(self.byte()) % among.len()]
    }

    pub fn parties(&mut self) -> Parties {
        let origin = |text: &&str| text.parse().expect("an origin");
        let upstreams = self.pick(&UPSTREAMS).iter().map(origin).collect();
        Parties { upstreams, shown: origin(self.pick(&SHOWN)) }
    }

    /// How long each chunk of a body is, in bytes, by turns.
    pub fn strides(&mut self) -> [usize; 4] {
        std::array::from_fn(|_| 1 + usize::from(self.byte()) % 64)
    }

    /// The rest, byte for byte.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// The rest as a text.
    pub fn text(self) -> Vec<u8> {
        let pieces = self.0.iter().map(|byte| match byte.checked_sub(0x80) {
            Some(piece) => PIECES[usize::from(piece) % PIECES.len()],
            None => std::slice::from_ref(byte),
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// The rest as the value of a header; `None` if it cannot be one.
    pub fn header(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.text().trim_ascii()).ok()
    }

    /// The rest as the value of a header that is text; `None` if it cannot be one.
    pub fn header_text(self) -> Option<String> {
        self.header()?.to_str().ok().map(str::to_owned)
    }
}

/// A body in chunks of these lengths, by turns.
pub fn chunks(mut body: &[u8], strides: [usize; 4]) -> impl Iterator<Item = &[u8]> {
    strides.into_iter().cycle().map_while(move |stride| {
        let (chunk, rest) = body.split_at(stride.min(body.len()));
        body = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}
