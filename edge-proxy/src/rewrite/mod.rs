//! Makes what the upstream says of itself fit the origin that people see, and the other way round.
//! Pure: text in, text out.

pub mod body;
mod carry;
pub mod coding;
#[cfg(test)]
mod draws;
mod escapes;
mod finder;
pub mod html;
pub mod http;
pub mod origins;
