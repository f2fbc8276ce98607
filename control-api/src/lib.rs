//! The control plane: users, logins, tokens, credits, administration. Postgres holds the truth;
//! Redis gets a copy. Postgres is never asked on behalf of a proxied request.
//!
//! A module imports only what stands below it:
//!
//! - [`cli`]: the command line. [`run`]: tasks, listeners, stop
//! - [`server`]: the loop that serves HTTP, and what surrounds every request. [`jobs`]: what runs
//!   beside requests: the relay of the outbox, the rebuild of Redis, the reader of usage, the
//!   sweeper, the reconciler of payments
//! - [`api`]: HTTP for programs. [`console`]: HTTP for people. They never see each other
//! - [`http`]: what the two share of a request
//! - [`input`]: what callers write, parsed and checked. [`publish`]: tokens from Postgres to Redis
//! - [`app`]: what requests and tasks share
//! - [`domain`]: the rules. One public function is one transaction, with its audit line and its row
//!   of the outbox
//! - [`payments`]: the provider that takes money. [`redis`]: every call of Redis
//! - [`db`]: the tables, one file each
//! - [`telemetry`]: logs, metrics, traces
//! - [`config`]: options and their checks. [`links`]: addresses that both faces draw. [`assets`]:
//!   what pages load

mod api;
mod app;
mod assets;
pub mod cli;
pub mod config;
mod console;
mod db;
mod domain;
mod http;
mod input;
mod jobs;
mod links;
mod payments;
mod publish;
mod redis;
pub mod run;
mod server;
pub mod telemetry;
