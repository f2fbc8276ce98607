//! How the process starts, runs beside requests, reloads its options and stops.

pub mod background;
pub mod listeners;
pub mod ops;
pub mod readiness;
pub mod reload;
pub mod shutdown;
pub mod socket_handoff;
pub mod start;
