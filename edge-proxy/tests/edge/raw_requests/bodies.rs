//! How a body says where it ends.

use super::{Case, check, post};

const CHUNKED: &str = "Transfer-Encoding: chunked";

/// Headers of which the first one that a server believes decides where the body ends.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn framings() -> Vec<Case> {
    let refused: &[(&str, u16)] = &[
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 6\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: 5, 6", 400),
        ("Content-Length: 5,", 400),
        ("Content-Length: ,5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5;", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: -0", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length: 5e0", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5_0", 400),
        ("Content-Length: five", 400),
        ("Content-Length: \"5\"", 400),
        ("Content-Length: \u{665}", 400),
        ("Content-Length:", 400),
        ("Content-Length: \t ", 400),
        ("Content-Length: 9223372036854775808", 400),
        ("Content-Length: 18446744073709551621", 400),
        ("Content-Length: 99999999999999999999999999999999", 400),
        ("Content-Length : 5", 400),
        ("Content-Length\t: 5", 400),
        (" Content-Length: 5", 400),
        ("Content-Length:\r\n 5", 400),
        ("Content-Length: 5\r\n 6", 400),
        ("X: y\r\n Content-Length: 5", 400),
        ("X: y\r\n\tContent-Length: 5", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
        ("Transfer-Encoding: identity\r\nContent-Length: 5", 400),
        ("Transfer-Encoding:\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked, identity", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Transfer-Encoding: chunked,", 400),
        ("Transfer-Encoding: ,chunked", 400),
        ("Transfer-Encoding: gzip,, chunked", 400),
        ("Transfer-Encoding: identity", 400),
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: chunkedx", 400),
        ("Transfer-Encoding: chunked chunked", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: 'chunked'", 400),
        ("Transfer-Encoding: ch\u{fc}nked", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: chunked\u{b}", 400),
        ("Transfer-Encoding: chunked\u{c}", 400),
        ("Transfer-Encoding: chunked\0", 400),
        ("Transfer-Encoding: \u{a0}chunked", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        ("Transfer-Encoding\0: chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("Transfer-Encoding: chunked\r\n identity", 400),
        ("Transfer-Encoding: identity\r\n\tchunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("X: y\r\n Transfer-Encoding: chunked", 400),
        ("X: y\nTransfer-Encoding: chunked", 400),
        ("X: y\rTransfer-Encoding: chunked", 400),
        ("X: y\r\rTransfer-Encoding: chunked", 400),
        ("X: y\n\rTransfer-Encoding: chunked", 400),
        ("X: y\0Transfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity, chunked", 501),
        ("Transfer-Encoding: deflate,\tGZIP , Chunked", 501),
    ];
    let body = b"5\r\nhello\r\n0\r\n\r\n";
    let refused = refused.iter().map(|(headers, status)| Case::refused(post(), headers, body, *status));
    let hello = |headers: &str| Case::passed(post(), headers, b"hello", b"hello");
    let chunked = |headers: &str| Case::passed(post(), headers, body, b"hello");
    refused
        .chain([
            hello("Content-Length: 5"),
            hello("content-length:5"),
            hello("CONTENT-LENGTH:\t5\t "),
            hello("Content-Length: 0005"),
            hello("Content-Length: 5\r\nX-Content-Length: 7").with("x-content-length", &[b"7"]),
            hello("Content-Length: 5\r\nContent_Length: 7").with("content_length", &[]),
            hello("Content-Length: 5\r\nContent.Length: 7").with("content.length", &[]),
            hello("Content-Length: 5\r\nTransfer_Encoding: chunked").with("transfer_encoding", &[]),
            hello("Content-Length: 5\r\ntransfer.encoding: chunked").with("transfer.encoding", &[]),
            hello("Content-Length: 5\r\nConnection: upgrade\r\nUpgrade: h2c").with("upgrade", &[]),
            Case::passed(post(), "Connection: upgrade\r\nUpgrade: h2c", b"", b"").with("upgrade", &[]),
            Case::broken_off("Transfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: h2c", b"5;\nhello\r\n"),
            Case::passed(post(), "Content-Length: 0", b"", b""),
            Case::passed(post(), "", b"", b""),
            chunked("Transfer-Encoding: chunked"),
            chunked("transfer-encoding:chunked"),
            chunked("TRANSFER-ENCODING:\tChUnKeD \t"),
            chunked("Transfer-Encoding: chunked\r\nTE: trailers").with("te", &[]),
            chunked("Trailer: X-Sum\r\nTransfer-Encoding: chunked"),
        ])
        .collect()
}

/// What stands on the wire of a chunked body.
fn chunks() -> Vec<Case> {
    let long = [b"5;".to_vec(), vec![b'a'; 9_000], b"\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
    let trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(20_000), b"\r\n".to_vec()].concat();
    let malformed: [&[u8]; 46] = [
        b"zz\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b";a=b\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\t5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"0X5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5h\r\nhello\r\n0\r\n\r\n",
        b"5,5\r\nhello\r\n0\r\n\r\n",
        b"\"5\"\r\nhello\r\n0\r\n\r\n",
        b"5\0\r\nhello\r\n0\r\n\r\n",
        b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n0\r\n\r\n",
        b"5\n\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"5\r\nhello \r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5;a\rhello\r\n0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n",
        b"5;\x7f\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"8000000000000000\r\nhello\r\n0\r\n\r\n",
        b"0000000000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nA: b\n\r\n",
        b"5\r\nhello\r\n0\r\nA: \0b\r\n\r\n",
        &long,
        &trailers,
    ];
    let legal: [(&[u8], &[u8]); 13] = [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"05\r\nhello\r\n00\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", b"hello"),
        (b"5;a\r\nhello\r\n0;b\r\n\r\n", b"hello"),
        (b"5;a=b;c=\"d e\"\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other:\t2\r\n\r\n", b"hello"),
        (b"5\r\n\r\n\r\n\0\r\n0\r\n\r\n", b"\r\n\r\n\0"),
        (b"4\r\n0\r\n\r\r\n0\r\n\r\n", b"0\r\n\r"),
        (b"10\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    ];
    let malformed = malformed.into_iter().map(|body| Case::broken_off(CHUNKED, body));
    malformed.chain(legal.into_iter().map(|(wire, body)| Case::passed(post(), CHUNKED, wire, body))).collect()
}

#[tokio::test]
async fn a_body_ends_where_every_server_says_so_or_is_refused() {
    check(framings(), 90).await;
}

#[tokio::test]
async fn chunks_are_read_to_the_letter() {
    check(chunks(), 50).await;
}
