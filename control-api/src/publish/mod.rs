//! From Postgres to Redis: how tokens as they stand now are published.

pub mod batch;
pub mod put;
