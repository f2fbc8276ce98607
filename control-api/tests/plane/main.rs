//! The control plane as a process in front of a real Postgres and a real Redis, spoken to over sockets alone. What an edge
//! would do to Redis, the tests do by the same scripts.

mod accounts;
mod admin;
mod attempts;
mod audit;
mod cli;
mod harness;
mod http_rules;
mod ledger;
mod logins;
mod publishing;
mod recovery;
mod refunds;
mod sessions;
mod tokens;
