//! Certificates that nobody vouches for but themselves, as servers on a private network have them.

use std::sync::Arc;

use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};

/// The server's half of TLS with a new certificate of these names, and that certificate as PEM; `protocols` are what it offers by
/// ALPN, in order.
pub fn self_signed(names: &[&str], protocols: &[&str]) -> anyhow::Result<(ServerConfig, String)> {
    let certified = rcgen::generate_simple_self_signed(names.iter().copied().map(str::to_owned).collect::<Vec<_>>())?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok((config, certified.cert.pem()))
}
