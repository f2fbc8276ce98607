//! The start: what listens, with what around it, and what runs beside.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerOptions, http_app::HttpServer},
    listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions, tls::TlsSettings},
    protocols::{TcpKeepalive, http::v2::server::default_h2_options},
    proxy::{HttpProxy, http_proxy},
    server::{RunArgs, Server, configuration::ServerConf},
    services::{background::background_service, listening::Service},
};

use crate::{
    config::Config,
    connection::{
        cutoff::Cuttable,
        http1::{Settings, StrictHttp1},
        proxy_protocol::{HandshakeTimeout, WithProxyProtocol},
    },
    edge::Edge,
    origin::Origin,
    process::{
        background::{CertificateKeeper, State},
        listeners::{Listeners, Listening},
        ops::Ops,
        reload::Reload,
        shutdown::Shutdown,
    },
    proxy::Proxy,
    redis::Redis,
    tls::certificates::Chooser,
};

/// TCP keep-alive: idle time, interval and probe count after which a client is considered gone.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVES_UNANSWERED: usize = 3;
/// How long the start waits for Redis to say whether it keeps everything.
const REDIS_ASKED_FOR: Duration = Duration::from_secs(1);
/// How many times one request may be tried at the upstream, at one address or at several.
const MAX_TRIES: usize = 3;
/// What one HTTP/2 stream, and one connection, may send without being read: bounds the memory of an
/// upload that waits for the upstream.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What is read of a connection in advance, and held for as long as that lasts: enough for an
/// introduction, which is read byte by byte; what comes then is read into buffers of the reader
/// that wants it.
const READ_BUFFER_BYTES: usize = 512;
/// The same below TLS, which reads the head of each record by itself.
const TLS_READ_BUFFER_BYTES: usize = 4096;

/// Serves until told to stop; fails where it was told twice, or something failed that it cannot
/// serve without, and ended at once. `Err` before it serves.
pub fn run(config: Config, reload: Reload) -> Result<ExitCode, String> {
    let listeners = Listeners::find(config.upgrade_socket.as_deref());
    let listeners = listeners.map_err(|error| format!("UPGRADE_SOCKET: {error}"))?;
    let (edge, listeners) = (Arc::new(Edge::new(config)?), Arc::new(listeners));
    check_listen(&listeners, "EDGE_LISTEN", edge.config.edge_listen)?;
    check_listen(&listeners, "EDGE_OPS_LISTEN", edge.config.edge_ops_listen)?;
    edge.config.tls.edge_tls_listen.map_or(Ok(()), |listen| check_listen(&listeners, "EDGE_TLS_LISTEN", listen))?;
    let threads = match edge.config.edge_threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let conf = ServerConf { threads, max_retries: MAX_TRIES, ..ServerConf::default() };
    refuse_eviction(&edge.config)?;
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let state = server.add_service(background_service("state", State::new(Arc::clone(&edge), reload)));
    let proxy = proxy_service(&edge, &server)?;
    let proxy = server.add_service(Listening::public(proxy, Arc::clone(&edge), Arc::clone(&listeners)));
    proxy.add_dependency(&state);
    let certificates = background_service("certificates", CertificateKeeper(Arc::clone(&edge)));
    server.add_service(certificates).add_dependency(&state);
    let mut ops = Service::new("ops".to_owned(), HttpServer::new_app(Ops::new(Arc::clone(&edge))));
    ops.threads = Some(1);
    ops.add_tcp(&edge.config.edge_ops_listen.to_string());
    server.add_service(Listening::ops(ops, Arc::clone(&edge), Arc::clone(&listeners)));

    let upstreams = edge.config.zenzefi_url.iter().map(Origin::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(listen = %edge.config.edge_listen, upstreams, "serving");
    server.run(RunArgs { shutdown_signal: Box::new(Shutdown { edge: Arc::clone(&edge), listeners }) });
    if edge.lifecycle.stopped.is_cancelled() {
        tracing::info!("stopped");
        return Ok(ExitCode::SUCCESS);
    }
    tracing::error!("stopped before all that was open had ended");
    Ok(ExitCode::FAILURE)
}

/// Says at once what Pingora would try again for half a minute, and then panic about.
fn check_listen(listeners: &Listeners, option: &str, listen: SocketAddr) -> Result<(), String> {
    if listeners.inherits(&listen.to_string()) {
        return Ok(());
    }
    let bound = std::net::TcpListener::bind(listen);
    bound.map(drop).map_err(|error| format!("{option}: cannot listen on {listen}: {error}"))
}

/// Refuses a Redis that may throw tokens away. One that is away is asked once it is there, by the
/// follower of the feed.
fn refuse_eviction(config: &Config) -> Result<(), String> {
    if config.allow_eviction {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let why = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?.block_on(async {
        let redis = Redis::new(config.redis_url.expose(), config.lease_policy()).ok()?;
        redis.connect();
        let asked = async {
            redis.wait_until_connected().await;
            redis.may_evict().await.ok().flatten()
        };
        let why = tokio::time::timeout(REDIS_ASKED_FOR, asked).await.ok().flatten();
        redis.stop().await;
        why
    });
    why.map_or(Ok(()), |why| Err(format!("REDIS_URL: {why}")))
}

/// A client that vanished, and with it its idle WebSocket, must not hold a token for as long as
/// that lasts; nor one that reads nothing what its answer takes.
fn notices_dead_clients(config: &Config) -> TcpSocketOptions {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: KEEPALIVE_AFTER,
        interval: KEEPALIVE_EVERY,
        count: KEEPALIVES_UNANSWERED,
        // Of what is sent and not taken; with it Linux ends an idle connection after this time too,
        // once it was asked in vain.
        user_timeout: config.limits.send_timeout(),
    });
    options
}

