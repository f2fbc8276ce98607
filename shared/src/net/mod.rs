//! Addresses and paths: which clients may connect, and which paths go to the upstream at all.

pub mod address;
pub mod upstream_path;
