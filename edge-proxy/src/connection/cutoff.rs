//! Ends an open request from outside, also when no byte moves. The whole request runs as one future
//! that is raced against its grant; where the grant ends first the future is dropped, and with it
//! both sockets (or one HTTP/2 stream). So a client can tell a cut answer from a complete one:
//! HTTP/1.1 lacks its last chunk, HTTP/2 is reset.
//!
//! Pingora calls no hook on a request that is dropped: what must happen at its end stands in a
//! `Drop`.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::FuturesUnordered};
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    connection::http1,
    grants::{live::LiveGrant, state::Ended},
    rejection::Rejection,
    sync::Mutex,
    telemetry::metrics::Metrics,
};

tokio::task_local! {
    static CUT: Arc<Cut>;
}

/// What ends the request that runs.
#[derive(Default)]
struct Cut {
    armed: Mutex<Option<Armed>>,
    changed: Notify,
    /// When the next piece of the request's body must have come, if one is awaited.
    body_by: Mutex<Option<Instant>>,
    body_awaited: Notify,
}

/// The grant whose end for this address ends the request. Not its permit, which is to be dropped as
/// soon as the request is over.
#[derive(Clone)]
struct Armed {
    grant: Arc<LiveGrant>,
    address: Option<IpAddr>,
    grace: Duration,
}

/// From here on the running request ends when its grant does for this address, at the latest
/// `grace` after: time for a gentler end, such as a WebSocket's close frame.
pub fn arm(grant: &Arc<LiveGrant>, address: Option<IpAddr>, grace: Duration) {
    let armed = Armed { grant: Arc::clone(grant), address, grace };
    CUT.with(|cut| {
        *cut.armed.lock() = Some(armed);
        cut.changed.notify_one();
    });
}

/// From here on the running request ends unless this is called again in time; `None` if no more of
/// its body is awaited.
pub fn expect_body(within: Option<Duration>) {
    CUT.with(|cut| {
        let by = within.map(|within| Instant::now() + within);
        let before = std::mem::replace(&mut *cut.body_by.lock(), by);
        if before.is_none() && by.is_some() {
            cut.body_awaited.notify_one();
        }
    });
}

impl Cut {
    /// Waits until a piece of the request's body is overdue.
    async fn overdue(&self) {
        loop {
            let by = *self.body_by.lock();
            match by {
                None => self.body_awaited.notified().await,
                Some(by) if by <= Instant::now() => return,
                Some(by) => tokio::time::sleep_until(by.into()).await,
            }
        }
    }

    /// How much time a gentler end gets.
    fn grace(&self) -> Duration {
        let armed = self.armed.lock();
        armed.as_ref().map_or(Duration::ZERO, |armed| armed.grace)
    }

    /// Waits until the grant of this request, whenever it gets one, has ended.
    async fn fired(&self) -> Ended {
        loop {
            let changed = self.changed.notified();
            let armed = self.armed.lock().clone();
            match armed {
                None => changed.await,
                Some(Armed { grant, address, grace }) => {
                    let fired = async {
                        let ended = grant.ended_from(address).await;
                        tokio::time::sleep(grace).await;
                        ended
                    };
                    tokio::select! {
                        ended = fired => return ended,
                        () = changed => {}
                    }
                }
            }
        }
    }
}

/// A server whose requests can be cut.
pub struct Cuttable<App> {
    app: Arc<App>,
    cutoffs: Arc<Cutoffs>,
    /// Cancelled when whatever is still open must end.
    ending: CancellationToken,
}

/// Keeps account of what was cut.
pub struct Cutoffs {
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
}

impl Cutoffs {
    pub fn new(metrics: Arc<Metrics>, clock: Arc<Clock>) -> Self {
        Self { metrics, clock }
    }

    /// Notes one cut: why, and how long after it was told.
    pub fn note(&self, ended: Ended) {
        self.metrics.cutoffs.with_label_values(&[ended.ending.as_str()]).inc();
        let announced_at_ms = ended.announced_at_ms.and_then(|at| i64::try_from(at).ok());
        if let (Some(announced_at_ms), Some(now_ms)) = (announced_at_ms, self.clock.now_ms()) {
            let delay = Duration::from_millis(u64::try_from(now_ms - announced_at_ms).unwrap_or_default());
            self.metrics.revocation_delay.observe(delay.as_secs_f64());
        }
    }
}

impl<App> Cuttable<App> {
    pub fn new(app: App, cutoffs: Arc<Cutoffs>, ending: CancellationToken) -> Self {
        Self { app: Arc::new(app), cutoffs, ending }
    }

    /// Waits until a request must end, and notes why.
    async fn ends(&self, cut: &Cut) {
        tokio::select! {
            ended = cut.fired() => self.cutoffs.note(ended),
            () = cut.overdue() => {
                self.cutoffs.metrics.rejections.with_label_values(&[Rejection::BodyTimeout.reason()]).inc();
            }
            // So that all of it has been counted when the last figures are told.
            () = async { self.ending.cancelled().await; tokio::time::sleep(cut.grace()).await } => {}
        }
    }
}

#[async_trait]
impl<App: HttpServerApp + Send + Sync + 'static> HttpServerApp for Cuttable<App> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.is_http2() {
            http1::begin_request();
        }
        let cut = Arc::new(Cut::default());
        let request = CUT.scope(Arc::clone(&cut), self.app.process_new_http(session, shutdown));
        // What ends it is looked at when it was woken itself, not whenever the request was.
        let mut ends = FuturesUnordered::new();
        ends.push(self.ends(&cut));
        tokio::select! {
            biased;
            reused = request => reused,
            _ = ends.next() => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.app.server_options()
    }

    /// Called once nothing is accepted any more. Pingora would drop every connection that idles,
    /// though its client may be about to use it.
    async fn http_cleanup(&self) {
        self.ending.cancelled().await;
        self.app.http_cleanup().await;
    }
}
