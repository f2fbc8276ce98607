//! Programs as processes, with what is private to them.

pub mod fault_link;
pub mod folder;
pub mod process;
pub mod programs;
pub mod secrets;
