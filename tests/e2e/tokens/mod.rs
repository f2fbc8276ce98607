//! The life of a token: bought, handed over, used on devices and networks within its limits,
//! counted, expired; and what becomes of a token that nobody ever sold.

mod activation;
mod devices;
pub mod expiry;
mod handover;
mod limits;
mod networks;
mod purchase;
mod sessions;
mod unknown_tokens;
