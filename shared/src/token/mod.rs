//! An access token: the credential that names it, the scope that it opens, the device that uses it.

pub mod credential;
pub mod device;
pub mod scope;
pub mod state;
