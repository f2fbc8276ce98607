//! What happens to the bytes of a connection before Pingora reads a request from them.

pub mod cutoff;
pub mod http1;
pub mod proxy_protocol;

use pingora::proxy::Session;

/// Whether a request came by the TLS listener.
pub fn is_tls(session: &Session) -> bool {
    session.digest().is_some_and(|digest| digest.ssl_digest.is_some())
}
