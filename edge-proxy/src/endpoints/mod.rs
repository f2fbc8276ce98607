//! The edge's own URLs.

pub mod browser;
pub mod session;
