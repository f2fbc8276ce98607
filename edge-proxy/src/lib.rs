//! The data plane: checks each request against what Redis knows of its token, and streams it to Zenzefi and back. ARCHITECTURE.md
//! tells the life of a request.

pub mod addresses;
pub mod admission;
pub mod admit;
pub mod certificates;
pub mod changes;
pub mod clock;
pub mod config;
pub mod credential;
pub mod cutoff;
pub mod exchange;
pub mod flights;
pub mod forward;
pub mod frames;
pub mod gate;
pub mod gateway;
pub mod grants;
pub mod hearing;
pub mod held;
pub mod index;
pub mod introduction;
pub mod judge;
pub mod listening;
pub mod meter;
pub mod ops;
pub mod origin;
pub mod permit;
pub mod places;
pub mod proxy;
pub mod rates;
pub mod redis;
pub mod request;
pub mod respond;
pub mod rewrite;
pub mod rewriting;
pub mod route;
pub mod settlement;
pub mod shutdown;
pub mod strangers;
pub mod succession;
pub mod telemetry;
pub mod trailers;
pub mod tunnel;
pub mod upload;
pub mod upstream;
pub mod uses;
pub mod verdict;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::HeaderValue;
use pingora::{
    apps::HttpServerOptions,
    connectors::http::v1::Connector,
    listeners::{TcpSocketOptions, tls::TlsSettings},
    protocols::{TcpKeepalive, http::v2::server::default_h2_options},
    proxy::{HttpProxy, Session, http_proxy},
    server::{RunArgs, Server, ShutdownWatch, configuration::ServerConf},
    services::{
        ServiceReadyNotifier,
        background::{BackgroundService, background_service},
        listening::Service,
    },
};
use shared::client::Visitors;
use tokio_util::sync::CancellationToken;

use crate::{
    addresses::Addresses,
    certificates::{Certificates, Chooser, Files},
    changes::Follower,
    clock::Clock,
    config::{Config, DevicePolicy},
    cutoff::{Cuts, Cuttable},
    gate::{Gated, Rules},
    grants::Grants,
    hearing::Trust,
    introduction::Introduced,
    listening::{Listeners, Listening},
    meter::Meter,
    ops::Ops,
    origin::Origin,
    permit::Settler,
    places::Places,
    proxy::Proxy,
    rates::{EXCHANGED_EVERY, Rates},
    redis::Redis,
    rewrite::origins::Spellings,
    route::Routes,
    settlement::Settlements,
    shutdown::Shutdown,
    strangers::Strangers,
    telemetry::Metrics,
    upstream::{Terms, Upstream},
};

/// A client that is silent for so long is asked by TCP whether it is still there, so often, and is gone after so many questions.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVES_UNANSWERED: usize = 3;
/// How often usage is told: what a crash may lose.
const USAGE_TOLD_EVERY: Duration = Duration::from_secs(2);
/// How long a process that takes over waits for Redis and the upstream, and how often it looks.
const READY_TO_SUCCEED_WITHIN: Duration = Duration::from_secs(10);
const LOOKS_READY_EVERY: Duration = Duration::from_millis(20);
/// How long the start waits for Redis to say whether it keeps everything.
const REDIS_ASKED_FOR: Duration = Duration::from_secs(1);
/// How many times one request may be tried at the upstream, at one address or at several.
const MAX_TRIES: usize = 3;
/// What one HTTP/2 stream, and one connection, may send without being read: bounds the memory of an upload that waits for the
/// upstream.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What is made once a runtime exists.
struct Known {
    redis: Redis,
    grants: Arc<Grants>,
    settler: Arc<Settler>,
}

/// All that one edge process is made of.
pub struct Edge {
    pub config: Config,
    pub routes: Routes,
    pub public_origins: Arc<[Origin]>,
    pub zenzefi: Addresses,
    /// How answers may spell the upstream's origins.
    pub spellings: Arc<Spellings>,
    /// What the TLS listener shows, where there is one.
    certificates: Option<Arc<Certificates>>,
    /// What the upstream is shown, where it asks for that.
    client_certificate: Option<Arc<Certificates>>,
    /// The control API, where this edge is its front door.
    pub control: Option<Upstream>,
    /// Connections that carry a WebSocket.
    pub tunnels: Connector,
    pub metrics: Arc<Metrics>,
    /// Cancelled when shutdown begins: no connection is kept from then on.
    pub draining: CancellationToken,
    /// Cancelled when the time to drain is over: WebSockets end.
    pub draining_ended: CancellationToken,
    /// Cancelled last, once all that was seen has been told.
    stopped: CancellationToken,
    pub cuts: Arc<Cuts>,
    /// Redis' clock, as far as it was heard.
    pub clock: Arc<Clock>,
    pub meter: Arc<Meter>,
    pub strangers: Strangers,
    pub rates: Rates,
    pub places: Arc<Places>,
    pub visitors: Visitors,
    pub listeners: Arc<Listeners>,
    /// Made by the service that runs them, since a runtime exists only from then on.
    knowledge: OnceLock<Known>,
}

