//! What happens to the bytes of a connection before Pingora reads a request from them.

pub mod cutoff;
pub mod http1;
pub mod proxy_protocol;

use std::net::IpAddr;

use http::HeaderName;
use pingora::proxy::Session;
use shared::net::address::TrustedProxies;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a request came by the TLS listener.
pub fn is_tls(session: &Session) -> bool {
    session.digest().is_some_and(|digest| digest.ssl_digest.is_some())
}

/// Whether the peer itself is one of these proxies.
pub fn is_from_trusted_proxy(session: &Session, trusted: &TrustedProxies) -> bool {
    let peer = session.client_addr().and_then(|peer| peer.as_inet());
    peer.is_some_and(|peer| trusted.contains(peer.ip()))
}

/// The client's address, past the proxies that are trusted.
pub fn client_address(session: &Session, trusted: &TrustedProxies) -> Option<IpAddr> {
    let peer = session.client_addr()?.as_inet()?.ip();
    let lines = session.req_header().headers.get_all(FORWARDED_FOR).iter();
    Some(trusted.client(peer, lines.map(|line| line.to_str().unwrap_or_default())))
}
