//! One edge process: its parts, built once from the options.

mod settings;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pingora::connectors::http::v1::Connector;
use shared::net::address::Visitors;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::{
        concurrency::Concurrency, permit::OutcomeWorker, rate_limit::RateLimiter, unknown_tokens::UnknownTokenLimiter,
    },
    assertion::Assertions,
    clock::Clock,
    config::Config,
    connection::cutoff::Cuts,
    grants::Grants,
    origin::Origin,
    pages::{SiteLinks, assets::Assets},
    process::listeners::Listeners,
    redis::Redis,
    rewrite::origins::OriginPatterns,
    route::Routes,
    sync::RwLock,
    telemetry::metrics::Metrics,
    tls::{
        acme::Acme,
        certificates::{Certificates, Files},
    },
    upstream::{
        pool::Pool,
        server::{self, Upstream, UpstreamTls},
    },
    usage::UsageMeter,
};

/// How long a process that takes over waits for what it needs, of which an order of a certificate takes longest, and how often it
/// looks.
const READY_TO_SUCCEED_WITHIN: Duration = Duration::from_secs(30);
const LOOKS_READY_EVERY: Duration = Duration::from_millis(20);

/// What is made once a runtime exists.
pub struct Known {
    pub redis: Redis,
    pub grants: Arc<Grants>,
    pub settler: Arc<OutcomeWorker>,
}

/// All that one edge process is made of.
pub struct Edge {
    pub config: Config,
    pub routes: Routes,
    pub public_origins: Arc<[Origin]>,
    /// Where this edge shows the console, if it does.
    pub console: Option<Origin>,
    /// Where pages lead.
    pub site: SiteLinks,
    pub assets: Assets,
    pub zenzefi: Pool,
    /// How answers may spell the upstream's origins.
    pub spellings: Arc<OriginPatterns>,
    /// What the TLS listener shows, where there is one.
    pub certificates: Option<Arc<Certificates>>,
    /// Who is asked for a certificate, where somebody is.
    pub acme: Option<Acme>,
    /// What the upstream is shown, where it asks for that.
    pub client_certificate: Option<Arc<Certificates>>,
    /// The control API, where this edge is its front door.
    pub control: Option<Upstream>,
    /// Connections that carry a WebSocket.
    pub tunnels: Connector,
    /// Those that are open.
    pub websockets: TaskTracker,
    pub metrics: Arc<Metrics>,
    /// Cancelled when shutdown begins: no connection is kept from then on.
    pub draining: CancellationToken,
    /// Cancelled when the time to drain is over: WebSockets end.
    pub draining_ended: CancellationToken,
    /// Cancelled last, once all that was seen has been told.
    pub stopped: CancellationToken,
    /// Cancelled when something has ended that this process is of no use without.
    pub failed: CancellationToken,
    pub cuts: Arc<Cuts>,
    /// Redis' clock, as far as it was heard.
    pub clock: Arc<Clock>,
    pub meter: Arc<UsageMeter>,
    /// What tells the upstream who asks, where that is wanted.
    pub assertions: Option<Assertions>,
    pub strangers: UnknownTokenLimiter,
    pub rates: RateLimiter,
    pub places: Arc<Concurrency>,
    pub visitors: RwLock<Visitors>,
    /// How much may be open at once in all; 0 for any number.
    pub most_open: AtomicU32,
    pub listeners: Arc<Listeners>,
    /// Made by the service that runs them, since a runtime exists only from then on.
    pub knowledge: OnceLock<Known>,
}

impl Edge {
    /// Puts the parts together; the error names the option that is wrong.
    pub fn new(config: Config, listeners: Listeners) -> Result<Self, String> {
        config.validate()?;
        let origins = [&config.zenzefi_url[..], &config.zenzefi_aliases].concat();
        let authorities = config.zenzefi_ca_file.as_deref().map(server::read_authorities).transpose();
        let authorities = authorities.map_err(|error| format!("ZENZEFI_CA_FILE: {error}"))?;
        let timeout = config.upstream_timeout();
        let certificates =
            read_certificates("EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE", config.tls.files(&config.served_origins()))?;
        let client_options = "ZENZEFI_CLIENT_CERT_FILE, ZENZEFI_CLIENT_KEY_FILE";
        let client_certificate = read_certificates(client_options, config.zenzefi_client_files())?;
        let client = client_certificate.clone();
        let zenzefi = UpstreamTls { verify: config.zenzefi_tls_verify, authorities, client, timeout };
        let control = UpstreamTls { verify: true, authorities: None, client: None, timeout };
        let (metrics, clock) = (Arc::<Metrics>::default(), Arc::new(Clock::new()));
        let assertions =
            config.assertion_settings().map(|terms| Assertions::new(terms, Arc::clone(&clock))).transpose();
        let assertions = assertions.map_err(|error| format!("ASSERTION_SECONDS: no key can be made: {error}"))?;
        let assets = Assets::default();
        let addresses = config.zenzefi_url.iter().map(|origin| Upstream::new(origin.clone(), zenzefi.clone()));
        Ok(Self {
            routes: Routes::new(config.control_api_url.is_some(), &config.reserved_prefix_off)
                .with_assertions(assertions.is_some()),
            public_origins: config.public_origin.clone().into(),
            console: config.portal.origin(&config.public_origin),
            site: SiteLinks {
                style: assets.style.address(),
                icon: assets.icon.address(),
                portal: config.portal.url(&config.public_origin),
                home: config.public_origin.first().cloned(),
            },
            assets,
            zenzefi: Pool::new(addresses.collect(), config.pool_settings(), timeout, &metrics),
            spellings: Arc::new(OriginPatterns::of(&origins)),
            certificates,
            acme: config.tls.acme(&config.served_origins()),
            client_certificate,
            control: config.control_api_url.clone().map(|origin| Upstream::new(origin, control)),
            tunnels: Connector::new(None),
            websockets: TaskTracker::new(),
            cuts: Arc::new(Cuts::new(Arc::clone(&metrics), Arc::clone(&clock))),
            strangers: UnknownTokenLimiter::new(config.limits.unknown_tokens_per_minute),
            rates: RateLimiter::new(config.limits.token_requests_per_minute),
            visitors: RwLock::new(config.visitors()),
            most_open: config.limits.open_requests.into(),
            places: Arc::new(Concurrency::new(config.limits.token_open_requests, config.limits.token_open_websockets)),
            meter: Arc::new(UsageMeter::new(Arc::clone(&clock), config.lease())),
            assertions,
            clock,
            metrics,
            draining: CancellationToken::new(),
            draining_ended: CancellationToken::new(),
            stopped: CancellationToken::new(),
            failed: CancellationToken::new(),
            listeners: Arc::new(listeners),
            knowledge: OnceLock::new(),
            config,
        })
    }

