//! What requests and tasks share: the options, the connections, and what is kept in memory.

use std::{
    net::IpAddr,
    sync::{Arc, RwLock},
};

use chrono::{DateTime, Utc};
use shared::net::address::AddressFilter;
use tokio_util::sync::CancellationToken;

use crate::{
    assets::Assets,
    config::{Config, prices::Prices},
    db,
    domain::{
        idempotency::Sealer, jwt, login_throttle::LoginThrottle, passwords::Passwords, payments::Payments,
        rate_limits::Limits,
    },
    payments::{self, Provider},
    redis::Publisher,
    telemetry::Metrics,
};

/// What every request and task works with.
pub struct App {
    pub config: Config,
    pub prices: Prices,
    pub db: db::Pool,
    pub publisher: Publisher,
    pub passwords: Passwords,
    pub login_throttle: LoginThrottle,
    pub limits: Limits,
    pub keys: jwt::Keys,
    pub sealer: Sealer,
    /// `None` where no payments are taken.
    pub payments: Option<Arc<Payments>>,
    pub address_filter: RwLock<AddressFilter>,
    pub metrics: Metrics,
    /// What the pages of the console load.
    pub assets: Arc<Assets>,
    /// Cancelled once the program stops.
    pub stop: CancellationToken,
}

/// Why the parts of the program cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("DATABASE_URL: {0}")]
    Database(#[from] db::Error),
    #[error("REDIS_URL: {0}")]
    Redis(#[from] fred::error::Error),
    #[error("PAYMENT_PROVIDER: {0}")]
    Payments(#[from] payments::Unavailable),
}

impl App {
    /// Connects to nothing yet: the program starts while Postgres and Redis are away, and says so
    /// on `/readyz`.
    pub async fn new(config: Config, stop: CancellationToken) -> Result<Arc<Self>, AppError> {
        let publisher = Publisher::connect(config.redis_url.expose(), config.hour)?;
        let secret_key = config.secret_key.expose();
        let provider = Provider::new(&config.payments.provider, &config.control_origin)?;
        let (rub_per_znc, lifetime) = (config.payments.rub_per_znc, config.payments.lifetime);
        let payments = provider.map(|provider| Arc::new(Payments { provider, rub_per_znc, lifetime }));
        Ok(Arc::new(Self {
            prices: config.prices.clone(),
            db: db::connect(config.database_url.expose(), config.database_max_connections).await?,
            passwords: Passwords::new(),
            login_throttle: LoginThrottle::new(publisher.clone(), secret_key, config.login_failures_per_hour),
            limits: Limits::new(
                publisher.clone(),
                secret_key,
                config.user_requests_per_minute,
                config.registrations_per_hour,
            ),
            publisher,
            sealer: Sealer::new(secret_key),
            payments,
            keys: jwt::Keys::new(secret_key, config.jwt_lifetime),
            metrics: Metrics::new(),
            assets: Arc::new(Assets::new()),
            address_filter: RwLock::new(config.address_filter.clone()),
            config,
            stop,
        }))
    }

    /// Takes over what can change while the program runs: limits, and which addresses may come.
    pub fn apply(&self, config: &Config) {
        *self.address_filter.write().expect("nothing panics while it holds this lock") = config.address_filter.clone();
        self.login_throttle.limit(config.login_failures_per_hour);
        self.limits.limit(config.user_requests_per_minute, config.registrations_per_hour);
    }

    /// Since when an edge must have reported of a session for its connections to count as open.
    pub fn reported_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - db::session::silence(self.config.lease)
    }

    /// Whether this address may come.
    pub fn may_come(&self, client: IpAddr) -> bool {
        self.address_filter.read().expect("nothing panics while it holds this lock").may_come(client)
    }
}
