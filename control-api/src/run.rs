//! Runs the control plane: its tasks, its listeners, and its stop.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{net::TcpListener, signal::unix::Signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{App, AppError},
    config::Config,
    jobs::{self, redis_rebuild::Rebuilder, sweeper::Sweeper},
    redis::Publisher,
    server::{self, reload::Reload},
};

/// How long tasks have to end once the program is told to stop: longer than open requests have.
const STOP_WITHIN: Duration = server::http::DRAIN_WITHIN.saturating_add(Duration::from_secs(3));

/// How long the program waits for Redis at its start, to see whether it may evict keys.
const CONTACT_WITHIN: Duration = Duration::from_secs(1);
const CONTACT_EVERY: Duration = Duration::from_millis(250);

/// Why the program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("REDIS_URL: Redis may evict keys (maxmemory-policy {policy}); set noeviction, or pass --allow-eviction")]
    RedisMayEvict { policy: String },
    #[error("a task of the program ended by itself")]
    TaskEnded,
}

/// Serves until `stop`, then drains. Every task hangs on one tracker and one token: one that ends
/// by itself takes the program down, for half a program would look alive.
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
    tasks.spawn("outbox relay", |stop| async move {
        jobs::outbox_relay::relay(relay_db, database_url.expose(), relay_publisher, relay_metrics, stop).await;
    });
    let watch =
        Rebuilder { db: db.clone(), publisher: publisher.clone(), hour: app.config.hour, metrics: metrics.clone() };
    tasks.spawn("Redis rebuild", |stop| watch.clone().watch(stop));
    tasks.spawn("orphans", |stop| watch.watch_orphans(stop));
    let (intake_db, intake_metrics) = (db.clone(), metrics.clone());
    tasks.spawn("usage consumer", |stop| async move {
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
    if let Some(payments) = app.payments.clone() {
        tasks.spawn("reconciler", |stop| jobs::payment_reconciler::reconcile(db.clone(), payments, stop));
    }
    let ops = server::ops::endpoint(Arc::clone(&app));
    tasks.spawn("private listener", |stop| server::http::serve(ops_listener, ops, metrics.clone(), stop));
    let public = server::routes::endpoint(Arc::clone(&app));
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
            Err(error) => tracing::error!(%error, "refusing to start: Redis may evict keys (set maxmemory-policy noeviction)"),
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
                tracing::error!(task = name, "background task exited unexpectedly; stopping the process");
                failed.cancel();
                stop.cancel();
            }
        });
    }

    /// Returns once all have ended, or have had their time to. What a task leaves half done is
    /// finished by the next process.
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
