//! Makes what the upstream says of itself fit the origin that people see, and the other way round. Pure: text in, text out.

pub mod body;
pub mod coding;
mod escapes;
mod finder;
pub mod headers;
pub mod integrity;
pub mod media;
pub mod negotiation;
pub mod notice;
pub mod origins;
pub mod plan;
mod skim;
mod tags;
pub mod validators;
