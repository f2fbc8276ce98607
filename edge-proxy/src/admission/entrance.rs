//! Who may come in at all, before a token is looked at: by address, and by how much is open
//! already.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use prometheus::IntGauge;
use shared::net::address::AddressFilter;

use crate::sync::RwLock;

/// The bounds of this edge on clients and on open requests. They may change while it runs.
pub struct Entrance {
    addresses: RwLock<AddressFilter>,
    /// How much may be open at once in all; 0 for any number.
    max_open: AtomicU32,
    open: IntGauge,
}

impl Entrance {
    /// `open` counts what is open now.
    pub fn new(addresses: AddressFilter, max_open: u32, open: IntGauge) -> Self {
        Self { addresses: RwLock::new(addresses), max_open: AtomicU32::new(max_open), open }
    }

    /// Takes over these bounds. What is open stays.
    pub fn apply(&self, addresses: AddressFilter, max_open: u32) {
        *self.addresses.write() = addresses;
        self.max_open.store(max_open, Ordering::Relaxed);
    }

    /// Whether a client of this address may come in.
    pub fn admits(&self, client: IpAddr) -> bool {
        self.addresses.read().may_come(client)
    }

    /// Whether more is open than this edge serves at once.
    pub fn is_full(&self) -> bool {
        let most = i64::from(self.max_open.load(Ordering::Relaxed));
        most > 0 && self.open.get() > most
    }
}
