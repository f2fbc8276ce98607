//! A server behind the edge: where it is, how it is spoken to, and when it counts as down.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pingora::{protocols::ALPN, tls::x509::X509, upstreams::peer::HttpPeer};
use tokio::net::{TcpStream, lookup_host};

use crate::origin::Origin;

/// How long a resolved address is used before its name is looked up again.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What a stream may have on its way without being read: bounds the memory of one slow download.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How often a server is tried, to say whether it is up.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Keeps connections that carry a WebSocket apart from those that are pooled: the value is a pool's name, no more.
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
pub struct Terms {
    pub verify: bool,
    pub authorities: Option<Authorities>,
    /// How long it may stay silent.
    pub timeout: Duration,
}

/// A server behind the edge.
pub struct Upstream {
    pub origin: Origin,
    terms: Terms,
    resolved: Mutex<Option<(SocketAddr, Instant)>>,
    is_up: AtomicBool,
}

impl Upstream {
    pub fn new(origin: Origin, terms: Terms) -> Self {
        Self { origin, terms, resolved: Mutex::default(), is_up: AtomicBool::new(true) }
    }

    /// The peer for pooled requests: HTTP/2 where the server speaks it.
    pub async fn peer(&self) -> io::Result<HttpPeer> {
        let mut peer = self.base_peer().await?;
        peer.options.alpn = if self.origin.is_https() { ALPN::H2H1 } else { ALPN::H1 };
        Ok(peer)
    }

    /// The peer for pooled requests of clients that HTTP/2 does not serve.
    pub async fn http1_peer(&self) -> io::Result<HttpPeer> {
        let mut peer = self.base_peer().await?;
        peer.options.alpn = ALPN::H1;
        Ok(peer)
    }

    /// The peer for an exchange of its own, such as a WebSocket: HTTP/1.1, and never a pooled connection.
    pub async fn tunnel_peer(&self) -> io::Result<HttpPeer> {
        let mut peer = self.http1_peer().await?;
        peer.group_key = TUNNEL_GROUP;
        Ok(peer)
    }

    /// How long the server may stay silent before it has answered.
    pub fn timeout(&self) -> Duration {
        self.terms.timeout
    }

    /// Whether the last probe reached it.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Tries whether the server takes connections, and remembers the answer.
    pub async fn probe(&self) {
        let reached =
            tokio::time::timeout(PROBE_EVERY, async { TcpStream::connect(self.address().await?).await }).await;
        let is_up = matches!(reached, Ok(Ok(_)));
        if self.is_up.swap(is_up, Ordering::Relaxed) != is_up {
            tracing::warn!(upstream = %self.origin, is_up, "the upstream changed");
        }
    }

    async fn base_peer(&self) -> io::Result<HttpPeer> {
        let mut peer = HttpPeer::new(self.address().await?, self.origin.is_https(), self.origin.host());
        let options = &mut peer.options;
        options.verify_cert = self.terms.verify;
        // OpenSSL is asked about names only. Where there is an address instead, the configuration sees to it that the
        // authorities are pinned, and then it is their word alone that counts.
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

    fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Option<(SocketAddr, Instant)>> {
        self.resolved.lock().expect("nothing panics while it holds this lock")
    }
}
