//! The control plane: users, logins, tokens, credits, admin. Postgres holds the truth; Redis is told of it, and is never
//! asked on behalf of a proxied request.
//!
//! Layers, one direction: `api` and `console` (HTTP in and out: for programs and for people), `domain` (rules, in a transaction), `db` (tables). Beside them `outbox`
//! and `snapshot` tell Redis, and `intake` reads what the edges tell.

mod api;
mod assets;
pub mod cli;
pub mod config;
mod console;
mod db;
mod domain;
mod http;
mod input;
mod jobs;
mod payments;
mod publish;
mod redis;
mod server;
pub mod telemetry;

use std::{
    future::Future,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, RwLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use shared::net::address::Visitors;
use tokio::{net::TcpListener, signal::unix::Signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    console::Assets,
    domain::{
        idempotency::Sealer, jwt, login_throttle::Attempts, passwords::Passwords, payments::Till, prices::Prices,
        rate_limits::Limits,
    },
    jobs::{redis_rebuild::Watch, sweeper::Sweeper},
    payments::Provider,
    redis::Publisher,
    server::reload::Reload,
    telemetry::Metrics,
};

/// How long one round of a background task may take before it counts as failed: Postgres may be gone without having closed its
/// connections, and a task that waits for it would wait for ever.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
/// How long tasks have to end once the program is told to stop: longer than open requests have.
const STOP_WITHIN: Duration = server::http::DRAIN_WITHIN.saturating_add(Duration::from_secs(3));

/// How long the program waits for Redis at its start, to see whether it may evict keys.
const CONTACT_WITHIN: Duration = Duration::from_secs(1);
const CONTACT_EVERY: Duration = Duration::from_millis(250);

/// What every request and task works with.
pub struct App {
    config: Config,
    prices: Prices,
    db: db::Pool,
    publisher: Publisher,
    passwords: Passwords,
    attempts: Attempts,
    limits: Limits,
    keys: jwt::Keys,
    sealer: Sealer,
    /// `None` where no payments are taken.
    till: Option<Arc<Till>>,
    visitors: RwLock<Visitors>,
    metrics: Metrics,
    /// What the pages of the console load.
    assets: Arc<Assets>,
    /// Cancelled once the program stops.
    stop: CancellationToken,
}

/// Why the program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("DATABASE_URL: {0}")]
    Database(#[from] db::Error),
    #[error("REDIS_URL: {0}")]
    Redis(#[from] fred::error::Error),
    #[error("REDIS_URL: Redis may evict keys (maxmemory-policy {policy}); set noeviction, or pass --allow-eviction")]
    RedisMayEvict { policy: String },
    #[error("PAYMENT_PROVIDER: {0}")]
    Payments(#[from] payments::Unavailable),
    #[error("a task of the program ended by itself")]
    TaskEnded,
}

impl App {
    /// Connects to nothing yet: the program starts while Postgres and Redis are away, and says so on `/readyz`.
    async fn new(config: Config, stop: CancellationToken) -> Result<Arc<Self>, RunError> {
        let publisher = Publisher::connect(config.redis_url.expose(), config.hour)?;
        let secret_key = config.secret_key.expose();
        let provider = Provider::new(&config.payments.provider, &config.control_origin)?;
        let (rub_per_znc, lifetime) = (config.payments.rub_per_znc, config.payments.lifetime);
        let till = provider.map(|provider| Arc::new(Till { provider, rub_per_znc, lifetime }));
        Ok(Arc::new(Self {
            prices: config.prices.clone(),
            db: db::connect(config.database_url.expose(), config.database_max_connections).await?,
            passwords: Passwords::new(),
            attempts: Attempts::new(publisher.clone(), secret_key, config.login_failures_per_hour),
            limits: Limits::new(
                publisher.clone(),
                secret_key,
                config.user_requests_per_minute,
                config.registrations_per_hour,
            ),
            publisher,
            sealer: Sealer::new(secret_key),
            till,
            keys: jwt::Keys::new(secret_key, config.jwt_lifetime),
            metrics: Metrics::new(),
            assets: Arc::new(Assets::new()),
            visitors: RwLock::new(config.visitors.clone()),
            config,
            stop,
        }))
    }

    /// Takes over what can change while the program runs: limits, and which addresses may come.
    fn apply(&self, config: &Config) {
        *self.visitors.write().expect("nothing panics while it holds this lock") = config.visitors.clone();
        self.attempts.limit(config.login_failures_per_hour);
        self.limits.limit(config.user_requests_per_minute, config.registrations_per_hour);
    }

    /// Since when an edge must have reported of a session for its connections to count as open.
    fn reported_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - db::session::silence(self.config.lease)
    }

    /// Whether this address may come.
    fn may_come(&self, client: IpAddr) -> bool {
        self.visitors.read().expect("nothing panics while it holds this lock").may_come(client)
    }
}

/// Serves until `stop`, then drains. Every task hangs on one tracker and one token: one that ends by itself takes the
/// program down, for half a program would look alive.
pub async fn run(
    config: Config,
    (reload, hangups): (Reload, Signal),
    listener: TcpListener,
    ops_listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let app = App::new(config, stop.clone()).await?;
    let tasks = Tasks { tracker: TaskTracker::new(), stop: stop.clone(), failed: CancellationToken::new() };

    if app.config.shares_host() {
        tracing::warn!(
            "CONTROL_ORIGIN is on a host of PUBLIC_ORIGIN: a browser gives cookies of one to the other, and pages of Zenzefi can set \
            some; give the console a host of its own (CONSOLE_HOST of the edge)"
        );
    }
    let (db, publisher, metrics) = (&app.db, &app.publisher, &app.metrics);
    if !app.config.allow_eviction {
        match tokio::time::timeout(CONTACT_WITHIN, refuse_eviction(publisher)).await {
            Ok(answered) => answered?,
            // Redis is away: what it is shows at the first contact.
            Err(_) => tasks.spawn("eviction check", |stop| check_eviction(publisher.clone(), stop)),
        }
    }
    tasks.spawn("options", |stop| reload.on(hangups, Arc::clone(&app), stop));
    let watched = publisher.clone();
    tasks.spawn("connection to Redis", |stop| async move {
        tokio::select! {
            () = watched.replace_when_silent() => {}
            () = stop.cancelled() => {}
        }
    });
    let database_url = app.config.database_url.clone();
    let redis_url = app.config.redis_url.clone();
    let (relay_db, relay_publisher, relay_metrics) = (db.clone(), publisher.clone(), metrics.clone());
    tasks.spawn("relay", |stop| async move {
        jobs::outbox_relay::relay(relay_db, database_url.expose(), relay_publisher, relay_metrics, stop).await;
    });
    let watch = Watch { db: db.clone(), publisher: publisher.clone(), hour: app.config.hour, metrics: metrics.clone() };
    tasks.spawn("snapshot", |stop| watch.clone().watch(stop));
    tasks.spawn("ghosts", |stop| watch.haunt(stop));
    let (intake_db, intake_metrics) = (db.clone(), metrics.clone());
    tasks.spawn("intake", |stop| async move {
        jobs::usage_consumer::read(intake_db, redis_url.expose(), intake_metrics, stop).await;
    });
    let sweeper = Sweeper {
        db: db.clone(),
        publisher: publisher.clone(),
        metrics: metrics.clone(),
        refund_hold: app.config.refund_hold,
        lease: app.config.lease,
        audit_retention_days: app.config.audit_retention_days,
    };
    tasks.spawn("sweeper", |stop| sweeper.sweep(stop));
    if let Some(till) = app.till.clone() {
        tasks.spawn("reconciler", |stop| jobs::payment_reconciler::reconcile(db.clone(), till, stop));
    }
    let ops = server::ops::endpoint(Arc::clone(&app));
    tasks.spawn("private listener", |stop| server::http::serve(ops_listener, ops, metrics.clone(), stop));
    let public = api::endpoint(Arc::clone(&app));
    tasks.spawn("listener", |stop| server::http::serve(listener, public, metrics.clone(), stop));

    tasks.ended().await
}

/// Returns once Redis has answered, with an error if it may evict keys.
async fn refuse_eviction(publisher: &Publisher) -> Result<(), RunError> {
    loop {
        match publisher.server().await {
            Ok(server) if server.maxmemory_policy == "noeviction" => return Ok(()),
            Ok(server) => return Err(RunError::RedisMayEvict { policy: server.maxmemory_policy }),
            Err(_) => tokio::time::sleep(CONTACT_EVERY).await,
        }
    }
}

/// The same for as long as it takes; ends before its time, and the program with it, if Redis may.
async fn check_eviction(publisher: Publisher, stop: CancellationToken) {
    tokio::select! {
        answered = refuse_eviction(&publisher) => match answered {
            Ok(()) => stop.cancelled().await,
            Err(error) => tracing::error!(%error, "will not serve on this Redis"),
        },
        () = stop.cancelled() => {}
    }
}

struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// Starts a task that runs until its token is cancelled.
    fn spawn<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = AssertUnwindSafe(task(self.stop.clone())).catch_unwind();
        let (stop, failed) = (self.stop.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let ended = task.await;
            if ended.is_err() || !stop.is_cancelled() {
                tracing::error!(task = name, "a task ended by itself");
                failed.cancel();
                stop.cancel();
            }
        });
    }

    /// Returns once all have ended, or have had their time to. What a task leaves half done is finished by the next process.
    async fn ended(self) -> Result<(), RunError> {
        self.tracker.close();
        let overdue = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            () = self.tracker.wait() => {}
            () = overdue => tracing::warn!(tasks = self.tracker.len(), "tasks were still running at the end of the stop"),
        }
        if self.failed.is_cancelled() { Err(RunError::TaskEnded) } else { Ok(()) }
    }
}
