//! `/fixtures/{name}`: text of the shapes that real applications have, as it stands in
//! `tests/fixtures/rewrite`.

use std::fs;

use http::StatusCode;

use super::{
    answer::{self, Answer},
    asked::{Origin, header_line},
    site,
};

/// Where the fixtures are.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/rewrite");

/// Answers a fixture with its marks filled in. One that ends in `.headers` is sent as the lines of
/// a head, with no body.
pub fn answer(name: &str, origin: &Origin) -> Answer {
    let Ok(text) = fs::read_to_string(format!("{FOLDER}/{name}")) else { return answer::not_found() };
    let text = site::fill_in(&text, origin);
    let media_type = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css",
        "headers" => return of_headers(&text),
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "map" => "application/json",
        "svg" => "image/svg+xml",
        "webmanifest" => "application/manifest+json",
        "xml" => "application/xml",
        _ => return answer::not_found(),
    };
    answer::ok(media_type, text)
}

fn of_headers(text: &str) -> Answer {
    let mut answer = answer::empty(StatusCode::NO_CONTENT);
    for line in text.lines() {
        let Some((name, value)) = header_line(line) else { return answer::bad_request("no header") };
        answer.headers_mut().append(name, value);
    }
    answer
}