impl Edge {
    /// Puts the parts together; the error names the option that is wrong.
    pub fn new(config: Config, listeners: Listeners) -> Result<Self, String> {
        config.validate()?;
        let origins = [&config.zenzefi_url[..], &config.zenzefi_aliases].concat();
        let authorities = config.zenzefi_ca_file.as_deref().map(upstream::read_authorities).transpose();
        let authorities = authorities.map_err(|error| format!("ZENZEFI_CA_FILE: {error}"))?;
        let timeout = config.upstream_timeout();
        let certificates = read_certificates("EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE", config.edge_tls_files())?;
        let client_options = "ZENZEFI_CLIENT_CERT_FILE, ZENZEFI_CLIENT_KEY_FILE";
        let client_certificate = read_certificates(client_options, config.zenzefi_client_files())?;
        let client = client_certificate.clone();
        let zenzefi = Terms { verify: config.zenzefi_tls_verify, authorities, client, timeout };
        let control = Terms { verify: true, authorities: None, client: None, timeout };
        let (metrics, clock) = (Arc::<Metrics>::default(), Arc::new(Clock::new()));
        let addresses = config.zenzefi_url.iter().map(|origin| Upstream::new(origin.clone(), zenzefi.clone()));
        Ok(Self {
            routes: Routes::new(config.control_api_url.is_some(), &config.reserved_prefix_off),
            public_origins: config.public_origin.clone().into(),
            zenzefi: Addresses::new(addresses.collect(), config.zenzefi_rules(), timeout, &metrics),
            spellings: Arc::new(Spellings::of(&origins)),
            certificates,
            client_certificate,
            control: config.control_api_url.clone().map(|origin| Upstream::new(origin, control)),
            tunnels: Connector::new(None),
            cuts: Arc::new(Cuts::new(Arc::clone(&metrics), Arc::clone(&clock))),
            strangers: Strangers::new(config.unknown_tokens_per_minute),
            rates: Rates::new(config.token_requests_per_minute),
            visitors: config.visitors(),
            places: Arc::new(Places::new(config.token_open_requests, config.token_open_websockets)),
            meter: Arc::new(Meter::new(Arc::clone(&clock), config.lease())),
            clock,
            metrics,
            draining: CancellationToken::new(),
            draining_ended: CancellationToken::new(),
            stopped: CancellationToken::new(),
            listeners: Arc::new(listeners),
            knowledge: OnceLock::new(),
            config,
        })
    }

    fn known(&self) -> &Known {
        self.knowledge.get().expect("requests are served only once the change feed's service has started")
    }

    /// What this edge knows of tokens.
    pub fn grants(&self) -> &Grants {
        &self.known().grants
    }

    fn settler(&self) -> &Arc<Settler> {
        &self.known().settler
    }

    /// The connection for questions.
    pub fn redis(&self) -> &Redis {
        &self.known().redis
    }

    /// Takes the figures that are read rather than counted.
    pub fn measure(&self) {
        let metrics = &self.metrics;
        let silence = self.knowledge.get().and_then(|known| known.grants.hearing.silence());
        metrics.feed_silence.set(silence.map_or(f64::INFINITY, |silence| silence.as_secs_f64()));
        metrics.clock_offset.set(self.clock.offset_seconds());
        metrics.upstreams_in_use.set(i64::try_from(self.zenzefi.in_use()).unwrap_or(i64::MAX));
        metrics.usage_pending.set(i64::try_from(self.meter.pending()).unwrap_or(i64::MAX));
    }

    /// Whether more is open than this edge serves at once.
    pub fn is_full(&self) -> bool {
        let most = i64::from(self.config.open_requests);
        most > 0 && self.metrics.open_requests.get() > most
    }

    /// What tells browsers to come by https alone, if this connection may say so (RFC 6797 §7.2).
    pub fn strict_transport(&self, session: &Session) -> Option<HeaderValue> {
        let seconds = self.config.hsts_seconds;
        let value = HeaderValue::try_from(format!("max-age={seconds}")).expect("a number is visible ASCII");
        (seconds > 0 && judge::is_tls(session)).then_some(value)
    }

