//! The listeners: the loop that serves HTTP, and what surrounds every request.

pub mod documents;
pub mod http;
pub mod middleware;
pub mod ops;
pub mod reload;
pub mod routes;
