//! The names of the gateway's cookies. A browser sends one host's cookies to all of its ports, so
//! each plane may get those of the other: none ever reaches the upstream, and none that the
//! upstream sets reaches a browser.

/// Names the access token's credential of a browser, on the edge.
pub const ACCESS_TOKEN: &str = "zenzefi_access_token";
/// Names a browser as a device, on the edge.
pub const DEVICE: &str = "zenzefi_device";
/// Why that credential was taken back, for the next page to say so, on the edge; no secret.
pub const ENDED: &str = "zenzefi_ended";
/// A login to the console, over http.
pub const CONSOLE: &str = "zenzefi_console";
/// The same over https: no other host, and nothing without TLS, can set it (RFC 6265bis §4.1.3.2).
pub const CONSOLE_SECURE: &str = "__Host-zenzefi_console";
/// The language that a person chose; no secret.
pub const LANGUAGE: &str = "zenzefi_language";

/// Every one of them.
pub const ALL: [&str; 6] = [ACCESS_TOKEN, DEVICE, ENDED, CONSOLE, CONSOLE_SECURE, LANGUAGE];