    /// Reads the files of certificates that have changed; says in the log what came of it.
    pub fn reload_certificates(&self) {
        self.certificates.iter().chain(&self.client_certificate).for_each(|certificates| certificates.reload());
    }

    /// Says at once what Pingora would try again for half a minute, and then panic about.
    fn check_listen(&self, option: &str, listen: SocketAddr) -> Result<(), String> {
        if self.listeners.inherits(&listen.to_string()) {
            return Ok(());
        }
        let bound = std::net::TcpListener::bind(listen);
        bound.map(drop).map_err(|error| format!("{option}: cannot listen on {listen}: {error}"))
    }

    /// Waits until this edge can serve as well as the one before it did, for as long as that may take.
    async fn ready_to_succeed(&self) {
        let is_ready = async {
            while !(self.is_redis_up() && self.zenzefi.in_use() > 0) {
                tokio::time::sleep(LOOKS_READY_EVERY).await;
            }
        };
        if tokio::time::timeout(READY_TO_SUCCEED_WITHIN, is_ready).await.is_err() {
            tracing::warn!("takes over although Redis or the upstream is not there");
        }
    }

    /// Whether the change feed was heard of late.
    pub fn is_redis_up(&self) -> bool {
        self.knowledge.get().is_some_and(|known| known.grants.is_sound())
    }
}

/// Reads the certificates that these options name, if they name any.
fn read_certificates(options: &str, files: Vec<Files>) -> Result<Option<Arc<Certificates>>, String> {
    if files.is_empty() {
        return Ok(None);
    }
    Certificates::read(files).map(|read| Some(Arc::new(read))).map_err(|error| format!("{options}: {error}"))
}