/// From the outside in: who a connection is from, whether what comes is a request, what ends it,
/// and the proxy.
type ProxyService = Service<WithProxyProtocol<StrictHttp1<Cuttable<HttpProxy<Proxy>>>>>;

fn proxy_service(edge: &Arc<Edge>, server: &Server) -> Result<ProxyService, String> {
    let mut proxy = http_proxy(&server.configuration, Proxy::new(Arc::clone(edge)));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(edge.config.limits.patience().idle);
    // It is refused in words of our own.
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    h2.initial_window_size(H2_STREAM_WINDOW_BYTES).initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES);
    h2.max_header_list_size(edge.config.limits.max_head_bytes);
    proxy.h2_options = Some(h2);
    let cuttable = Cuttable::new(proxy, Arc::clone(&edge.cutoffs), edge.lifecycle.draining_ended.clone());
    let (limits, patience) = (edge.config.limits.head_limits(), edge.config.limits.patience());
    let gated = StrictHttp1::new(cuttable, Settings { limits, patience, metrics: Arc::clone(&edge.metrics) });
    let proxy_protocol = edge.config.proxy_protocol();
    let [begun, established] = ["begun", "established"].map(|to| edge.metrics.tls_handshakes.with_label_values(&[to]));
    let mut service =
        Service::new("proxy".to_owned(), WithProxyProtocol::new(gated, proxy_protocol.clone(), established));
    service.endpoints().set_pre_tls_callback(Arc::new(HandshakeTimeout {
        proxy_protocol,
        within: patience.head,
        begun,
    }));
    let listener = |listen: SocketAddr, read_bytes| {
        ListenerConfig::tcp(listen.to_string())
            .tcp_socket_options(notices_dead_clients(&edge.config))
            .l4_buffer(L4BufferSettings::default().read(read_bytes))
    };
    service.add_listener(listener(edge.config.edge_listen, READ_BUFFER_BYTES));
    let config = &edge.config;
    if let (Some(listen), Some(certificates)) = (config.tls.edge_tls_listen, &edge.tls.certificates) {
        // TLS 1.2 and 1.3, by Mozilla's list.
        let tls = TlsSettings::with_callbacks(Box::new(Chooser(Arc::clone(certificates))));
        let mut tls = tls.map_err(|error| format!("EDGE_TLS_LISTEN: {}", error.etype().as_str()))?;
        tls.enable_h2();
        service.add_listener(listener(listen, TLS_READ_BUFFER_BYTES).tls(tls));
    }
    Ok(service)
}
