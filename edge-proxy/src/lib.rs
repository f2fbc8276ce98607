//! The data plane: admits requests that carry a valid access token, streams them to Zenzefi and
//! back, and closes them when the token ends. It asks Redis, never Postgres.
//!
//! A request passes these folders from top to bottom; a module imports only what stands below it:
//!
//! - [`process`]: start, the services beside requests, reload, socket hand-off, shutdown
//! - [`proxy`]: Pingora's phases in order; dispatch, headers and bodies on their way, WebSockets
//! - [`endpoints`]: the edge's own URLs
//! - [`edge`]: the parts of one process
//! - [`admission`]: may this request pass? limits; what a request holds. [`connection`]: bytes
//!   before Pingora reads them, and the race of a request against its grant
//! - [`grants`]: the cache of grants in front of Redis, and the change feed. [`response`]: the only
//!   writer of the edge's own responses. [`upstream`]: Zenzefi's addresses
//! - [`pages`]: what pages say. [`usage`]: requests and bytes by session. [`assertion`]: who asks,
//!   signed. [`tls`]: certificates
//! - [`telemetry`]: logs and metrics. [`redis`]: the connection and every call. [`rewrite`]:
//!   origins in headers and bodies, pure
//! - [`config`]: options and their checks
//! - [`rejection`]: every "no". [`route`], [`origin`], [`cookies`], [`clock`], [`ids`],
//!   [`lifecycle`], [`sync`]: small things, below all

pub mod admission;
pub mod assertion;
pub mod clock;
pub mod config;
pub mod connection;
pub mod cookies;
pub mod edge;
pub mod endpoints;
pub mod grants;
pub mod ids;
pub mod lifecycle;
pub mod origin;
pub mod pages;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod rejection;
pub mod response;
pub mod rewrite;
pub mod route;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod usage;
