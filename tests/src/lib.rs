//! The testbed: real servers and both programs as processes, a stand-in for the upstream, and actors that use them the way
//! people do. It exists so that every promise is tested over the network, against the very programs that are shipped.
//!
//! Nothing here imports a plane. What a test starts is private to it, ends with it, and collides with nothing: a temporary
//! [`folder`], free ports, one cloned database and one Redis a test.

pub mod actors;
pub mod axe;
pub mod browser;
pub mod client;
pub mod collector;
pub mod console;
pub mod eventually;
pub mod folder;
pub mod house;
pub mod link;
pub mod load;
pub mod local_proxy;
pub mod paced;
pub mod pebble;
pub mod planes;
pub mod postgres;
pub mod process;
pub mod quitter;
pub mod recorder;
pub mod redis;
pub mod secrets;
pub mod sentinel;
pub mod silent;
pub mod slow;
pub mod small_server;
pub mod socket;
pub mod stack;
pub mod standin;
pub mod strangers;
pub mod tls;
pub mod wire;
pub mod yookassa;
