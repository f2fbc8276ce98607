//! Follows the change feed on a connection of its own, so that what this edge holds is never older than a moment. It is the
//! only caller of [`Grants::changed`] and [`Grants::lost_track`], and so the order of changes is the order of the feed.

use std::{sync::Arc, time::Duration};

use fred::error::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::{grants::Grants, redis::Redis};

/// How long to wait before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Follows the feed until told to stop. Where it breaks off, what was held before counts as doubtful and is asked for again.
pub async fn follow(redis: Redis, grants: Arc<Grants>, stop: CancellationToken) {
    tokio::select! {
        () = follow_every_connection(&redis, &grants) => {}
        () = stop.cancelled() => {}
    }
    redis.stop().await;
}

async fn follow_every_connection(redis: &Redis, grants: &Grants) {
    redis.wait_until_connected().await;
    loop {
        if let Err(error) = follow_one_connection(redis, grants).await {
            tracing::warn!(%error, "the change feed broke off");
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Follows the feed from its newest entry until the connection breaks, or a change could not be taken in; never returns `Ok`.
async fn follow_one_connection(redis: &Redis, grants: &Grants) -> Result<(), Error> {
    let mut reconnections = redis.reconnections();
    grants.connected(redis.now_ms().await?);
    // Connected now: what was told of this up to here is not a break.
    while reconnections.try_recv().is_ok() {}
    let mut last_id = redis.newest_change().await?;
    grants.lost_track().await?;
    grants.heard();
    tracing::info!("following the change feed");
    loop {
        let changes = redis.changes_after(&last_id).await?;
        // Another connection may be another server: what it knows is not what was followed.
        if reconnections.try_recv().is_ok() {
            return Err(Error::new(ErrorKind::Canceled, "reconnected"));
        }
        grants.changed(&changes.tokens).await?;
        grants.heard();
        last_id = changes.last_id.unwrap_or(last_id);
    }
}
