//! Asks the payment provider about payments that nothing was heard of: its notice was lost, or came
//! while it could not be believed.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    db,
    domain::payments::{self, Payments},
    jobs::ROUND_WITHIN,
};

const RECONCILE_EVERY: Duration = Duration::from_secs(2);

/// Asks at start and then regularly, until cancelled.
pub async fn reconcile(db: db::Pool, payments: Arc<Payments>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match timeout(ROUND_WITHIN, payments::reconcile(&db, &payments, Utc::now())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(ended)) => tracing::info!(ended, "payments ended that nothing had been heard of"),
            Ok(Err(error)) => tracing::warn!(%error, "reconciling payments failed; tries again"),
            Err(_) => tracing::warn!("reconciling payments took too long; tries again"),
        }
        tokio::select! {
            () = tokio::time::sleep(RECONCILE_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}
