//! The gateway as people use it: both programs as processes, real Postgres, Redis and Chromium, the
//! stand-in upstream. One test a promise; each ends with `stack.finish()`, which checks what must
//! hold after any of them. What the edge does by itself is tested in `edge-proxy/tests/edge/`.

mod console;
mod cutoff;
mod operations;
mod pages;
mod resilience;
mod tokens;
