//! The cookies of a request: how one is read, and how the gateway's own are taken out before it
//! goes on. Pure.

use http::{HeaderMap, HeaderValue, header};
use shared::web::cookie;

/// The value of the first cookie of that name.
pub fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = pairs(headers).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()
}

/// The request's cookies in one line, without the gateway's own; `None` if none is left. Lines that
/// hold none of them stay byte for byte; that there may be several is HTTP/2's way (RFC 9113
/// §8.2.3), which HTTP/1.1 does not know.
pub fn strip_ours(headers: &HeaderMap) -> Option<HeaderValue> {
    strip(headers, is_ours)
}

/// The same, without those alone that are for the edge.
pub fn strip_edges(headers: &HeaderMap) -> Option<HeaderValue> {
    strip(headers, |name| [cookie::ACCESS_TOKEN, cookie::DEVICE].contains(&name))
}

fn strip(headers: &HeaderMap, leaves: fn(&str) -> bool) -> Option<HeaderValue> {
    let lines = headers.get_all(header::COOKIE).iter();
    let lines: Vec<HeaderValue> = lines.filter_map(|line| strip_line(line, leaves)).collect();
    match &lines[..] {
        [] => None,
        [line] => Some(line.clone()),
        lines => {
            let lines: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&lines.join(&b"; "[..])).ok()
        }
    }
}

fn strip_line(line: &HeaderValue, leaves: fn(&str) -> bool) -> Option<HeaderValue> {
    let parts = || line.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let goes = |pair: &[u8]| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        std::str::from_utf8(name).is_ok_and(leaves)
    };
    if !parts().any(goes) {
        return Some(line.clone());
    }
    let kept: Vec<&[u8]> = parts().filter(|pair| !goes(pair)).collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok() }
}

/// Whether a cookie of that name belongs to the gateway.
pub fn is_ours(cookie_name: &str) -> bool {
    cookie::ALL.contains(&cookie_name)
}

/// Bytes, not text: a browser puts all cookies into one line, and some other page's may hold
/// anything.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: &str = cookie::ACCESS_TOKEN;
    const TEXT: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

    fn headers(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, line.parse().expect("a value"))])
    }

    #[test]
    fn a_cookie_of_others_that_is_no_text_hides_none_of_ours() {
        let line = HeaderValue::from_bytes(format!("name=Иван; {COOKIE}={TEXT}").as_bytes()).expect("a value");
        let headers = HeaderMap::from_iter([(header::COOKIE, line)]);
        assert_eq!(get(&headers, COOKIE), Some(TEXT));
        assert_eq!(strip_ours(&headers).expect("one is left").as_bytes(), "name=Иван".as_bytes());
    }

    #[test]
    fn our_cookies_do_not_reach_the_upstream_and_theirs_do_as_they_came() {
        for ours in cookie::ALL {
            let line = format!("a=1; {COOKIE}=x;  b=\"2; {ours}=y");
            assert_eq!(strip_ours(&headers(&line)).expect("two are left"), "a=1; b=\"2", "{ours}");
        }
        assert_eq!(strip_ours(&headers(&format!("{COOKIE}=x"))), None);
        let console = format!("{COOKIE}=x; {}=y; {}=z", cookie::CONSOLE, cookie::DEVICE);
        let for_control = strip_edges(&headers(&console));
        assert_eq!(for_control.expect("one is left"), format!("{}=y", cookie::CONSOLE));
        let mut crumbs = HeaderMap::new();
        for crumb in ["a=1", &format!("{COOKIE}=x"), "b=2;  c"] {
            crumbs.append(header::COOKIE, crumb.parse().expect("a value"));
        }
        assert_eq!(strip_ours(&crumbs).expect("three are left"), "a=1; b=2;  c");
    }
}
