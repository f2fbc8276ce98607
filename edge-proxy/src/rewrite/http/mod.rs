//! Which answers are rewritten, and what becomes of their headers.

pub mod headers;
pub mod media;
pub mod negotiation;
pub mod plan;
pub mod validators;
