//! Certificates that nobody vouches for but themselves, as servers on a private network have them,
//! and those of their clients.

use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::PrivateKeyDer,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// The server's half of TLS with a new certificate of these names, and that certificate as PEM;
/// `protocols` are what it offers by ALPN, in order. With an authority, only clients that show a
/// certificate of its own are let in.
pub fn self_signed(
    names: &[&str],
    protocols: &[&str],
    clients: Option<&Authority>,
) -> anyhow::Result<(ServerConfig, String)> {
    let certified = rcgen::generate_simple_self_signed(names.iter().copied().map(str::to_owned).collect::<Vec<_>>())?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let clients: Arc<dyn ClientCertVerifier> = match clients {
        Some(authority) => authority.verifier()?,
        None => Arc::new(NoClientAuth),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok((config, certified.cert.pem()))
}

/// Who vouches for clients.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one that nobody knows.
    pub fn create() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// A certificate for a client of that name, and its key, as PEM.
    pub fn vouches_for(&self, client: &str) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([client.to_owned()])?.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    fn verifier(&self) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let provider = Arc::new(ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().context("no verifier")
    }
}
