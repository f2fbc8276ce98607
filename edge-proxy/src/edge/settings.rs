//! What the options mean to each part of the edge. The options themselves know no part.

use std::time::Duration;

use shared::redis::calls::LeasePolicy;

use crate::{
    assertion,
    config::{Config, DevicePolicy, LimitOptions, TlsOptions},
    connection::{
        http1::{HeadTimeouts, head::Limits},
        proxy_protocol::ProxyProtocol,
    },
    origin::Origin,
    tls::{
        acme::Acme,
        acme_store::Folder,
        certificates::{Files, Need},
    },
    upstream::pool,
};

/// The issuer of assertions where no public origin is set.
const NAMELESS: &str = "zenzefi-gateway";

impl Config {
    /// How devices hold tokens.
    pub fn lease_policy(&self) -> LeasePolicy {
        LeasePolicy { lasts: self.lease(), is_per_device: self.device_policy == DevicePolicy::Off }
    }

    /// Who says whom connections are from, where anybody does.
    pub fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol.then(|| ProxyProtocol::by(self.trusted_proxies.clone()))
    }

    /// The certificate that Zenzefi is shown, if there is one.
    pub fn zenzefi_client_files(&self) -> Vec<Files> {
        let pair = self.zenzefi_client_cert_file.clone().zip(self.zenzefi_client_key_file.clone());
        pair.map(|(certificates, key)| Files { certificates, key, need: Need::Required }).into_iter().collect()
    }

    /// How requests are shared out among Zenzefi's addresses.
    pub fn pool_settings(&self) -> pool::Settings {
        pool::Settings {
            balance: self.zenzefi_balance,
            failures: self.zenzefi_eject_after,
            out_for: Duration::from_secs(self.zenzefi_eject_seconds),
            look_every: Duration::from_secs(self.zenzefi_health_seconds),
            look_at: self.zenzefi_health_path.clone(),
        }
    }

    /// What is to be signed for Zenzefi, and for how long it is good; `None` if nothing is.
    pub fn assertion_settings(&self) -> Option<assertion::Settings> {
        let issuer = self.public_origin.first().map_or_else(|| NAMELESS.to_owned(), Origin::to_string);
        (self.assertion_seconds > 0).then(|| assertion::Settings {
            issuer,
            audience: self.zenzefi_url.iter().map(Origin::to_string).collect(),
            lifetime: Duration::from_secs(self.assertion_seconds),
            rotated_every: Duration::from_secs(self.assertion_rotate_seconds),
            outage_grace: Duration::from_secs(self.redis_outage_grace_seconds),
        })
    }
}

impl LimitOptions {
    /// How long and how many the parts of a request's head may be.
    pub fn head_limits(&self) -> Limits {
        Limits {
            line_bytes: usize::try_from(self.max_request_line_bytes).expect("a u32 fits"),
            head_bytes: usize::try_from(self.max_head_bytes).expect("a u32 fits"),
            headers: usize::from(self.max_headers),
        }
    }

    /// How long a client may take over a request's head, and between two requests.
    pub fn patience(&self) -> HeadTimeouts {
        let (head, idle) = (self.header_timeout_seconds, self.idle_timeout_seconds);
        HeadTimeouts { head: Duration::from_secs(head), idle: Duration::from_secs(idle) }
    }
}

impl TlsOptions {
    /// The certificates of the TLS listener, if there is one.
    pub fn files(&self, origins: &[Origin]) -> Vec<Files> {
        let pairs = self.edge_tls_cert_file.iter().zip(&self.edge_tls_key_file);
        let files = pairs.map(|(certificates, key)| Files {
            certificates: certificates.clone(),
            key: key.clone(),
            need: Need::Required,
        });
        let files = files.chain(self.acme(origins).into_iter().flat_map(|acme| acme.files_with_fallbacks()));
        if self.edge_tls_listen.is_some() { files.collect() } else { Vec::new() }
    }

    /// The ACME authority for the names in these origins, if there is one.
    pub fn acme(&self, origins: &[Origin]) -> Option<Acme> {
        let (directory, folder) = self.acme_options()?;
        let domains = self.acme_domains(origins);
        let folder = Folder::new(folder, directory, &domains);
        let (contact, ca_file) = (self.acme_contact.clone(), self.acme_ca_file.clone());
        Some(Acme { directory: directory.to_owned(), domains, contact, ca_file, folder })
    }
}
