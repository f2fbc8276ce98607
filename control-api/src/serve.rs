//! Serves HTTP on a listener: a loop of our own around hyper, because poem's has no limit on the time that a request's head
//! may take, none on connections, and spins when file descriptors run out.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use poem::{
    Endpoint, Request, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::Metrics;

/// How long the head of a request may take to arrive, which is also how long a connection may idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 4_096;
/// Requests that one HTTP/2 connection may have open.
const STREAMS: u32 = 100;
/// After a failure to accept, as when file descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long open requests have once the program is told to stop.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Serves `endpoint` until `stop`; then lets open requests end, within [`DRAIN_WITHIN`].
pub async fn serve<E>(listener: TcpListener, endpoint: E, metrics: Metrics, stop: CancellationToken)
where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        // Who finds no place waits in the listener's own queue.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve_connection(stream, peer, Arc::clone(&endpoint), stop.clone());
                let connected = metrics.connected();
                connections.spawn(async move {
                    connection.await;
                    drop((place, connected));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_WITHIN, connections.wait()).await.is_err() {
        tracing::warn!("requests were still open at the end of the drain");
    }
}

async fn serve_connection<E>(stream: TcpStream, peer: SocketAddr, endpoint: Arc<E>, stop: CancellationToken)
where
    E: Endpoint<Output = Response> + 'static,
{
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            let addresses = (LocalAddr(local.into()), RemoteAddr(peer.into()));
            let request = Request::from((request, addresses.0, addresses.1, Scheme::HTTP));
            let response = endpoint.get_response(request).await;
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_WITHIN).max_concurrent_streams(STREAMS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection that breaks is its client's affair: the result says nothing that anybody could act on.
    tokio::select! {
        _broken = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _broken = connection.await;
        }
    }
}
