//! Where a request goes once it is admitted.

use std::sync::Arc;

use crate::{
    admission::{credential::Source, permit::Permit},
    origin::Origin,
};

/// A request that is let through to the upstream.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub permit: Arc<Permit>,
    /// Where its credential was found.
    pub source: Source,
    /// Whether a `Content-Encoding` is lost on the way to the client, as by desktop clients.
    pub drops_coding: bool,
    /// Path and query as the upstream gets them.
    pub target: String,
    /// The origin under which its pages are shown; `None` for an API client.
    pub shown: Option<Origin>,
    /// Whether pages tell it how much time is left, where they can.
    pub gets_notice: bool,
}

/// Where a request goes after its head was judged.
#[derive(Clone, Debug)]
pub enum Target {
    Upstream(Admitted),
    Control,
}
