//! The control API and its portal and console through the front door, by HTTP.

mod control_refusals;
mod front_door;
mod host;
pub mod security;
