//! What a client accepts (RFC 9110 §12.5.3), and what of it the gateway can take off and put on
//! again.

use crate::rewrite::coding::Coding;

const IDENTITY: &str = "identity";
const ANY: &str = "*";

/// What `Accept-Encoding` becomes towards the upstream: an answer in a coding that is not known
/// here could not be rewritten.
pub fn towards_upstream(accept: &str) -> String {
    let is_known = |item: &&str| {
        let name = name(item);
        name.eq_ignore_ascii_case(IDENTITY) || Coding::named(name).is_some() || name == ANY && is_refused(item)
    };
    let kept: Vec<&str> = accept.split(',').map(str::trim).filter(is_known).collect();
    if kept.is_empty() { IDENTITY.to_owned() } else { kept.join(", ") }
}

/// Whether a client that sent this `Accept-Encoding` takes an answer in that coding; one that said
/// nothing takes any.
pub fn accepts(accept: Option<&str>, coding: Coding) -> bool {
    let Some(accept) = accept else { return true };
    let items = || accept.split(',').map(str::trim);
    let named = items().find(|item| Coding::named(name(item)) == Some(coding));
    named.or_else(|| items().find(|item| name(item) == ANY)).is_some_and(|item| !is_refused(item))
}

fn name(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

/// Whether its weight is zero.
fn is_refused(item: &str) -> bool {
    let parameters = item.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut weights = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weights.next().is_some_and(|(_, weight)| weight.trim().parse() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_is_asked_only_for_what_can_be_rewritten() {
        for (accept, becomes) in [
            ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
            ("gzip;q=0.8, compress, dcb, dcz, sdch, BR", "gzip;q=0.8, BR"),
            ("*", "identity"),
            ("*;q=0, identity", "*;q=0, identity"),
            ("dcb", "identity"),
            ("", "identity"),
        ] {
            assert_eq!(towards_upstream(accept), becomes, "{accept:?}");
        }
    }

    #[test]
    fn a_client_gets_what_it_accepts() {
        assert!(accepts(None, Coding::Zstd));
        assert!(accepts(Some("GZIP, br;q=0.1"), Coding::Gzip));
        assert!(accepts(Some("gzip, br; q=0.1"), Coding::Brotli));
        assert!(accepts(Some("br;q=0, *"), Coding::Gzip));
        for refused in ["", "identity", "br", "gzip;q=0, *", "gzip ; q=0.000", "*;q=0"] {
            assert!(!accepts(Some(refused), Coding::Gzip), "{refused:?}");
        }
    }
}
