//! Headers that name an origin, read as a browser reads them.

use http::HeaderValue;
use url::{Position, Url};

use crate::{
    input::{Input, Parties},
    origin::Origin,
    rewrite::{
        http::headers::{cache_control, content_security_policy, location, names, towards_upstream},
        origins::OriginPatterns,
    },
};

/// A redirect that is mapped leads to what is shown, and there to what it named at the upstream, or
/// to where it led before. One for a caller to whom no origin is shown leads to the gateway itself.
pub fn a_redirect_leads_to_what_is_shown_or_where_it_said(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let Some(value) = input.header_text() else { return };
    let spellings = OriginPatterns::of(&upstreams);
    if let Some(mapped) = location(&value, &spellings, Some(&shown)) {
        assert_is_header(&mapped);
        let (said, leads) = (resolved(&upstreams[0], &value), resolved(&shown, &mapped));
        // Another host that is named without a scheme is led to by the scheme that is shown.
        let is_there = |said: &Url, leads: &Url| {
            host_and_port(said) == host_and_port(leads)
                || (said.host_str(), said.port()) == (leads.host_str(), leads.port())
        };
        if let (Some(said), Some(leads)) = (said, leads)
            && !is_there(&said, &leads)
        {
            // Its scheme may be a WebSocket's.
            let at_shown = resolved(&shown, "/").expect("a URL");
            assert_eq!(host_and_port(&leads), host_and_port(&at_shown), "{value:?} became {mapped:?}");
            // As text, before a URL makes slashes of backslashes that spell some.
            let renamed = names(&value, &spellings, &shown).unwrap_or_else(|| value.clone());
            let there = resolved(&shown, &renamed);
            let there = there.as_ref().map(|url| &url[Position::BeforePath..]);
            assert_eq!(Some(&leads[Position::BeforePath..]), there, "{value:?} became {mapped:?}");
        }
    }
    if let Some(path) = location(&value, &spellings, None) {
        assert_is_header(&path);
        let leads = resolved(&shown, &path).expect("a URL");
        assert_eq!(Origin::of_url(&leads).as_ref(), Some(&shown), "{value:?} became {path:?}");
    }
}

/// A request's `Origin` or `Referer` that is mapped names the upstream, and the same place there.
pub fn what_comes_from_us_goes_to_the_upstream(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let Some(value) = input.header_text() else { return };
    let Some(mapped) = towards_upstream(&value, &[&shown], &upstreams[0]) else { return };
    assert_is_header(&mapped);
    let leads = Url::parse(&mapped).expect("a URL");
    assert_eq!(Origin::of_url(&leads).as_ref(), Some(&upstreams[0]), "{value:?} became {mapped:?}");
    let Some(named) = resolved(&shown, &value) else { return };
    assert_eq!(leads[Position::BeforePath..], named[Position::BeforePath..], "{value:?} became {mapped:?}");
}

/// A policy stays a header, does not name the upstream, and is fitted once and for all.
pub fn a_policy_names_what_is_shown(mut input: Input<'_>) {
    let Parties { upstreams, shown } = input.parties();
    let Some(value) = input.header_text() else { return };
    let spellings = OriginPatterns::of(&upstreams);
    let Some(fitted) = content_security_policy(&value, &spellings, &shown) else { return };
    assert_is_header(&fitted);
    let sources = fitted.split([' ', ';', ',']);
    sources.for_each(|source| assert!(!spellings.has_authority(source), "{value:?} became {fitted:?}"));
    assert_eq!(content_security_policy(&fitted, &spellings, &shown), None, "{value:?} became {fitted:?}");
}

/// What an answer may be stored by is private, and stays so.
pub fn an_answer_is_private(input: Input<'_>) {
    let Some(value) = input.header_text() else { return };
    let Some(fitted) = cache_control(Some(&value)) else { return };
    assert_is_header(&fitted);
    assert_eq!(cache_control(Some(&fitted)), None, "{value:?} became {fitted:?}");
}

/// Where a browser goes that reads this at that origin; `None` where it goes nowhere.
fn resolved(at: &Origin, value: &str) -> Option<Url> {
    let base = Url::parse(&at.to_string()).expect("an origin is a URL");
    base.join(value).ok()
}

fn host_and_port(url: &Url) -> (Option<&str>, Option<u16>) {
    (url.host_str(), url.port_or_known_default())
}

fn assert_is_header(value: &str) {
    assert!(HeaderValue::from_str(value).is_ok(), "{value:?} is no header");
}
