//! What the edge does by itself, over real sockets: one edge or more with a real Redis and an
//! upstream, and neither control plane nor Postgres. One test a promise; each ends with
//! `stack.finish()`, which checks what must hold after any of them.

mod as_sent;
mod codings;
mod cookie_jar;
mod credential_order;
mod fitted_heads;
mod fixtures;
mod h2_abuse;
mod headers;
mod path_tricks;
mod raw_requests;
mod refusals;
mod rewriting;
mod rewritten_streams;
mod slow_clients;
mod slow_readers;
mod streaming;
mod tls_listener;
mod transports;
mod upstreams;
mod websockets;
