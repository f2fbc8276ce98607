//! Serves HTTP on a listener: a loop of our own around hyper, because poem's has no limit on the
//! time that a request's head may take, none on connections, and spins when file descriptors run
//! out.

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
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::Metrics;

/// How long the head of a request may take to arrive, once its first byte has.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may go without an open request: before its first, between two, and while
/// an answer is read. hyper bounds neither the first of these nor the last.
const QUIET_FOR: Duration = Duration::from_secs(60);
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
                let connection = serve_connection(stream, peer, Arc::clone(&endpoint), stop.clone(), QUIET_FOR);
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

async fn serve_connection<E>(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    stop: CancellationToken,
    quiet_for: Duration,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let Ok(local) = stream.local_addr() else { return };
    let open_requests = watch::Sender::new(0);
    let counter = open_requests.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        let open = OpenRequest::count(&counter);
        async move {
            let _open = open;
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
    // A connection that breaks is its client's affair: the result says nothing that anybody could
    // act on.
    let served = async {
        tokio::select! {
            _broken = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _broken = connection.await;
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = quiet(&open_requests, quiet_for) => {}
    }
}

/// One request that a connection has open, from its head to its answer's.
struct OpenRequest(watch::Sender<usize>);

impl OpenRequest {
    fn count(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Returns once no request has been open, nor one begun, for `quiet_for`.
async fn quiet(open_requests: &watch::Sender<usize>, quiet_for: Duration) {
    let mut open_requests = open_requests.subscribe();
    while open_requests.wait_for(|open| *open == 0).await.is_ok() {
        if tokio::time::timeout(quiet_for, open_requests.changed()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Serves one connection on which a client sends `bytes` and then nothing, nor reads; returns
    /// once it is dropped.
    async fn served(bytes: &[u8], answer_bytes: usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (stream, peer) = listener.accept().await.expect("a connection");
        client.write_all(bytes).await.expect("a write");
        let endpoint = Arc::new(make_sync(move |_| Response::builder().body(vec![b'x'; answer_bytes])));
        let connection = serve_connection(stream, peer, endpoint, CancellationToken::new(), Duration::from_millis(100));
        tokio::time::timeout(Duration::from_secs(10), connection).await.expect("the connection is dropped");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_dropped() {
        served(b"", 0).await;
        served(b"GET / HT", 0).await;
    }

    #[tokio::test]
    async fn a_connection_whose_answer_nobody_reads_is_dropped() {
        served(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 64 << 20).await;
    }
}
