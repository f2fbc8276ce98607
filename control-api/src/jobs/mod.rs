//! What runs beside requests, for as long as the process does.

pub mod outbox_relay;
pub mod payment_reconciler;
pub mod redis_rebuild;
pub mod sweeper;
pub mod usage_consumer;

use std::time::Duration;

/// How long one round of a background task may take before it counts as failed: Postgres may be
/// gone without having closed its connections, and a task that waits for it would wait for ever.
pub const ROUND_WITHIN: Duration = Duration::from_secs(30);
