//! What operators see: log lines, metrics and traces. None of them ever holds a credential.

pub mod access_log;
pub mod log;
pub mod metrics;
