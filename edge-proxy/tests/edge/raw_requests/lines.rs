//! Request lines, and how their targets agree with `Host`.

use super::{Case, HOST, NUMBER, Outcome, TOKEN, check, request};

/// Heads that are sent as they stand here, with the line that names the token added.
fn whole(head: &str, status: u16) -> Case {
    let wire = format!("{head}\r\nX-Access-Token: {TOKEN}\r\n\r\n").into_bytes();
    Case { wire, outcome: Outcome::Refused(status) }
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn lines() -> Vec<Case> {
    let path = format!("/case/{NUMBER}");
    let refused: Vec<(String, u16)> = [
        ("GET @P", 400),
        ("GET @P ", 400),
        ("GET  @P HTTP/1.1", 400),
        ("GET @P  HTTP/1.1", 400),
        ("GET @P HTTP/1.1 ", 400),
        (" GET @P HTTP/1.1", 400),
        ("GET\t@P HTTP/1.1", 400),
        ("GET @P\tHTTP/1.1", 400),
        ("GET @P HTTP/1.1\t", 400),
        ("GET\x0b@P HTTP/1.1", 400),
        ("GET\u{a0}@P HTTP/1.1", 400),
        ("GET @P x HTTP/1.1", 400),
        ("GET @P HTTP/1.1 HTTP/1.1", 400),
        ("GET HTTP/1.1", 400),
        ("@P HTTP/1.1", 400),
        ("GET @P http/1.1", 400),
        ("GET @P HTTP 1.1", 400),
        ("GET @P HTTP/1", 400),
        ("GET @P HTTP/1.", 400),
        ("GET @P HTTP/.1", 400),
        ("GET @P HTTP/11", 400),
        ("GET @P HTTP/1.10", 400),
        ("GET @P HTTP/01.1", 400),
        ("GET @P HTTP/1,1", 400),
        ("GET @P HTTPS/1.1", 400),
        ("GET @P XTTP/1.1", 400),
        ("GET @P HTTP/0.9", 505),
        ("GET @P HTTP/1.2", 505),
        ("GET @P HTTP/2.0", 505),
        ("GET @P HTTP/3.0", 505),
        ("GET @P HTTP/9.9", 505),
        ("PRI * HTTP/2.0", 505),
        ("G(T @P HTTP/1.1", 400),
        ("G,T @P HTTP/1.1", 400),
        ("\"GET\" @P HTTP/1.1", 400),
        ("G\u{e9}T @P HTTP/1.1", 400),
        ("GET: @P HTTP/1.1", 400),
        ("CONNECT @HOST HTTP/1.1", 501),
        ("CONNECT @P HTTP/1.1", 501),
        ("TRACE @P HTTP/1.1", 501),
        ("GET case/@N HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET @HOST HTTP/1.1", 400),
        ("GET ?case HTTP/1.1", 400),
        ("GET http:@P HTTP/1.1", 400),
        ("GET http:/@P HTTP/1.1", 400),
        ("GET http://@P HTTP/1.1", 400),
        ("GET http:///case HTTP/1.1", 400),
        ("GET ftp://@HOST@P HTTP/1.1", 400),
        ("GET ws://@HOST@P HTTP/1.1", 400),
        ("GET file://@HOST@P HTTP/1.1", 400),
        ("GET //@HOST@P HTTP/1.1\r\nX-Access-Token: none\r\nHost: evil.example", 400),
        ("GET http://evil.example@P HTTP/1.1", 400),
        ("GET http://@HOST.evil.example@P HTTP/1.1", 400),
        ("GET http://evil.example@@HOST@P HTTP/1.1", 400),
        ("GET http://@HOST@@P HTTP/1.1", 400),
        ("GET http://@HOST@evil.example@P HTTP/1.1", 400),
        ("GET http:\\\\@HOST@P HTTP/1.1", 400),
        ("GET http://@HOST\\@evil.example@P HTTP/1.1", 400),
        ("GET http://@HOST,evil.example@P HTTP/1.1", 400),
    ]
    .into_iter()
    .map(|(line, status)| (line.replace("@P", &path), status))
    .collect();
    // In a target no control character stands, encoded or not.
    let controls = (0..=0x20).chain([0x7f]).filter(|byte| *byte != b'\r').map(|byte: u8| {
        let line = [format!("GET /case/{NUMBER}").as_bytes(), &[byte], b"x HTTP/1.1"].concat();
        Case { wire: request(&line, b"", b""), outcome: Outcome::Refused(400) }
    });
    let passed = [
        format!("GET {path} HTTP/1.1"),
        format!("GET http://{HOST}{path} HTTP/1.1"),
        format!("GET HTTP://{HOST}{path} HTTP/1.1"),
        format!("get {path} HTTP/1.1"),
        format!("PROPFIND {path} HTTP/1.1"),
        format!("M-SEARCH!#$%&'*+.^_`|~09 {path} HTTP/1.1"),
        format!("\r\nGET {path} HTTP/1.1"),
        format!("\r\n\r\nGET {path} HTTP/1.1"),
        format!("GET {path} HTTP/1.0"),
    ];
    let refused = refused.into_iter().map(|(line, status)| Case::refused(line, "", b"", status));
    refused.chain(controls).chain(passed.map(|line| Case::passed(line, "", b"", b""))).collect()
}

fn hosts() -> Vec<Case> {
    let line = format!("GET /case/{NUMBER} HTTP/1.1");
    let absolute = format!("GET http://{HOST}/case/{NUMBER} HTTP/1.1");
    vec![
        whole(&line, 400),
        whole(&absolute, 400),
        whole(&format!("{line}\r\nHost: {HOST}\r\nHost: {HOST}"), 400),
        whole(&format!("{line}\r\nHost: {HOST}\r\nhOST: evil.example"), 400),
        whole(&format!("{line}\r\nHost: evil.example\r\nX: y\r\nHost: {HOST}"), 400),
        whole(&format!("{absolute}\r\nHost: evil.example"), 400),
        whole(&format!("{absolute}\r\nHost:"), 400),
        whole(&format!("{line}\r\nHost: user@{HOST}"), 400),
        whole(&format!("{line}\r\nHost: {HOST}@evil.example"), 400),
        whole(&format!("{line}\r\n Host: {HOST}"), 400),
        whole(&format!("{line}\r\nHost : {HOST}"), 400),
        whole(&format!("{line}\r\nHost:\r\n {HOST}"), 400),
        whole(&format!("{line}\r\nHost: {HOST}\r\n\tevil.example"), 400),
        whole(&format!("{line}\nHost: {HOST}"), 400),
        whole(&format!("{line}\r\nHost: {HOST}\nHost: evil.example"), 400),
        whole(&format!("{line}\rHost: {HOST}"), 400),
        whole(&format!("\r\n\r\n\r\n\r\n\r\n{line}\r\nHost: {HOST}"), 400),
        whole(&format!("\n{line}\r\nHost: {HOST}"), 400),
        whole(&format!("\r{line}\r\nHost: {HOST}"), 400),
    ]
}

#[tokio::test]
async fn a_request_line_is_a_method_a_target_and_a_version_that_we_speak() {
    check(lines(), 100).await;
}

#[tokio::test]
async fn a_request_names_one_host_in_one_way() {
    check(hosts(), 19).await;
}
