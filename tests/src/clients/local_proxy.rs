//! The local proxy of the desktop client's earlier version: a browser on its machine sees the
//! gateway's upstream at the root of `https://127.0.0.1:<port>`, with a certificate that nobody
//! vouches for.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clients::tls;

/// Before the upstream's paths, as the edge has them; what begins with it already is the edge's
/// own.
const PREFIX: &str = "/api/v1/proxy";

type Answer = Response<Either<Incoming, Empty<Bytes>>>;

/// A running local proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct LocalProxy(Arc<Way>);

/// From where to where requests go.
#[derive(Debug)]
struct Way {
    /// The local origin.
    local: String,
    /// The edge's host and port.
    edge: String,
    /// Connections, and the WebSockets among them.
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl LocalProxy {
    /// Starts it in front of the edge at this `http://` origin.
    pub async fn to(edge: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address: SocketAddr = listener.local_addr()?;
        let (tls, _) = tls::self_signed(&["127.0.0.1"], &["http/1.1"], None)?;
        let way = Arc::new(Way {
            local: format!("https://{address}"),
            edge: edge.trim_start_matches("http://").to_owned(),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        });
        let (acceptor, accepting) = (TlsAcceptor::from(Arc::new(tls)), way.clone());
        way.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, way) = (acceptor.clone(), accepting.clone());
                accepting.spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        way.serve(stream).await;
                    }
                });
            }
        });
        Ok(Self(way))
    }

    /// Its own origin.
    pub fn url(&self) -> &str {
        &self.0.local
    }
}

impl Drop for LocalProxy {
    fn drop(&mut self) {
        self.0.stopped.cancel();
    }
}

impl Way {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        self.tasks.spawn(async move { stopped.run_until_cancelled(work).await });
    }

    /// Serves one connection to its end.
    async fn serve(self: Arc<Self>, stream: TlsStream<TcpStream>) {
        let service = service_fn(move |request| {
            let way = self.clone();
            async move {
                let answer = way.pass(request).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "the edge gave no answer");
                    let mut answer = Response::new(Either::Right(Empty::new()));
                    *answer.status_mut() = StatusCode::BAD_GATEWAY;
                    answer
                });
                Ok::<_, Infallible>(answer)
            }
        });
        let server = hyper::server::conn::http1::Builder::new();
        if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Sends a request on by a connection of its own, as it is but for its path and for the origin
    /// where its pages are shown.
    async fn pass(&self, mut request: Request<Incoming>) -> anyhow::Result<Answer> {
        let from_client = upgrade::on(&mut request);
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let prefix = if target.starts_with(PREFIX) { "" } else { PREFIX };
        *request.uri_mut() = format!("{prefix}{target}").parse::<Uri>()?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.edge)?);
        request.headers_mut().insert("x-local-url", HeaderValue::from_str(&self.local)?);

        let stream = TcpStream::connect(&self.edge).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.spawn(async move { drop(connection.with_upgrades().await) });
        let mut answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer.map(Either::Left));
        }
        let from_edge = upgrade::on(&mut answer);
        self.spawn(async move {
            let (Ok(client), Ok(edge)) = tokio::join!(from_client, from_edge) else { return };
            drop(copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(edge)).await);
        });
        Ok(answer.map(|_| Either::Right(Empty::new())))
    }
}
