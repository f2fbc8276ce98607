//! How far the end of this process has come.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The stages of the end, each a token that is cancelled when it begins.
#[derive(Default)]
pub struct Lifecycle {
    /// Cancelled when shutdown begins: no connection is kept from then on.
    pub draining: CancellationToken,
    /// Cancelled when the time to drain is over: WebSockets end.
    pub draining_ended: CancellationToken,
    /// Cancelled last, once all that was seen has been reported.
    pub stopped: CancellationToken,
    /// Cancelled when a task has ended that this process cannot serve without.
    pub failed: CancellationToken,
    /// The WebSockets that are open.
    pub websockets: TaskTracker,
}
