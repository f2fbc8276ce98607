//! What is open ends with its token, on every edge.

mod cut_off;
mod feed;
mod two_edges;
