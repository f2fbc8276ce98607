//! What runs beside requests: it keeps true what this edge knows, and tells what it has seen.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};

use crate::{
    admission::{permit::OutcomeWorker, rate_limit::EXCHANGED_EVERY},
    edge::{Edge, Known},
    grants::{Grants, feed::Follower, freshness::StalenessPolicy, release::Settlements},
    process::{reload::Reload, shutdown::vital},
    redis::Redis,
};

/// How often usage is told: what a crash may lose.
const USAGE_TOLD_EVERY: Duration = Duration::from_secs(2);

/// Keeps what this edge knows up to date: follows the change feed, and tries whether the upstream is up.
pub struct Background {
    edge: Arc<Edge>,
    /// Taken by its one start.
    reload: Mutex<Option<Reload>>,
}

impl Background {
    pub fn new(edge: Arc<Edge>, reload: Reload) -> Self {
        Self { edge, reload: Mutex::new(Some(reload)) }
    }

    async fn run(&self, ready: ServiceReadyNotifier) {
        let edge = &self.edge;
        let reload = self.reload.lock().expect("nobody panics while taking it").take();
        let reload = reload.expect("Pingora starts a service once");
        let config = &edge.config;
        let url = config.redis_url.expose();
        let (lease, leases) = (config.lease(), config.lease_policy());
        let connections = Redis::new(url, leases).and_then(|questions| Ok((questions, Redis::for_feed(url, leases)?)));
        let (questions, feed) = connections.expect("the URL was checked at start");
        questions.connect();
        feed.connect();
        let trust = StalenessPolicy {
            staleness: Duration::from_secs(config.revocation_staleness_seconds),
            outage_grace: Duration::from_secs(config.redis_outage_grace_seconds),
            lease,
        };
        let entries = usize::try_from(config.grant_cache_entries).expect("a u32 fits");
        let (settlements, queued) = Settlements::new();
        let grants = Arc::new(Grants::new(questions.clone(), trust, entries, settlements.clone(), &edge.metrics));
        let (meter, clock) = (Arc::clone(&edge.meter), Arc::clone(&edge.clock));
        let settler = Arc::new(OutcomeWorker::new(Arc::clone(&grants), meter, clock, settlements));
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
        // What the feed makes ready for requests can be asked then.
        let following = async {
            tokio::select! {
                () = questions.wait_until_connected() => {}
                () = edge.stopped.cancelled() => {}
            }
            follower.follow(edge.stopped.clone()).await;
        };
        let publishing = async {
            match &edge.assertions {
                Some(assertions) => assertions.publish(&questions).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = reload.on_hangup(edge) => {}
            () = following => {}
            () = grants.watch() => {}
            () = settler.run(&questions, queued) => {}
            () = telling => {}
            () = exchanging => {}
            () = publishing => {}
            () = edge.zenzefi.watch(&edge.tunnels) => {}
            () = questions.replace_when_silent() => {}
            () = feed.replace_when_silent() => {}
        }
    }
}

#[async_trait]
impl BackgroundService for Background {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        vital(&self.edge, "knowledge", self.run(ready)).await;
    }
}
