//! Header lines: what may stand in them, how many and how long they may be, and whose names they
//! may not take.

use super::{Case, NUMBER, Outcome, check, get, post, request};

/// Every byte where no one may stand, and some where they may.
fn characters() -> Vec<Case> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_text = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
    let header = |line: Vec<u8>| request(get().as_bytes(), &line, b"");
    let refused = |wire| Case { wire, outcome: Outcome::Refused(400) };
    let in_names = (0..=0xff).filter(|&byte| !is_token(byte) && byte != b':');
    let in_names = in_names.map(|byte| refused(header([b"X-A", &[byte][..], b"b: c"].concat())));
    let in_values = (0..=0xff).filter(|&byte| !is_text(byte));
    let in_values = in_values.map(|byte| refused(header([b"X-A: b", &[byte][..], b"c"].concat())));
    let legal = b"\t !\"(),/:;<=>?@[\\]{}\x80\x9f\xa0\xe9\xff".iter().map(|&byte| {
        let value = [b"b", &[byte][..], b"c"].concat();
        Case::passed(get(), [b"X-A: ", value.as_slice()].concat(), b"", b"").with("x-a", &[&value])
    });
    let more: [&[u8]; 11] = [
        b"X-A",
        b": b",
        b"X-A : b",
        b"X-A\t: b",
        b"X A: b",
        b" X-A: b",
        b"\tX-A: b",
        b"X-A: b\r\n c",
        b"X-A: b\r\n\t",
        b"X-A: b\r\n ",
        b"\r\xff: b",
    ];
    let legal_lines = [
        Case::passed(get(), "X-A:", b"", b"").with("x-a", &[b""]),
        Case::passed(get(), "X-A:b", b"", b"").with("x-a", &[b"b"]),
        Case::passed(get(), "X-A: \t b \t", b"", b"").with("x-a", &[b"b"]),
        Case::passed(get(), "X-A: 1\r\nx-a: 2\r\nX-A: 1", b"", b"").with("x-a", &[b"1", b"2", b"1"]),
        Case::passed(get(), "!#$%&'*+-.^_`|~09: b", b"", b"").with("!#$%&'*+-.^_`|~09", &[b"b"]),
    ];
    let more = more.map(|line| refused(header(line.to_vec())));
    in_names.chain(in_values).chain(more).chain(legal).chain(legal_lines).collect()
}

/// Names that a server behind may take for one that the gateway sets, reads or takes out.
fn aliases() -> Vec<Case> {
    let taken = [
        "X-User-Id",
        "X-Token-Id",
        "X-Zenzefi-Assertion",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X-Device-ID",
        "X-Local-Url",
        "X-Original-URL",
        "X-Access-Token",
        "X-Request-Id",
        "True-Client-IP",
        "Proxy-Authorization",
    ];
    let spelled = taken.into_iter().flat_map(|name| {
        let (below, dotted) = (name.replace('-', "_"), name.replace('-', "."));
        let mixed = name.replacen('-', "_", 1);
        let names = [below.to_uppercase(), below.to_lowercase(), dotted.clone(), mixed, name.replace('-', "~")];
        names.into_iter().chain([below, dotted.to_uppercase()])
    });
    let dropped = spelled.map(|name| Case::passed(get(), format!("{name}: forged"), b"", b"").with(&name, &[]));
    let named_by_connection = ["Connection: x-user-id", "Connection: X-Token-Id, X-Request-Id"];
    let kept = named_by_connection.map(|line| Case::passed(get(), line, b"", b"").with("connection", &[]));
    let others = [
        Case::passed(get(), "X_Custom_Name: kept", b"", b"").with("x_custom_name", &[b"kept"]),
        Case::passed(get(), "x.custom.name: kept", b"", b"").with("x.custom.name", &[b"kept"]),
    ];
    dropped.chain(kept).chain(others).collect()
}

fn sizes() -> Vec<Case> {
    let long_line = |bytes| format!("GET /case/{NUMBER}?{} HTTP/1.1", "a".repeat(bytes));
    let many = |count| (0..count).map(|number| format!("X-{number}: y")).collect::<Vec<_>>().join("\r\n");
    let long = |bytes| format!("X-Long: {}", "a".repeat(bytes));
    let value = "a".repeat(30_000);
    vec![
        Case::refused(long_line(16_384), "", b"", 414),
        Case::refused(long_line(70_000), "", b"", 414),
        Case::refused(long_line(2_000_000), "", b"", 414),
        Case::refused(get(), many(99), b"", 431),
        Case::refused(get(), many(400), b"", 431),
        Case::refused(get(), many(20_000), b"", 431),
        Case::refused(get(), long(65_536), b"", 431),
        Case::refused(get(), long(2_000_000), b"", 431),
        Case::refused(get(), [long(40_000), long(40_000)].join("\r\n"), b"", 431),
        Case::refused(post(), format!("{}: a", "x".repeat(70_000)), b"", 431),
        Case::passed(get(), many(98), b"", b"").with("x-97", &[b"y"]),
        Case::passed(get(), format!("X-Long: {value}"), b"", b"").with("x-long", &[value.as_bytes()]),
    ]
}

#[tokio::test]
async fn header_lines_are_made_of_what_http_allows() {
    check(characters(), 150).await;
}

#[tokio::test]
async fn a_name_that_could_be_taken_for_one_of_ours_does_not_arrive() {
    check(aliases(), 90).await;
}

#[tokio::test]
async fn heads_are_as_long_as_they_may_be_and_no_longer() {
    check(sizes(), 12).await;
}
