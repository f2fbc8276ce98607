//! Ends what time has ended, and finishes what a process that died left half done.

use std::time::Duration;

use chrono::Utc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    ROUND_WITHIN,
    db::{self, credential, ended_jwt, password_link},
    domain::{self, refunds},
    outbox,
    publisher::Publisher,
};

const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A refund that stands for so long is no longer in anybody's hands.
const REFUND_ORPHANED_AFTER: chrono::Duration = chrono::Duration::seconds(10);
/// A browser that has not come for its credential by now will not.
const UNREDEEMED_FOR: chrono::Duration = chrono::Duration::seconds(60);
/// How long a JWT that a logout ended is remembered past its time, for the clocks of replicas may differ.
const EXPIRED_FOR: chrono::Duration = chrono::Duration::minutes(5);
/// How long the row of an ended credential is kept, for Redis to be told.
const ENDED_FOR: chrono::Duration = chrono::Duration::hours(1);

/// Sweeps at start and then regularly, until cancelled.
pub async fn sweep(db: db::Pool, publisher: Publisher, stop: CancellationToken) {
    // At the start nothing is in this process' hands, and what another replica works on may be repeated.
    let mut orphaned_after = chrono::Duration::zero();
    while !stop.is_cancelled() {
        match timeout(ROUND_WITHIN, round(&db, &publisher, orphaned_after)).await {
            Ok(Ok(())) => orphaned_after = REFUND_ORPHANED_AFTER,
            Ok(Err(error)) => tracing::warn!(%error, "sweeping failed; tries again"),
            Err(_) => tracing::warn!("sweeping took too long; tries again"),
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn round(db: &db::Pool, publisher: &Publisher, orphaned_after: chrono::Duration) -> Result<(), domain::Error> {
    let settled = refunds::settle_standing(db, publisher, Utc::now() - orphaned_after).await?;
    if settled > 0 {
        tracing::info!(settled, "finished refunds that were left standing");
    }
    forget(db).await?;
    end_unredeemed(db, publisher).await
}

async fn forget(db: &db::Pool) -> Result<(), domain::Error> {
    let now = Utc::now();
    let tx = db::begin(db).await?;
    ended_jwt::delete_expired(&tx, now - EXPIRED_FOR).await?;
    password_link::delete_expired(&tx, now).await?;
    credential::delete_ended(&tx, now - ENDED_FOR).await?;
    Ok(tx.commit().await?)
}

/// Ends browser credentials that nobody took. An edge may have told that one was taken and not been read yet, so this waits
/// until all that was told has been.
async fn end_unredeemed(db: &db::Pool, publisher: &Publisher) -> Result<(), domain::Error> {
    let drawn_before = Utc::now() - UNREDEEMED_FOR;
    if !matches!(publisher.unread_usage().await, Ok(0)) {
        return Ok(());
    }
    let tx = db::begin(db).await?;
    let mut token_ids = credential::end_unredeemed(&tx, drawn_before).await?;
    token_ids.sort_unstable();
    token_ids.dedup();
    outbox::push(&tx, &token_ids).await?;
    Ok(tx.commit().await?)
}
