//! Ends what time has ended, and finishes what a process that died left half done.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    db::{self, audit_log, credential, idempotency_key, outbox, password_link, revoked_jwt, session},
    domain::{self, referrals, refunds},
    jobs::ROUND_WITHIN,
    redis::Publisher,
    telemetry::Metrics,
};

const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A refund that stands for so long is no longer in anybody's hands.
const REFUND_ORPHANED_AFTER: chrono::Duration = chrono::Duration::seconds(10);
/// A browser that has not come for its credential by now will not.
const UNREDEEMED_FOR: chrono::Duration = chrono::Duration::seconds(60);
/// How long a JWT that a logout ended is remembered past its time, for the clocks of replicas may
/// differ.
const EXPIRED_FOR: chrono::Duration = chrono::Duration::minutes(5);
/// How long the row of an ended credential is kept, for Redis to be told.
const ENDED_FOR: chrono::Duration = chrono::Duration::minutes(5);
/// How long an answer is kept for who repeats the call.
const KEYS_FOR: chrono::Duration = chrono::Duration::hours(24);

/// How many days of the audit log are made ahead, so that lines find their day even if nobody
/// sweeps for a while.
const DAYS_AHEAD: u64 = 7;
/// Names the advisory lock of the process that makes and drops days: the letters `audit` as bytes.
const AUDIT_LOCK: i64 = 0x61_7564_6974;

/// How long an edge's report may wait to be taken in for what it tells to count as known.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Sessions that are ended at once.
const SESSIONS_AT_ONCE: u64 = 1_000;

/// What every round needs.
pub struct Sweeper {
    pub db: db::Pool,
    pub publisher: Publisher,
    pub metrics: Metrics,
    /// How long after a rebuild no refund is settled.
    pub refund_hold: Duration,
    pub lease: Duration,
    pub audit_retention_days: u16,
}

impl Sweeper {
    /// Sweeps at start and then regularly, until cancelled.
    pub async fn sweep(self, stop: CancellationToken) {
        // At the start nothing is in this process' hands, and what another replica works on may be
        // repeated.
        let mut orphaned_after = chrono::Duration::zero();
        let mut audit_kept_on = None;
        let every = SWEEP_EVERY.min(self.lease);
        while !stop.is_cancelled() {
            match timeout(ROUND_WITHIN, self.round(orphaned_after)).await {
                Ok(Ok(())) => orphaned_after = REFUND_ORPHANED_AFTER,
                Ok(Err(error)) => tracing::warn!(%error, "sweeping failed; tries again"),
                Err(_) => tracing::warn!("sweeping took too long; tries again"),
            }
            let today = Utc::now().date_naive();
            if audit_kept_on != Some(today) {
                match timeout(ROUND_WITHIN, keep_audit_days(&self.db, today, self.audit_retention_days)).await {
                    Ok(Ok(())) => audit_kept_on = Some(today),
                    Ok(Err(error)) => tracing::warn!(%error, "the audit log's days were not kept; tries again"),
                    Err(_) => tracing::warn!("keeping the audit log's days took too long; tries again"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn round(&self, orphaned_after: chrono::Duration) -> Result<(), domain::Error> {
        let Self { db, publisher, metrics, .. } = self;
        metrics.sessions_open(session::count_open(db).await?);
        let before = Utc::now() - orphaned_after;
        let settled = refunds::settle_standing(db, publisher, self.refund_hold, before).await?;
        if settled > 0 {
            tracing::info!(settled, "finished refunds that were left standing");
        }
        let paid = referrals::pay_due(db).await?;
        if paid > 0 {
            tracing::info!(paid, "paid referral bonuses that were due");
        }
        forget(db).await?;
        // Without Redis nobody knows what the edges have told meanwhile.
        let Ok(lag) = publisher.usage_lag().await else { return Ok(()) };
        metrics.usage_lag(lag);
        if lag <= KNOWN_WITHIN {
            let told_since = publisher.built_at().await?.and_then(DateTime::from_timestamp_millis);
            end_unredeemed(db, told_since.unwrap_or_default()).await?;
            self.end_idle_sessions().await?;
        }
        Ok(())
    }

    /// Ends sessions whose lease has lapsed. The edges tell times by Redis' clock, and so it is
    /// Redis that says what time it is.
    async fn end_idle_sessions(&self) -> Result<(), domain::Error> {
        let now_ms = self.publisher.now_ms().await?;
        let since = |span: Duration| {
            let ms = now_ms.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
            DateTime::from_timestamp_millis(ms).unwrap_or_default()
        };
        let tx = db::begin(&self.db).await?;
        session::end_idle(&tx, since(self.lease), since(session::silence(self.lease)), SESSIONS_AT_ONCE).await?;
        Ok(tx.commit().await?)
    }
}

/// Makes the audit log's next days and drops those that are old enough. One replica at a time; it
/// is repeated daily.
async fn keep_audit_days(db: &db::Pool, today: NaiveDate, retention_days: u16) -> Result<(), db::Error> {
    let tx = db::begin(db).await?;
    if db::try_lock(&tx, AUDIT_LOCK).await? {
        audit_log::make_days(&tx, today, today + Days::new(DAYS_AHEAD)).await?;
        let dropped = audit_log::drop_days(&tx, today - Days::new(retention_days.into())).await?;
        if dropped > 0 {
            tracing::info!(dropped, "dropped the audit log's oldest days");
        }
    }
    tx.commit().await
}

async fn forget(db: &db::Pool) -> Result<(), domain::Error> {
    let now = Utc::now();
    let tx = db::begin(db).await?;
    revoked_jwt::delete_expired(&tx, now - EXPIRED_FOR).await?;
    password_link::delete_expired(&tx, now).await?;
    credential::delete_ended(&tx, now - ENDED_FOR).await?;
    idempotency_key::delete_older(&tx, now - KEYS_FOR).await?;
    Ok(tx.commit().await?)
}

/// Ends browser credentials that nobody took. An edge may have told that one was taken and not been
/// read yet, so this waits until all that was told in time has been; what was told before
/// `told_since` may have been lost.
async fn end_unredeemed(db: &db::Pool, told_since: DateTime<Utc>) -> Result<(), domain::Error> {
    let drawn_before = Utc::now() - UNREDEEMED_FOR;
    let tx = db::begin(db).await?;
    let mut token_ids = credential::end_unredeemed(&tx, told_since, drawn_before).await?;
    token_ids.sort_unstable();
    token_ids.dedup();
    outbox::push(&tx, &token_ids).await?;
    Ok(tx.commit().await?)
}
