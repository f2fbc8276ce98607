//! The testbed: real servers and both programs as processes, a stand-in for the upstream, and
//! actors that use them the way people do. It exists so that every promise is tested over the
//! network, against the very programs that are shipped.
//!
//! Nothing here imports a plane. What a test starts is private to it, ends with it, and collides
//! with nothing: a temporary folder, free ports, one cloned database and one Redis a test.
//!
//! - [`stack`]: both programs with all that they need, ready for a test. [`people`]: those who use
//!   them
//! - [`servers`]: what the programs run on. [`upstreams`]: what the edge stands in front of.
//!   [`clients`]: what calls them
//! - [`processes`]: programs as processes, their folders, keys and faults. [`mod@eventually`]:
//!   waiting for a state
//! - [`house`]: the sources, measured

pub mod clients;
pub mod eventually;
pub mod house;
pub mod people;
pub mod processes;
pub mod servers;
pub mod stack;
pub mod upstreams;
