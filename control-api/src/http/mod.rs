//! What the API and the console share of a request.

pub mod browser_handoff;
pub mod caller;
pub mod error;
pub mod page;
