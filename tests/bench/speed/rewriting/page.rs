//! HTML that is much like what people look at: the same at each call.

/// A line that names no origin, of five tags in some three hundred bytes.
fn prose(number: usize) -> String {
    format!(
        "<p class=\"row\" id=\"c-{number}\">Certificate {number} was issued for the back end of plant {}, is valid until 2031-0{}-1{} and \
         can be renewed by whoever holds its key; all that was done with it stands in its \
         <a href=\"/certificates/details/{number}\">details</a>, the newest entry first.<br></p>\n",
        number % 97,
        1 + number % 9,
        number % 10
    )
}

/// How pages, and the scripts and data in them, spell an origin: plainly, without a scheme, in
/// JSON, in a query, for a WebSocket and with entities.
pub fn spellings(origin: &str) -> [String; 6] {
    let authority = origin.trim_start_matches("http://");
    let encoded = authority.replace(':', "%3A");
    [
        origin.to_owned(),
        format!("//{authority}"),
        format!("http:\\/\\/{authority}"),
        format!("http%3A%2F%2F{encoded}"),
        format!("ws://{authority}"),
        format!("http:&#x2f;&#x2f;{authority}"),
    ]
}

/// A page of a given length that names an origin a given number of times, evenly spread, in these
/// spellings by turns.
pub fn page(named: &[impl AsRef<str>], bytes: usize, occurrences: usize) -> Vec<u8> {
    let mut page = Vec::with_capacity(bytes);
    page.extend_from_slice(b"<!doctype html><title>Certificates</title>\n");
    let (mut number, mut written) = (0, 0);
    while page.len() < bytes {
        let line = if written < occurrences && written * bytes <= page.len() * occurrences {
            let named = named[written % named.len()].as_ref();
            written += 1;
            format!("<p><a href=\"{named}/certificates/export/{written}\">export</a></p>\n")
        } else {
            number += 1;
            prose(number)
        };
        page.extend_from_slice(line.as_bytes());
    }
    // Never within a name: the last line is prose, and longer than what it is too long by.
    page.truncate(bytes);
    page
}

/// How often a text names the origin `named`.
pub fn count(text: &[u8], named: &str) -> usize {
    text.windows(named.len()).filter(|window| *window == named.as_bytes()).count()
}
