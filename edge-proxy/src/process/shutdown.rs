//! The end of the process: told to stop, or relieved by another one.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::{edge::Edge, process::listeners::Listeners, proxy::websocket::CLOSE_WITHIN, redis::Error};

/// How often a shutdown looks whether the last request has ended.
const DRAIN_LOOKS_EVERY: Duration = Duration::from_millis(20);
/// How long the last telling may take.
const TELL_WITHIN: Duration = Duration::from_secs(3);

/// Why the process ends.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// SIGTERM or SIGINT.
    Told,
    /// Another process serves.
    Relieved,
}

/// Ends the process on SIGTERM or SIGINT, or once another has taken over: first nothing is accepted
/// and no connection kept, and what is open gets its time to finish; then WebSockets are closed. A
/// second signal ends at once, and so does the end of what is vital.
pub struct Shutdown {
    pub edge: Arc<Edge>,
    pub listeners: Arc<Listeners>,
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = signal(SignalKind::terminate()).expect("the process may handle SIGTERM");
        let mut interrupt = signal(SignalKind::interrupt()).expect("the process may handle SIGINT");
        let cause = tokio::select! {
            _ = terminate.recv() => Cause::Told,
            _ = interrupt.recv() => Cause::Told,
            () = self.relieved() => Cause::Relieved,
            () = self.edge.lifecycle.failed.cancelled() => return ShutdownSignal::FastShutdown,
        };
        match cause {
            Cause::Told => tracing::info!("shutting down"),
            Cause::Relieved => tracing::info!("another process serves; shutting down"),
        }
        tokio::select! {
            () = self.drain(cause) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.edge.lifecycle.failed.cancelled() => {}
        }
        ShutdownSignal::FastShutdown
    }
}

/// Runs what this process is of no use without, until it has stopped. Where that ends sooner, if
/// only by a panic, which Pingora takes no notice of, the process ends, and another is started that
/// does better.
pub async fn vital(edge: &Edge, task: &'static str, runs: impl Future<Output = ()>) {
    let ended = AssertUnwindSafe(runs).catch_unwind().await;
    if ended.is_err() || !edge.lifecycle.stopped.is_cancelled() {
        tracing::error!(task, "background task exited unexpectedly; stopping the process");
        edge.lifecycle.failed.cancel();
    }
}

impl Shutdown {
    async fn relieved(&self) {
        match &self.edge.config.upgrade_socket {
            Some(path) => self.listeners.relieved(path).await,
            None => std::future::pending().await,
        }
    }

    async fn drain(&self, cause: Cause) {
        let Self { edge, listeners } = self;
        listeners.close();
        if cause == Cause::Relieved {
            listeners.close_ops();
        }
        edge.lifecycle.draining.cancel();
        // Nobody waits for a process that was relieved, so that connections that idle have all of
        // the time to be used once more, and learn then that they end.
        let nothing_is_open = until(|| cause == Cause::Told && edge.metrics.open_requests.get() == 0);
        let _ = tokio::time::timeout(Duration::from_secs(edge.config.drain_seconds), nothing_is_open).await;
        edge.lifecycle.draining_ended.cancel();
        edge.lifecycle.websockets.close();
        let closed = async {
            edge.lifecycle.websockets.wait().await;
            until(|| edge.admission.usage.open_connections() == 0).await;
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN * 3, closed).await;
        let told = tokio::time::timeout(TELL_WITHIN, tell_the_rest(edge)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::error!("cannot report the last usage figures; they are lost");
        }
        edge.lifecycle.stopped.cancel();
    }
}

/// What only this process knows goes out before it ends.
async fn tell_the_rest(edge: &Edge) -> Result<(), Error> {
    while edge.admission.outcomes.activate_owed().await > 0 {
        tokio::time::sleep(DRAIN_LOOKS_EVERY).await;
    }
    edge.admission.usage.flush(&edge.redis, true).await
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(DRAIN_LOOKS_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Cli, Command};

    const SOON: Duration = Duration::from_secs(5);

    fn edge() -> Arc<Edge> {
        let given = ["edge-proxy", "serve", "--redis-url=redis://localhost", "--zenzefi-url=https://zenzefi.test"];
        let cli = Cli::try_parse_from(given.iter().chain(&["--public-origin=https://gateway.test"])).expect("options");
        let Command::Serve(config) = cli.command else { panic!("another command") };
        Arc::new(Edge::new(*config).expect("an edge"))
    }

    fn shutdown(edge: &Arc<Edge>) -> Shutdown {
        let listeners = Arc::new(Listeners::find(None).expect("no listeners"));
        Shutdown { edge: Arc::clone(edge), listeners }
    }

    #[tokio::test]
    async fn a_process_ends_where_what_it_cannot_serve_without_has_ended_or_panicked() {
        let tasks: [fn(); 2] = [|| {}, || panic!("it fails")];
        for task in tasks {
            let edge = edge();
            vital(&edge, "a task", async { task() }).await;
            let ended = tokio::time::timeout(SOON, shutdown(&edge).recv()).await;
            assert!(matches!(ended, Ok(ShutdownSignal::FastShutdown)));
            assert!(!edge.lifecycle.stopped.is_cancelled(), "the process says that it failed");
        }
    }

    #[tokio::test]
    async fn what_ends_once_all_is_told_is_no_failure() {
        let edge = edge();
        edge.lifecycle.stopped.cancel();
        vital(&edge, "a task", async {}).await;
        assert!(!edge.lifecycle.failed.is_cancelled());
    }
}
