//! A stand-in for Zenzefi: what the gateway is put in front of in `make run` and in tests.
//!
//! It serves HTTPS with a self-signed certificate, as the real one does, and plain HTTP, both as
//! HTTP/1.1 and HTTP/2. It is built on bare hyper, so that what arrived is what it reports: no
//! framework decodes a path or folds headers on the way. Besides a small web application and the
//! JSON paths that a restricted scope opens, it serves what a test of a proxy needs:
//!
//! | path | what |
//! | --- | --- |
//! | `/echo` | the request as received, as JSON |
//! | `/status/{code}?header=Name:Value` | that status, with those headers |
//! | `/slow/{ms}` | an answer after so long |
//! | `/redirect?to=…&status=302` | a redirect; a `to` of `self:/path` is made absolute on its own origin |
//! | `/cookies` | three `Set-Cookie` lines |
//! | `/basic` | HTTP Basic with [`BASIC_AUTH`] |
//! | `/compressed/{gzip,br,zstd,deflate}` | a compressed page, if the request accepts that coding |
//! | `/download/{bytes}` | content of any length with its checksum in `X-Checksum-Sha256` |
//! | `/upload` | the length and checksum of what was sent |
//! | `/abort?after=bytes` | a body that ends abruptly before its announced end |
//! | `/stall?after=bytes` | a body of no announced length that falls silent after so much |
//! | `/trailers` | chunks and trailers |
//! | `/sse?every_ms=1000&coding=…` | server-sent ticks that name its own origin |
//! | `/text?type=…&coding=…&bytes=…` | [`text()`] of any size, type and coding, with validators, digests and ranges |
//! | `/text?broken=cut&trailers=1&header=Name:Value` | the same broken off, or `corrupt`; with trailers; with more headers |
//! | `/bomb/{mebibytes}` | gzip that becomes so much |
//! | `/fixtures/{name}` | a file of `tests/fixtures/rewrite` |
//! | `/ws/info?every_ms=1000` | a WebSocket that ticks and echoes |
//! | `/_standin/requests?path=…` | how many requests and bodies reached that path |
//! | `/_standin/sockets` | how many WebSockets are open, and how the last one ended |

mod answer;
mod asked;
mod bodies;
mod coding;
mod echo;
mod fixtures;
mod route;
mod seen;
mod site;
mod socket;
mod state;
mod text;
mod zenzefi;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use asked::Scheme;
use state::State;

use crate::clients::tls::{self, Authority};

pub use bodies::{Content, checksum};
pub use fixtures::FOLDER as FIXTURES;
pub use seen::{Seen, SocketsSeen};
pub use state::BASIC_AUTH;
pub use text::text;

/// A free port of the loopback address.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What its certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "zenzefi.test"];

/// The values of a header that the stand-in received, as its `/echo` tells.
pub fn received<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let pairs = echo["headers"].as_array().expect("pairs");
    pairs.iter().filter(|pair| pair[0] == name).filter_map(|pair| pair[1].as_str()).collect()
}

/// A running stand-in. It stops when it is dropped.
#[derive(Debug)]
pub struct Standin {
    https: SocketAddr,
    http: SocketAddr,
    certificate_pem: String,
    state: Arc<State>,
}

impl Standin {
    /// Starts it on these addresses; port 0 takes a free one.
    pub async fn start(https: SocketAddr, http: SocketAddr) -> anyhow::Result<Self> {
        Self::start_for(https, http, None).await
    }

    /// Starts one on free ports that lets in, by HTTPS, only whom this authority vouches for.
    pub async fn start_for_clients_of(authority: &Authority) -> anyhow::Result<Self> {
        Self::start_for(ANY, ANY, Some(authority)).await
    }

    async fn start_for(https: SocketAddr, http: SocketAddr, clients: Option<&Authority>) -> anyhow::Result<Self> {
        let bind =
            async |address| TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"));
        let (https, http) = (bind(https).await?, bind(http).await?);
        let (tls, certificate_pem) = tls::self_signed(&NAMES, &["h2", "http/1.1"], clients)?;
        let (https_address, http_address) = (https.local_addr()?, http.local_addr()?);
        let standin = Self { https: https_address, http: http_address, certificate_pem, state: Arc::default() };
        standin.serve(https, Some(TlsAcceptor::from(Arc::new(tls))));
        standin.serve(http, None);
        Ok(standin)
    }

    /// Starts it on free ports of the loopback address.
    pub async fn start_on_free_ports() -> anyhow::Result<Self> {
        Self::start(ANY, ANY).await
    }

    /// Its HTTPS origin.
    pub fn url(&self) -> String {
        format!("https://{}", self.https)
    }

    /// Its plain HTTP origin.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The certificate that it shows, which vouches for itself.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What has reached `path` so far, whatever the query.
    pub fn seen(&self, path: &str) -> Seen {
        self.state.seen.at(path)
    }

    /// What has become of WebSockets so far.
    pub fn sockets(&self) -> SocketsSeen {
        self.state.seen.sockets()
    }

    /// Stops listening and drops every connection.
    pub fn stop(&self) {
        self.state.stopped.cancel();
    }

    fn serve(&self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let state = self.state.clone();
        let accepting = async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let _ = tcp.set_nodelay(true);
                let (tasks, stopped) = (state.tasks.clone(), state.stopped.clone());
                let (state, tls) = (state.clone(), tls.clone());
                let connection = async move {
                    match tls {
                        None => converse(tcp, Scheme::Http, state).await,
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => converse(stream, Scheme::Https, state).await,
                            Err(error) => tracing::debug!(%error, "no TLS handshake"),
                        },
                    }
                };
                tasks.spawn(async move { stopped.run_until_cancelled(connection).await });
            }
        };
        let stopped = self.state.stopped.clone();
        self.state.tasks.spawn(async move { stopped.run_until_cancelled(accepting).await });
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves one connection to its end.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: Scheme, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(route::answer(&state, scheme, request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
