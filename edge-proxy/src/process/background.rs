//! The two services beside requests: one keeps what this edge knows of tokens true and reports what
//! it has seen, the other keeps certificates good. They are apart because certificates wait for
//! disks, and what cuts tokens off waits for nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};

use crate::{
    admission::rate_limit::EXCHANGED_EVERY,
    edge::Edge,
    grants::feed::Follower,
    process::{reload::Reload, shutdown::vital},
    redis::Redis,
    sync::Mutex,
    tls::{acme, certificates::LOOK_EVERY},
};

/// How often usage is reported: what a crash may lose.
const USAGE_REPORTED_EVERY: Duration = Duration::from_secs(2);

/// The service that keeps the state of this edge.
pub struct State {
    edge: Arc<Edge>,
    /// Taken by its one start.
    reload: Mutex<Option<Reload>>,
}

impl State {
    pub fn new(edge: Arc<Edge>, reload: Reload) -> Self {
        Self { edge, reload: Mutex::new(Some(reload)) }
    }

    async fn run(&self, ready: ServiceReadyNotifier) {
        let edge = &self.edge;
        let reload = self.reload.lock().take().expect("Pingora starts a service once");
        let feed = Redis::for_feed(edge.config.redis_url.expose(), edge.config.lease_policy());
        let feed = feed.expect("the URL was checked at start");
        let redis = &edge.redis;
        redis.connect();
        feed.connect();
        // Not waiting for Redis: an edge that starts without it answers 503 and says so.
        ready.notify_ready();
        tokio::select! {
            () = reload.on_hangup(edge) => {}
            () = follow(edge, &feed) => {}
            () = edge.admission.grants.watch() => {}
            () = edge.admission.outcomes.run(redis) => {}
            () = report_usage(edge) => {}
            () = exchange_rates(edge) => {}
            () = publish_keys(edge) => {}
            () = edge.upstream.watch(&edge.dedicated) => {}
            () = redis.replace_when_silent() => {}
            () = feed.replace_when_silent() => {}
        }
    }
}

#[async_trait]
impl BackgroundService for State {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        // Boxed once, as it lives as long as the process and is large.
        vital(&self.edge, "state", Box::pin(self.run(ready))).await;
    }
}

/// Follows the change feed, once what it makes ready for requests can be asked.
async fn follow(edge: &Edge, feed: &Redis) {
    let follower = Follower {
        redis: feed.clone(),
        grants: Arc::clone(&edge.admission.grants),
        clock: Arc::clone(&edge.clock),
        meter: Arc::clone(&edge.admission.usage),
        metrics: Arc::clone(&edge.metrics),
        allow_eviction: edge.config.allow_eviction,
    };
    tokio::select! {
        () = edge.redis.wait_until_connected() => {}
        () = edge.lifecycle.stopped.cancelled() => {}
    }
    follower.follow(edge.lifecycle.stopped.clone()).await;
}

async fn report_usage(edge: &Edge) {
    let usage = &edge.admission.usage;
    loop {
        tokio::time::sleep(USAGE_REPORTED_EVERY).await;
        if let Err(error) = usage.flush(&edge.redis, false).await {
            tracing::warn!(%error, "usage could not be reported; it is kept");
        }
        usage.forget_old();
    }
}

async fn exchange_rates(edge: &Edge) {
    loop {
        tokio::time::sleep(EXCHANGED_EVERY).await;
        if let Err(error) = edge.admission.rates.exchange(&edge.redis).await {
            tracing::warn!(%error, "token rate limits are local to this edge: Redis did not answer");
        }
    }
}

async fn publish_keys(edge: &Edge) {
    match &edge.assertions {
        Some(assertions) => assertions.publish(&edge.redis).await,
        None => std::future::pending().await,
    }
}

/// The service that reads certificate files that have changed, and orders certificates by ACME.
pub struct CertificateKeeper(pub Arc<Edge>);

#[async_trait]
impl BackgroundService for CertificateKeeper {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Self(edge) = self;
        let rereading = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                edge.tls.reload();
            }
        };
        let keeping = async {
            tokio::select! {
                () = Box::pin(order_certificates(edge)) => {}
                () = rereading => {}
            }
        };
        vital(edge, "certificates", keeping).await;
    }
}

async fn order_certificates(edge: &Edge) {
    match (&edge.tls.acme, &edge.tls.certificates) {
        (Some(acme), Some(certificates)) => {
            acme::keep(acme, certificates, &edge.redis, &edge.clock, &edge.metrics).await;
        }
        _ => std::future::pending().await,
    }
}
