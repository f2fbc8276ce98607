//! What the connections of a stand-in share.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{bodies::Checksums, seen::Log};

/// What `/basic` wants.
pub const BASIC_AUTH: &str = "zenzefi:open sesame";

/// What all its connections share.
#[derive(Debug, Default)]
pub struct State {
    pub seen: Log,
    pub checksums: Checksums,
    /// Every listener, connection and WebSocket.
    pub tasks: TaskTracker,
    pub stopped: CancellationToken,
}
