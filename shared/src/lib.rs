//! The contract between the control plane and the data plane, and nothing else: what a credential
//! is, which paths a scope opens, what stands in Redis and what travels on its streams.
//!
//! Both planes import this crate and never each other, so a promise that they make to one another
//! is written once. It holds no runtime, no web framework and no database, and of I/O only what
//! [`process::settings`] reads at the start. How options are read, traces told, and how pages look
//! and which language they speak is here too: both planes must do it alike.

pub mod malformed;
pub mod net;
pub mod process;
pub mod rate;
pub mod redis;
pub mod token;
pub mod web;
