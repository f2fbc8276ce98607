//! How either program starts: where its options come from, and where it sends its traces.

pub mod settings;
pub mod trace;
