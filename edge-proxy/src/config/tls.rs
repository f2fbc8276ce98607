//! TLS towards clients: where it is spoken, with which certificates, and who is sent there.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;

use super::value::https_url;
use crate::origin::Origin;

/// The options of TLS.
#[derive(Args, Clone, Debug)]
pub struct TlsOptions {
    /// Address for HTTP/1.1 and HTTP/2 with TLS; needs a certificate and its key, or ACME_DIRECTORY
    #[arg(long, env = "EDGE_TLS_LISTEN")]
    pub edge_tls_listen: Option<SocketAddr>,

    /// PEM files of certificate chains for EDGE_TLS_LISTEN, comma-separated; the host name selects
    /// one, the first is the default
    #[arg(long, env = "EDGE_TLS_CERT_FILE", value_delimiter = ',')]
    pub edge_tls_cert_file: Vec<PathBuf>,

    /// PEM files of their private keys, comma-separated, in the same order
    #[arg(long, env = "EDGE_TLS_KEY_FILE", value_delimiter = ',')]
    pub edge_tls_key_file: Vec<PathBuf>,

    /// Directory URL of the ACME authority that issues certificates for the https names in
    /// PUBLIC_ORIGIN and CONSOLE_HOST, such as https://acme-v02.api.letsencrypt.org/directory; it
    /// must reach the edge at port 80 of each name. Setting it accepts its terms
    #[arg(long, env = "ACME_DIRECTORY", requires = "acme_folder", value_parser = https_url)]
    pub acme_directory: Option<String>,

    /// Folder for the ACME account, key and certificate; keep it over restarts. Edges on one
    /// machine may share it
    #[arg(long, env = "ACME_FOLDER")]
    pub acme_folder: Option<PathBuf>,

    /// Contact e-mail address for the ACME authority
    #[arg(long, env = "ACME_CONTACT")]
    pub acme_contact: Option<String>,

    /// PEM file of the CA that signed the ACME authority's own certificate; the system's roots
    /// otherwise
    #[arg(long, env = "ACME_CA_FILE")]
    pub acme_ca_file: Option<PathBuf>,

    /// Redirect EDGE_LISTEN to https, except /health and ACME challenges; needs EDGE_TLS_LISTEN
    #[arg(long, env = "HTTPS_REDIRECT", default_value_t = false, action = clap::ArgAction::Set)]
    pub https_redirect: bool,

    /// Seconds in Strict-Transport-Security (HSTS), sent over TLS; 0 for no header
    #[arg(long, env = "HSTS_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=63_072_000))]
    pub hsts_seconds: u64,
}

impl TlsOptions {
    /// Checks what no single option shows; the error names the options.
    pub fn validate(&self, origins: &[Origin]) -> Result<(), String> {
        if self.edge_tls_cert_file.len() != self.edge_tls_key_file.len() {
            return Err("EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE: each certificate needs one key".into());
        }
        if self.edge_tls_listen.is_some() && self.edge_tls_cert_file.is_empty() && self.acme_options().is_none() {
            return Err("EDGE_TLS_LISTEN needs EDGE_TLS_CERT_FILE and EDGE_TLS_KEY_FILE, or ACME_DIRECTORY".into());
        }
        if let Some((_, folder)) = self.acme_options() {
            if self.edge_tls_listen.is_none() || self.acme_domains(origins).is_empty() {
                return Err("ACME_DIRECTORY needs EDGE_TLS_LISTEN, and an https name in PUBLIC_ORIGIN".into());
            }
            if !folder.is_dir() {
                return Err(format!("ACME_FOLDER: {} is no folder", folder.display()));
            }
        }
        if self.https_redirect {
            if self.edge_tls_listen.is_none() {
                return Err("HTTPS_REDIRECT needs EDGE_TLS_LISTEN".into());
            }
            if !origins.iter().any(Origin::is_https) {
                return Err("HTTPS_REDIRECT needs an https origin in PUBLIC_ORIGIN to lead to".into());
            }
        }
        Ok(())
    }

    /// The directory of the ACME authority and the folder of its account, where one orders
    /// certificates.
    pub fn acme_options(&self) -> Option<(&str, &Path)> {
        self.acme_directory.as_deref().zip(self.acme_folder.as_deref())
    }

    /// The names that certificates are ordered for: the hosts of these origins that are https, in
    /// lower case, sorted.
    pub fn acme_domains(&self, origins: &[Origin]) -> Vec<String> {
        let named = origins.iter().filter(|origin| origin.is_https() && !origin.is_address());
        named.map(Origin::host).collect::<BTreeSet<_>>().into_iter().collect()
    }
}
