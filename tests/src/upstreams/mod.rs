//! What the edge is put in front of.

pub mod paced;
pub mod quitter;
pub mod recorder;
pub mod silent;
pub mod small_server;
pub mod standin;
