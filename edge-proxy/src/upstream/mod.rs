//! The servers behind the edge: Zenzefi, at one or several addresses, and the control API.

pub mod pool;
pub mod server;
