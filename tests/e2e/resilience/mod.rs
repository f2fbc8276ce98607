//! What happens when something fails or is replaced: a process, Redis, Postgres, a configuration.

mod failover;
mod outages;
mod recovery;
mod refund_races;
mod reload;
mod upgrades;
