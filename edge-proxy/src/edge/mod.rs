//! One edge process: its parts, built once from the options.

mod settings;
mod site;

use std::{sync::Arc, time::Duration};

use pingora::connectors::http::v1::Connector;

use crate::{
    admission::{
        Admission, concurrency::Concurrency, entrance::Entrance, outcomes::OutcomeWorker, rate_limit::RateLimiter,
        unknown_tokens::UnknownTokenLimiter,
    },
    assertion::Assertions,
    clock::Clock,
    config::Config,
    connection::cutoff::Cutoffs,
    grants::{Grants, freshness::StalenessPolicy, release::OutcomeQueue},
    lifecycle::Lifecycle,
    pages::{Pages, SiteLinks, assets::Assets},
    redis::Redis,
    rewrite::origins::OriginPatterns,
    route::Routes,
    telemetry::metrics::Metrics,
    tls::{
        Tls,
        certificates::{Certificates, Files},
    },
    upstream::{
        pool::Pool,
        server::{self, Upstream, UpstreamTls},
    },
    usage::UsageMeter,
};
use site::Site;

/// All that one edge process is made of.
pub struct Edge {
    pub config: Config,
    pub metrics: Arc<Metrics>,
    /// Redis' clock, as far as it was heard.
    pub clock: Arc<Clock>,
    pub site: Site,
    pub pages: Pages,
    pub admission: Admission,
    pub cutoffs: Arc<Cutoffs>,
    /// Zenzefi's addresses.
    pub upstream: Pool,
    /// The control API, where this edge is its front door.
    pub control: Option<Upstream>,
    /// Connections to the upstream that carry one exchange each: WebSockets, and requests with
    /// trailers.
    pub dedicated: Connector,
    /// How responses may spell the upstream's origins.
    pub rewriting: Arc<OriginPatterns>,
    /// What tells the upstream who asks, where that is wanted.
    pub assertions: Option<Assertions>,
    pub tls: Tls,
    /// The connection for questions.
    pub redis: Redis,
    pub lifecycle: Lifecycle,
}

impl Edge {
    /// Puts the parts together; the error names the option that is wrong. Nothing runs yet, and
    /// nothing is connected.
    pub fn new(config: Config) -> Result<Self, String> {
        config.validate()?;
        let (metrics, clock) = (Arc::<Metrics>::default(), Arc::new(Clock::new()));
        let redis = Redis::new(config.redis_url.expose(), config.lease_policy());
        let redis = redis.map_err(|error| format!("REDIS_URL: {error}"))?;
        let assertions =
            config.assertion_settings().map(|settings| Assertions::new(settings, Arc::clone(&clock))).transpose();
        let assertions = assertions.map_err(|error| format!("ASSERTION_SECONDS: no key can be made: {error}"))?;
        let tls = tls(&config)?;
        let origins = [&config.zenzefi_url[..], &config.zenzefi_aliases].concat();
        Ok(Self {
            site: Site {
                routes: Routes::new(config.control_api_url.is_some(), &config.reserved_prefix_off)
                    .with_assertions(assertions.is_some()),
                public_origins: config.public_origin.clone().into(),
                console: config.portal.origin(&config.public_origin),
            },
            pages: pages(&config),
            admission: admission(&config, &redis, &clock, &metrics),
            cutoffs: Arc::new(Cutoffs::new(Arc::clone(&metrics), Arc::clone(&clock))),
            upstream: upstream(&config, &tls, &metrics)?,
            control: config.control_api_url.clone().map(|origin| {
                let timeout = config.upstream_timeout();
                Upstream::new(origin, UpstreamTls { verify: true, authorities: None, client: None, timeout })
            }),
            dedicated: Connector::new(None),
            rewriting: Arc::new(OriginPatterns::of(&origins)),
            assertions,
            tls,
            redis,
            lifecycle: Lifecycle::default(),
            clock,
            metrics,
            config,
        })
    }

