//! An upstream whose pages stop after their first mebibyte until somebody says that they may go on.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response, header};
use http_body_util::StreamBody;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub const MIB: usize = 1024 * 1024;

/// A server of HTML over plain HTTP/1.1: `/{mebibytes}` is a page that is so long. It stops when it
/// is dropped.
#[derive(Debug)]
pub struct Paced {
    address: SocketAddr,
    may_go_on: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Paced {
    /// Starts one on a free port whose pages are made of `mebibyte`, over and over.
    pub async fn start(mebibyte: Bytes) -> std::io::Result<Self> {
        assert_eq!(mebibyte.len(), MIB);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (may_go_on, gate) = watch::channel(false);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, mebibyte, gate));
        Ok(Self { address, may_go_on, _serving: serving })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether pages go on after their first mebibyte, those that are open too.
    pub fn let_go_on(&self, may: bool) {
        self.may_go_on.send_replace(may);
    }
}

async fn serve(listener: TcpListener, mebibyte: Bytes, gate: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (mebibyte, gate) = (mebibyte.clone(), gate.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mebibytes = request.uri().path()[1..].parse().unwrap_or_default();
            let page = page(mebibytes, mebibyte.clone(), gate.clone());
            async move { Ok::<_, Infallible>(page) }
        });
        connections.spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await });
        while connections.try_join_next().is_some() {}
    }
}

type Page = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn page(mebibytes: usize, mebibyte: Bytes, gate: watch::Receiver<bool>) -> Response<Page> {
    let pieces = stream::iter(0..mebibytes).then(move |number| {
        let (mebibyte, mut gate) = (mebibyte.clone(), gate.clone());
        async move {
            if number > 0 {
                // An error only says that nobody is left to wait for.
                let _ = gate.wait_for(|may_go_on| *may_go_on).await;
            }
            Ok(Frame::data(mebibyte))
        }
    });
    let mut page = Response::new(StreamBody::new(pieces.boxed()));
    page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    page.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(mebibytes * MIB));
    page
}
