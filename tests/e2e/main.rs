//! The gateway as people use it: both programs as processes, real Postgres, Redis and Chromium, the stand-in upstream. One test
//! a promise; each ends with `stack.finish()`, which checks what must hold after any of them.

mod activation;
mod as_sent;
mod browser;
mod codings;
mod control_refusals;
mod cookie_jar;
mod credential_order;
mod cut_off;
mod devices;
mod expiry;
mod failover;
mod feed;
mod fitted_heads;
mod fixtures;
mod front_door;
mod handover;
mod headers;
mod outages;
mod path_tricks;
mod programs;
mod purchase;
mod recovery;
mod refund_races;
mod refusals;
mod rewriting;
mod rewritten_streams;
mod sessions;
mod streaming;
mod transports;
mod two_edges;
mod unknown_tokens;
mod upgrades;
mod websockets;
