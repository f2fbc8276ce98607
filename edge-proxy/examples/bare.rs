//! A bare Pingora pass-through: what `make bench` measures the edge beside. It is built as the edge
//! is, with its allocator, and does what the least of proxies does: every request goes to one
//! server as it came.
//!
//! `bare LISTEN UPSTREAM`, both host:port; one thread.

use async_trait::async_trait;
use pingora::{
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct PassThrough {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }
}

fn main() {
    let arguments: [String; 2] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("usage: bare LISTEN UPSTREAM");
    let [listen, upstream] = arguments;
    let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, PassThrough { upstream });
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