    /// Every origin that is served here, the console's too.
    pub fn served_origins(&self) -> impl Iterator<Item = &Origin> {
        self.public_origins.iter().chain(&self.console)
    }

    pub fn known(&self) -> &Known {
        self.knowledge.get().expect("requests are served only once the change feed's service has started")
    }

    /// What this edge knows of tokens.
    pub fn grants(&self) -> &Grants {
        &self.known().grants
    }

    pub fn settler(&self) -> &Arc<OutcomeWorker> {
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
        if let Some(now) = self.clock.now_seconds() {
            let rest = self.certificates.as_ref().map(|certificates| certificates.rest(now));
            metrics.certificate_expires_in.set(rest.map_or(f64::INFINITY, |rest| rest.as_secs_f64()));
        }
        metrics.usage_pending.set(i64::try_from(self.meter.pending()).unwrap_or(i64::MAX));
    }

    /// Takes over what can change while this edge runs: limits, and which addresses may come. What is open stays.
    pub fn apply(&self, config: &Config) {
        *self.visitors.write() = config.visitors();
        self.most_open.store(config.limits.open_requests, Ordering::Relaxed);
        self.strangers.limit(config.limits.unknown_tokens_per_minute);
        self.rates.limit(config.limits.token_requests_per_minute);
        self.places.limit(config.limits.token_open_requests, config.limits.token_open_websockets);
    }

    /// Whether this address may come.
    pub fn may_come(&self, client: IpAddr) -> bool {
        self.visitors.read().may_come(client)
    }

    /// Whether more is open than this edge serves at once.
    pub fn is_full(&self) -> bool {
        let most = i64::from(self.most_open.load(Ordering::Relaxed));
        most > 0 && self.metrics.open_requests.get() > most
    }

    /// Reads the files of certificates that have changed; says in the log what came of it.
    pub fn reload_certificates(&self) {
        self.certificates.iter().chain(&self.client_certificate).for_each(|certificates| certificates.reload());
    }

    /// Waits until this edge can serve as well as the one before it did, for as long as that may take.
    pub async fn ready_to_succeed(&self) {
        let is_ready = async {
            while !self.missing().is_empty() {
                tokio::time::sleep(LOOKS_READY_EVERY).await;
            }
        };
        if tokio::time::timeout(READY_TO_SUCCEED_WITHIN, is_ready).await.is_err() {
            tracing::warn!(missing = self.missing().join(", "), "takes over although it cannot serve yet");
        }
    }

    /// What this edge lacks to serve.
    pub fn missing(&self) -> Vec<&'static str> {
        let has_certificate = match (&self.certificates, &self.acme) {
            (Some(certificates), Some(acme)) => certificates.are_for_any(&acme.domains),
            _ => true,
        };
        let needs = [
            (self.is_redis_up(), "Redis"),
            (self.zenzefi.in_use() > 0, "the upstream"),
            (self.is_signature_known(), "that other edges know the key of assertions"),
            (has_certificate, "a certificate"),
        ];
        needs.into_iter().filter_map(|(is_met, need)| (!is_met).then_some(need)).collect()
    }

    /// Whether every edge can tell by now what this one's assertions are verified with.
    pub fn is_signature_known(&self) -> bool {
        self.assertions.as_ref().is_none_or(Assertions::are_known)
    }

    /// Why the change feed is not sound, if it is not.
    pub fn why_deaf(&self) -> Option<&'static str> {
        let known = self.knowledge.get();
        if self.is_redis_up() {
            None
        } else if !known.is_some_and(|known| known.redis.is_connected()) {
            Some("Redis cannot be reached")
        } else if !known.is_some_and(|known| known.grants.hearing.is_filled()) {
            Some("Redis does not hold every token yet: the control plane is filling it, or is not there")
        } else {
            Some("the change feed is silent: Redis does not answer, or is not the one that it was")
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
