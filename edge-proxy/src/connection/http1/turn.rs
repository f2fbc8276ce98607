//! The turn of the requests of one connection.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says when the next request of a connection may begin.
#[derive(Debug, Default)]
pub struct RequestTurn(AtomicBool);

impl RequestTurn {
    /// Lets the next request begin.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes the turn, if it is there.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
