//! What happens to the bytes of a connection before Pingora reads a request from them.

pub mod cutoff;
pub mod http1;
pub mod proxy_protocol;
