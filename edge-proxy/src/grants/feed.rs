//! Follows the change feed on a connection of its own, so that what this edge holds is never older
//! than a moment. It is the only caller of [`Grants::changed`] and [`Grants::invalidate_all`], and
//! so the order of changes is the order of the feed.
//!
//! A reader that was away goes on where it stopped. It has lost track where entries may have been
//! trimmed unread, where Redis has other contents (flushed, restarted, failed over, restored,
//! filled anew), or where Redis could not say what a change made of a token: then everything is
//! looked up again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::redis::feed::{Contents, Pulse, StreamId};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    grants::Grants,
    redis::{Error, Redis},
    telemetry::metrics::Metrics,
    usage::UsageMeter,
};

/// How long to wait before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How far the feed was followed.
struct Place {
    contents: Contents,
    last: StreamId,
    /// What was read up to before the last read.
    before: StreamId,
    /// Whether it was read on from there yet. The first time nothing is waited for: until then an
    /// edge that has just started is not ready.
    was_read: bool,
    /// Everything that is held was looked up since track was lost.
    is_sure: bool,
}

/// Who learns what the feed tells.
pub struct Follower {
    pub redis: Redis,
    pub grants: Arc<Grants>,
    pub clock: Arc<Clock>,
    pub meter: Arc<UsageMeter>,
    pub metrics: Arc<Metrics>,
    /// Whether a Redis that may evict keys is accepted.
    pub allow_eviction: bool,
}

impl Follower {
    /// Follows the feed until told to stop. Where it breaks off, what was held before counts as
    /// doubtful and is asked for again.
    pub async fn follow(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.follow_every_connection() => {}
            () = stop.cancelled() => {}
        }
        self.redis.stop().await;
    }

    async fn follow_every_connection(&self) {
        self.redis.wait_until_connected().await;
        let mut place = None;
        loop {
            if let Err(error) = self.follow_one_connection(&mut place).await {
                tracing::warn!(%error, "the change feed broke off");
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Follows the feed until the connection breaks; never returns `Ok`.
    async fn follow_one_connection(&self, place: &mut Option<Place>) -> Result<(), Error> {
        let mut reconnections = self.redis.reconnections();
        if !self.allow_eviction
            && let Some(why) = self.redis.may_evict().await?
        {
            return Err(Error::MayEvict(why));
        }
        let pulse = self.pulse().await?;
        self.grants.feed_health.connected(pulse.now_ms);
        // Connected now: what was told of this up to here is not a break.
        while reconnections.try_recv().is_ok() {}
        tracing::info!("following the change feed");
        loop {
            let pulse = self.pulse().await?;
            self.grants.feed_health.filled(pulse.is_whole.then(|| pulse.contents.build()));
            let place = self.find_place(place, &pulse).await;
            if !(pulse.is_whole && place.is_sure) {
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
            let changes = self.redis.changes_after(place.last, place.was_read).await?;
            // Another connection may be another server: what it knows is not what was followed.
            if reconnections.try_recv().is_ok() {
                return Err(Error::Reconnected);
            }
            place.is_sure = self.grants.changed(&changes.of).await;
            (place.before, place.was_read) = (place.last, true);
            if let Some(last) = changes.last_id {
                place.last = last;
                self.note_lag(last);
            }
            if place.is_sure {
                self.grants.feed_health.heard();
            }
        }
    }

    async fn pulse(&self) -> Result<Pulse, Error> {
        let asked = Instant::now();
        let pulse = self.redis.pulse().await?;
        self.clock.sync(asked, pulse.now_ms);
        Ok(pulse)
    }

    /// Where to read on. Where track is lost it is found again from the newest change on, by
    /// looking everything up.
    async fn find_place<'a>(&self, place: &'a mut Option<Place>, pulse: &Pulse) -> &'a mut Place {
        let contents = pulse.contents.clone();
        let newest = pulse.last_change.unwrap_or_default();
        let was = place.take();
        let is_first = was.is_none();
        let is_other = was.as_ref().is_none_or(|place| place.contents != contents);
        let has_gap = was.as_ref().is_some_and(|place| pulse.may_have_trimmed_after(place.before));
        let mut at = match was {
            Some(place) if !is_other && !has_gap => place,
            _ => {
                self.grants.invalidate_all();
                self.grants.feed_health.connected(pulse.now_ms);
                Place { contents, last: newest, before: newest, was_read: false, is_sure: false }
            }
        };
        if is_other && !is_first {
            self.meter.retell();
        }
        // While Redis is being filled it cannot say; but what lives in Redis alone is brought back
        // at once, before anybody else is admitted.
        if !at.is_sure && (pulse.is_whole || is_other) {
            at.is_sure = self.grants.revalidate_all().await && pulse.is_whole;
        }
        place.insert(at)
    }

    fn note_lag(&self, last: StreamId) {
        let announced_at_ms = i64::try_from(last.at_ms).unwrap_or(i64::MAX);
        if let Some(now_ms) = self.clock.now_ms() {
            self.metrics.feed_lag.set((now_ms - announced_at_ms).max(0) as f64 / 1000.0);
        }
    }
}
