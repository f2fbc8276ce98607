//! What operators configure and read: commands, certificates, addresses, assertions, traces.

mod acme;
mod addresses;
mod assertions;
mod programs;
mod traces;