/// Serves until told to stop.
pub fn run(config: Config) -> Result<(), String> {
    let listeners = Listeners::find(config.upgrade_socket.as_deref());
    let listeners = listeners.map_err(|error| format!("UPGRADE_SOCKET: {error}"))?;
    let edge = Arc::new(Edge::new(config, listeners)?);
    edge.check_listen("EDGE_LISTEN", edge.config.edge_listen)?;
    edge.check_listen("EDGE_OPS_LISTEN", edge.config.edge_ops_listen)?;
    edge.config.edge_tls_listen.map_or(Ok(()), |listen| edge.check_listen("EDGE_TLS_LISTEN", listen))?;
    let threads = match edge.config.edge_threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let conf = ServerConf { threads, max_retries: MAX_TRIES, ..ServerConf::default() };
    refuse_eviction(&edge.config)?;
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let knowledge = server.add_service(background_service("knowledge", Knowledge(Arc::clone(&edge))));
    let getting_ready = Arc::clone(&edge);
    let ready = move || {
        let edge = Arc::clone(&getting_ready);
        async move { edge.ready_to_succeed().await }.boxed()
    };
    let proxy = proxy_service(&edge, &server)?;
    let proxy = server.add_service(Listening::public(proxy, Arc::clone(&edge.listeners), Box::new(ready)));
    proxy.add_dependency(&knowledge);
    let mut ops =
        Service::new("ops".to_owned(), pingora::apps::http_app::HttpServer::new_app(Ops::new(Arc::clone(&edge))));
    ops.threads = Some(1);
    ops.add_tcp(&edge.config.edge_ops_listen.to_string());
    server.add_service(Listening::ops(ops, Arc::clone(&edge.listeners)));

    let upstreams = edge.config.zenzefi_url.iter().map(Origin::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(listen = %edge.config.edge_listen, upstreams, "serving");
    server.run(RunArgs { shutdown_signal: Box::new(Shutdown(edge)) });
    Ok(())
}

/// Refuses a Redis that may throw tokens away. One that is away is asked once it is there, by the follower of the feed.
fn refuse_eviction(config: &Config) -> Result<(), String> {
    if config.allow_eviction {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let why = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?.block_on(async {
        let redis = Redis::start(config.redis_url.expose(), config.lease(), false).ok()?;
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

/// A client that vanished, and with it its idle WebSocket, must not hold a token for as long as that lasts.
fn notices_dead_clients() -> TcpSocketOptions {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: KEEPALIVE_AFTER,
        interval: KEEPALIVE_EVERY,
        count: KEEPALIVES_UNANSWERED,
        // Left to the system: a client may be slow to read for longer than it may be gone.
        user_timeout: Duration::ZERO,
    });
    options
}

/// From the outside in: who a connection is from, whether what comes is a request, what ends it, and the proxy.
type ProxyService = Service<Introduced<Gated<Cuttable<HttpProxy<Proxy>>>>>;

fn proxy_service(edge: &Arc<Edge>, server: &Server) -> Result<ProxyService, String> {
    let mut proxy = http_proxy(&server.configuration, Proxy::new(Arc::clone(edge)));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(edge.config.patience().idle);
    // It is refused in words of our own.
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    h2.initial_window_size(H2_STREAM_WINDOW_BYTES).initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES);
    h2.max_header_list_size(edge.config.max_head_bytes);
    proxy.h2_options = Some(h2);
    let cuttable = Cuttable::new(proxy, Arc::clone(&edge.cuts), edge.draining_ended.clone());
    let (limits, patience) = (edge.config.head_limits(), edge.config.patience());
    let gated = Gated::new(cuttable, Rules { limits, patience, metrics: Arc::clone(&edge.metrics) });
    let introduction = edge.config.introduction();
    let mut service = Service::new("proxy".to_owned(), Introduced::new(gated, introduction.clone()));
    if let Some(introduction) = introduction {
        service.endpoints().set_pre_tls_callback(Arc::new(introduction));
    }
    service.add_tcp_with_settings(&edge.config.edge_listen.to_string(), notices_dead_clients());
    let config = &edge.config;
    if let (Some(listen), Some(certificates)) = (config.edge_tls_listen, &edge.certificates) {
        // TLS 1.2 and 1.3, by Mozilla's list.
        let tls = TlsSettings::with_callbacks(Box::new(Chooser(Arc::clone(certificates))));
        let mut tls = tls.map_err(|error| format!("EDGE_TLS_LISTEN: {}", error.etype().as_str()))?;
        tls.enable_h2();
        service.add_tls_with_settings(&listen.to_string(), Some(notices_dead_clients()), tls);
    }
    Ok(service)
}

/// Keeps what this edge knows up to date: follows the change feed, and tries whether the upstream is up.
struct Knowledge(Arc<Edge>);

#[async_trait]
impl BackgroundService for Knowledge {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Self(edge) = self;
        let config = &edge.config;
        let url = config.redis_url.expose();
        let (lease, shares_tokens) = (config.lease(), config.device_policy == DevicePolicy::Off);
        let connections = Redis::start(url, lease, shares_tokens)
            .and_then(|questions| Ok((questions, Redis::start_feed(url, lease, shares_tokens)?)));
        let (questions, feed) = connections.expect("the URL was checked at start");
        let trust = Trust {
            staleness: Duration::from_secs(config.revocation_staleness_seconds),
            outage_grace: Duration::from_secs(config.redis_outage_grace_seconds),
            lease,
        };
        let entries = usize::try_from(config.grant_cache_entries).expect("a u32 fits");
        let (settlements, queued) = Settlements::new();
        let grants =
            Arc::new(Grants::new(questions.clone(), trust, entries, settlements.clone(), Arc::clone(&edge.metrics)));
        let (meter, clock) = (Arc::clone(&edge.meter), Arc::clone(&edge.clock));
        let settler = Arc::new(Settler::new(Arc::clone(&grants), meter, clock, settlements));
        let known = Known { redis: questions.clone(), grants: Arc::clone(&grants), settler: Arc::clone(&settler) };
        let _ = edge.knowledge.set(known);
        // Not waiting for Redis: an edge that starts without it answers 503 and says so.
        ready.notify_ready();
        let telling = async {
            loop {
                tokio::time::sleep(USAGE_TOLD_EVERY).await;
                if let Err(error) = edge.meter.flush(&questions, false).await {
                    tracing::warn!(%error, "usage could not be told; it is kept");
                }
                edge.meter.forget_old();
            }
        };
        let exchanging = async {
            loop {
                tokio::time::sleep(EXCHANGED_EVERY).await;
                if let Err(error) = edge.rates.exchange(&questions).await {
                    tracing::warn!(%error, "what tokens may still do is counted here alone");
                }
            }
        };
        let follower = Follower {
            redis: feed.clone(),
            grants: Arc::clone(&grants),
            clock: Arc::clone(&edge.clock),
            meter: Arc::clone(&edge.meter),
            metrics: Arc::clone(&edge.metrics),
            allow_eviction: config.allow_eviction,
        };
        let certificates = async {
            loop {
                tokio::time::sleep(certificates::LOOK_EVERY).await;
                edge.reload_certificates();
            }
        };
        tokio::select! {
            () = certificates => {}
            () = follower.follow(edge.stopped.clone()) => {}
            () = grants.watch() => {}
            () = settler.run(&questions, queued) => {}
            () = telling => {}
            () = exchanging => {}
            () = edge.zenzefi.watch(&edge.tunnels) => {}
            () = questions.replace_when_silent() => {}
            () = feed.replace_when_silent() => {}
        }
    }
}
