//! A server behind the edge: where it is, and how it is spoken to.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pingora::{protocols::ALPN, tls::x509::X509, upstreams::peer::HttpPeer};
use tokio::net::{TcpStream, lookup_host};

use crate::{origin::Origin, sync::Mutex, tls::certificates::Certificates};

/// How long a resolved address is used before its name is looked up again.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What a stream may have on its way without being read: bounds the memory of one slow download.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Keeps connections that carry a WebSocket apart from those that are pooled: the value is a pool's
/// name, no more.
const TUNNEL_GROUP: u64 = 1;

/// Certificates that a server's own is verified against.
pub type Authorities = Arc<Box<[X509]>>;

/// Reads a PEM file of certificates.
pub fn read_authorities(path: &Path) -> Result<Authorities, String> {
    let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let pem = std::fs::read(path).map_err(|error| fault(&error))?;
    let certificates = X509::stack_from_pem(&pem).map_err(|error| fault(&error))?;
    if certificates.is_empty() {
        return Err(fault(&"no certificate in it"));
    }
    Ok(Arc::new(certificates.into_boxed_slice()))
}

/// How a server is spoken to.
#[derive(Clone)]
pub struct UpstreamTls {
    pub verify: bool,
    pub authorities: Option<Authorities>,
    /// What it is shown where it asks who comes.
    pub client: Option<Arc<Certificates>>,
    /// How long it may stay silent.
    pub timeout: Duration,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// Requests, one after the other or at once: HTTP/2 where the server speaks it.
    Requests,
    /// Requests of clients that HTTP/2 does not serve.
    Http1Requests,
    /// One exchange, such as a WebSocket: HTTP/1.1, and never a pooled connection.
    Exchange,
}

/// A server behind the edge.
pub struct Upstream {
    pub origin: Origin,
    terms: UpstreamTls,
    resolved: Mutex<Option<(SocketAddr, Instant)>>,
}

impl Upstream {
    pub fn new(origin: Origin, terms: UpstreamTls) -> Self {
        Self { origin, terms, resolved: Mutex::default() }
    }

    /// Where and how a connection for that is to be had.
    pub async fn peer(&self, purpose: ConnectionKind) -> io::Result<HttpPeer> {
        let mut peer = self.base_peer().await?;
        peer.options.alpn = match purpose {
            ConnectionKind::Requests if self.origin.is_https() => ALPN::H2H1,
            _ => ALPN::H1,
        };
        if purpose == ConnectionKind::Exchange {
            peer.group_key = TUNNEL_GROUP;
        }
        Ok(peer)
    }

    /// Whether the server takes connections.
    pub async fn takes_connections(&self) -> bool {
        let connect = async { TcpStream::connect(self.address().await?).await };
        connect.await.is_ok()
    }

    async fn base_peer(&self) -> io::Result<HttpPeer> {
        let mut peer = HttpPeer::new(self.address().await?, self.origin.is_https(), self.origin.host());
        peer.client_cert_key = self.terms.client.as_ref().and_then(|client| client.first());
        let options = &mut peer.options;
        options.verify_cert = self.terms.verify;
        // OpenSSL is asked about names only. Where there is an address instead, the configuration
        // sees to it that the authorities are pinned, and then it is their word alone that counts.
        options.verify_hostname = self.terms.verify && !self.origin.is_address();
        options.ca.clone_from(&self.terms.authorities);
        options.connection_timeout = Some(CONNECT_WITHIN);
        options.total_connection_timeout = Some(CONNECT_WITHIN);
        options.read_timeout = Some(self.terms.timeout);
        options.write_timeout = Some(self.terms.timeout);
        options.idle_timeout = Some(Duration::from_secs(60));
        options.h2_stream_window_size = Some(H2_STREAM_WINDOW_BYTES);
        options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW_BYTES);
        Ok(peer)
    }

    async fn address(&self) -> io::Result<SocketAddr> {
        let known = *self.lock_resolved();
        if let Some((address, at)) = known
            && at.elapsed() < RESOLVED_FOR
        {
            return Ok(address);
        }
        match lookup_host((self.origin.host(), self.origin.port())).await.map(|mut found| found.next()) {
            Ok(Some(address)) => {
                *self.lock_resolved() = Some((address, Instant::now()));
                Ok(address)
            }
            // A name server that is away for a moment takes nobody's connection.
            failed => match known {
                Some((address, _)) => Ok(address),
                None => Err(failed.err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
            },
        }
    }

    fn lock_resolved(&self) -> crate::sync::MutexGuard<'_, Option<(SocketAddr, Instant)>> {
        self.resolved.lock()
    }
}
