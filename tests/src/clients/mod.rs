//! What calls the programs: browsers, tools, raw sockets.

pub mod axe;
pub mod browser;
pub mod http;
pub mod load;
pub mod local_proxy;
pub mod raw_http;
pub mod slow;
pub mod tls;
pub mod unknown_tokens;
pub mod websocket;
