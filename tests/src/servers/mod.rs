//! What the programs run on: databases, authorities, collectors.

pub mod pebble;
pub mod postgres;
pub mod redis;
pub mod sentinel;
pub mod trace_collector;
pub mod yookassa;
