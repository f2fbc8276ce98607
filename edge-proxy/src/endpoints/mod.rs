//! The edge's own URLs.

pub mod browser;
pub mod cookies;
pub mod form;
pub mod operator;
pub mod rejection_page;
pub mod session;
