//! What runs beside requests, for as long as the process does.

pub mod outbox_relay;
pub mod payment_reconciler;
pub mod redis_rebuild;
pub mod sweeper;
pub mod usage_consumer;
