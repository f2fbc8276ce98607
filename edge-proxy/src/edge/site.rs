//! The origins and paths that are served here.

use std::sync::Arc;

use crate::{origin::Origin, route::Routes};

/// What this edge serves, and under which origins.
pub struct Site {
    pub routes: Routes,
    pub public_origins: Arc<[Origin]>,
    /// Where this edge shows the console, if it does.
    pub console: Option<Origin>,
}

impl Site {
    /// Every origin that is served here, the console's too.
    pub fn served_origins(&self) -> impl Iterator<Item = &Origin> {
        self.public_origins.iter().chain(&self.console)
    }
}