    /// Takes the figures that are read rather than counted.
    pub fn measure(&self) {
        let metrics = &self.metrics;
        let silence = self.admission.grants.feed_health.silence();
        metrics.feed_silence.set(silence.map_or(f64::INFINITY, |silence| silence.as_secs_f64()));
        metrics.clock_offset.set(self.clock.offset_seconds());
        metrics.upstreams_in_use.set(i64::try_from(self.upstream.in_use()).unwrap_or(i64::MAX));
        if let Some(now) = self.clock.now_seconds() {
            let rest = self.tls.certificates.as_ref().map(|certificates| certificates.rest(now));
            metrics.certificate_expires_in.set(rest.map_or(f64::INFINITY, |rest| rest.as_secs_f64()));
        }
        metrics.usage_pending.set(i64::try_from(self.admission.usage.pending()).unwrap_or(i64::MAX));
    }

    /// Takes over what can change while this edge runs: limits, and which addresses may come. What
    /// is open stays.
    pub fn apply(&self, config: &Config) {
        self.admission.entrance.apply(config.address_filter(), config.limits.open_requests);
        self.admission.unknown_tokens.limit(config.limits.unknown_tokens_per_minute);
        self.admission.rates.limit(config.limits.token_requests_per_minute);
        self.admission.concurrency.limit(config.limits.token_open_requests, config.limits.token_open_websockets);
    }
}

fn pages(config: &Config) -> Pages {
    let assets = Assets::default();
    let links = SiteLinks {
        style: assets.style.address(),
        icon: assets.icon.address(),
        portal: config.portal.url(&config.public_origin),
        home: config.public_origin.first().cloned(),
    };
    Pages { links, assets }
}

fn admission(config: &Config, redis: &Redis, clock: &Arc<Clock>, metrics: &Metrics) -> Admission {
    let lease = config.lease();
    let policy = StalenessPolicy {
        staleness: Duration::from_secs(config.revocation_staleness_seconds),
        outage_grace: Duration::from_secs(config.redis_outage_grace_seconds),
        lease,
    };
    let entries = usize::try_from(config.grant_cache_entries).expect("a u32 fits");
    let (outcome_queue, queued) = OutcomeQueue::new();
    let grants = Arc::new(Grants::new(redis.clone(), policy, entries, outcome_queue.clone(), metrics));
    let usage = Arc::new(UsageMeter::new(Arc::clone(clock), lease));
    let (worker_grants, worker_usage) = (Arc::clone(&grants), Arc::clone(&usage));
    let outcomes = OutcomeWorker::new(worker_grants, worker_usage, Arc::clone(clock), outcome_queue, queued);
    let limits = &config.limits;
    Admission {
        grants,
        outcomes: Arc::new(outcomes),
        usage,
        entrance: Entrance::new(config.address_filter(), limits.open_requests, metrics.open_requests.clone()),
        unknown_tokens: UnknownTokenLimiter::new(limits.unknown_tokens_per_minute),
        rates: RateLimiter::new(limits.token_requests_per_minute),
        concurrency: Arc::new(Concurrency::new(limits.token_open_requests, limits.token_open_websockets)),
        lease,
    }
}

fn upstream(config: &Config, tls: &Tls, metrics: &Arc<Metrics>) -> Result<Pool, String> {
    let authorities = config.zenzefi_ca_file.as_deref().map(server::read_authorities).transpose();
    let authorities = authorities.map_err(|error| format!("ZENZEFI_CA_FILE: {error}"))?;
    let (client, timeout) = (tls.client_certificate.clone(), config.upstream_timeout());
    let tls = UpstreamTls { verify: config.zenzefi_tls_verify, authorities, client, timeout };
    let addresses = config.zenzefi_url.iter().map(|origin| Upstream::new(origin.clone(), tls.clone()));
    Ok(Pool::new(addresses.collect(), config.pool_settings(), timeout, metrics))
}

fn tls(config: &Config) -> Result<Tls, String> {
    let (options, files) = ("EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE", config.tls.files(&config.served_origins()));
    let certificates = read_certificates(options, files)?;
    let options = "ZENZEFI_CLIENT_CERT_FILE, ZENZEFI_CLIENT_KEY_FILE";
    let client_certificate = read_certificates(options, config.zenzefi_client_files())?;
    Ok(Tls { certificates, acme: config.tls.acme(&config.served_origins()), client_certificate })
}

/// Reads the certificates that these options name, if they name any.
fn read_certificates(options: &str, files: Vec<Files>) -> Result<Option<Arc<Certificates>>, String> {
    if files.is_empty() {
        return Ok(None);
    }
    Certificates::read(files).map(|read| Some(Arc::new(read))).map_err(|error| format!("{options}: {error}"))
}
