//! TLS: the certificates that are shown, and those that ACME orders.

pub mod acme;
pub mod acme_store;
pub mod certificates;

use std::sync::Arc;

use acme::Acme;
use certificates::Certificates;

/// The certificates of this edge.
pub struct Tls {
    /// What the TLS listener shows, where there is one.
    pub certificates: Option<Arc<Certificates>>,
    /// Which authority is asked for a certificate, where one is.
    pub acme: Option<Acme>,
    /// What the upstream is shown, where it asks for that.
    pub client_certificate: Option<Arc<Certificates>>,
}

impl Tls {
    /// Reads the files of certificates that have changed; says in the log what came of it.
    pub fn reload(&self) {
        self.certificates.iter().chain(&self.client_certificate).for_each(|certificates| certificates.reload());
    }
}
