//! An HTTP/1.1 server of a few lines, for what stands in for services of others.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A running server on a port of its own. It stops when it is dropped.
#[derive(Debug)]
pub struct SmallServer {
    pub address: SocketAddr,
    stopped: CancellationToken,
}

impl SmallServer {
    /// Gives each request, with its whole body, to `answer`; where that is `None` the connection
    /// breaks off instead.
    pub async fn start<Answer>(answer: Answer) -> anyhow::Result<Self>
    where
        Answer: Fn(&Request<Bytes>) -> Option<Response<Bytes>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (answer, stopped, tasks) = (Arc::new(answer), CancellationToken::new(), TaskTracker::new());
        let (spawner, until) = (tasks.clone(), stopped.clone());
        tasks.spawn(async move {
            while let Some(Ok((tcp, _))) = until.run_until_cancelled(listener.accept()).await {
                let (answer, until) = (Arc::clone(&answer), until.clone());
                spawner.spawn(async move { until.run_until_cancelled(converse(tcp, answer)).await });
            }
        });
        Ok(Self { address, stopped })
    }
}

impl Drop for SmallServer {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// Serves one connection to its end.
async fn converse<Answer>(tcp: TcpStream, answer: Arc<Answer>)
where
    Answer: Fn(&Request<Bytes>) -> Option<Response<Bytes>> + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
            answer(&Request::from_parts(head, body)).map(|response| response.map(Full::new)).ok_or(Broken)
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The connection is to break off.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("broken off")
    }
}

impl std::error::Error for Broken {}
