//! A gateway that is private to one test: Redis, the stand-in, one or more edges, and either
//! Postgres with a control plane or, for what the edge does alone, an issuer of tokens in its
//! place.

mod issuer;
mod plan;
mod running;

pub use self::{
    issuer::Issuer,
    plan::{Plan, Upstream},
    running::{Control, EdgeStack, Stack},
};
