//! Certificates: read from files, or ordered by ACME.

pub mod acme;
pub mod acme_store;
pub mod certificates;
