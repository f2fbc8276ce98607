//! What keeps certificates good: reads files that have changed, and has others come by ACME. A service of its own, since both wait for
//! disks, and what keeps revocations true waits for nothing.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{
    edge::Edge,
    process::shutdown::vital,
    tls::{acme, certificates::LOOK_EVERY},
};

/// Runs once what the edge knows is there, Redis above all.
pub struct Renewal(pub Arc<Edge>);

#[async_trait]
impl BackgroundService for Renewal {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Self(edge) = self;
        let rereading = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                edge.reload_certificates();
            }
        };
        let renewing = async {
            tokio::select! {
                () = acme::keep(edge) => {}
                () = rereading => {}
            }
        };
        vital(edge, "renewal", renewing).await;
    }
}
