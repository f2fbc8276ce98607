//! Cookies that the upstream sets, read as a browser reads them.

use http::{HeaderMap, HeaderValue, header};

use crate::{
    cookies,
    input::{Input, Parties},
    rewrite::http::headers::set_cookie,
};

/// What a browser sends back is never one of the gateway's own, and is what the upstream set; no
/// other host gets it.
pub fn a_cookie_is_never_ours_and_stays_on_its_host(mut input: Input<'_>) {
    let Parties { shown, .. } = input.parties();
    let Some(line) = input.header() else { return };
    for shown in [None, Some(&shown)] {
        let Some(fitted) = set_cookie(line.as_bytes(), shown) else { continue };
        let value = HeaderValue::from_bytes(&fitted).expect("a header");
        let sent_back = sent_back(&fitted);
        assert_eq!(sent_back, self::sent_back(line.as_bytes()), "{line:?} became {value:?}");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_bytes(&sent_back).expect("a header"));
        for ours in shared::web::cookie::ALL {
            assert_eq!(cookies::get(&headers, ours), None, "{line:?}");
        }
        let Some(shown) = shown else { continue };
        for attribute in fitted.split(|&byte| byte == b';').skip(1) {
            let name = attribute.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
            assert!(!name.eq_ignore_ascii_case(b"domain"), "{line:?} became {value:?}");
            assert!(shown.is_https() || !name.eq_ignore_ascii_case(b"secure"), "{line:?} became {value:?}");
        }
        assert_eq!(set_cookie(&fitted, Some(shown)).as_ref(), Some(&fitted), "{line:?}");
    }
}

/// What a browser makes of a line of `Set-Cookie` when it sends it back: RFC 6265bis, 5.6 and
/// 5.8.3. A cookie may have no name.
fn sent_back(line: &[u8]) -> Vec<u8> {
    let pair = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let mut parts = pair.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
    match (parts.next().unwrap_or_default(), parts.next()) {
        (b"", Some(value)) | (value, None) => value.to_owned(),
        (name, Some(value)) => [name, value].join(&b"="[..]),
    }
}
