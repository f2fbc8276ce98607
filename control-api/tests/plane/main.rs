//! The control plane as a process in front of a real Postgres and a real Redis, spoken to over
//! sockets alone. What an edge would do to Redis, the tests do by the same scripts.

mod accounts;
mod admin;
mod attempts;
mod audit;
mod bundles;
mod cli;
mod console;
mod console_admin;
mod crashes;
mod harness;
mod http_rules;
mod idempotency;
mod isolation;
mod ledger;
mod limits;
mod lists;
mod logins;
mod mock_payments;
mod networks;
mod payments;
mod publishing;
mod races;
mod recovery;
mod referrals;
mod refunds;
mod schemathesis;
mod sessions;
mod stats;
mod tokens;
