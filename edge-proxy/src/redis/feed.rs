//! The change feed as Redis keeps it.

use std::time::Duration;

use fred::interfaces::StreamsInterface;
use shared::redis::{
    CHANGES, CHANGES_FIELD, calls,
    feed::{Pulse, StreamId},
};
use uuid::Uuid;

use super::{Error, Redis};

/// How long a read of the feed blocks where nothing changes; an empty answer counts as heard.
pub const FEED_BLOCKS_FOR: Duration = Duration::from_secs(1);
/// How many changes one read of the feed brings.
const FEED_BATCH: u64 = 1_000;
/// An entry of a stream: its id, then names and values in turn.
type Entry = (String, Vec<String>);

/// What one read of the feed brought.
#[derive(Debug, Default)]
pub struct Changes {
    /// The id of the newest entry, from which to read on; `None` if there was none.
    pub last_id: Option<StreamId>,
    /// Which tokens changed, and by which entry that was told.
    pub of: Vec<(Uuid, StreamId)>,
}

impl Redis {
    /// Which contents Redis has, and how far the feed reaches.
    pub async fn pulse(&self) -> Result<Pulse, Error> {
        let reply: Vec<String> = self.call(&calls::Pulse).await?;
        Ok(Pulse::parse(&reply)?)
    }

    /// Reads the changes after `last_id`; if it `waits` and there are none, for [`FEED_BLOCKS_FOR`]
    /// at most, and blocks this connection meanwhile. An entry that is not of the contract's shape
    /// is passed over.
    pub async fn changes_after(&self, last_id: StreamId, waits: bool) -> Result<Changes, Error> {
        let block_ms = u64::try_from(FEED_BLOCKS_FOR.as_millis()).ok().filter(|_| waits);
        // Redis answers nil, not an empty list, where nothing came.
        let read: Option<Vec<(String, Vec<Entry>)>> =
            self.client.xread(Some(FEED_BATCH), block_ms, CHANGES, last_id.to_string()).await?;
        let mut changes = Changes::default();
        for (id, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let id: StreamId = id.parse()?;
            changes.last_id = Some(id);
            changes.of.extend(changed_token(&fields).map(|token_id| (token_id, id)));
        }
        Ok(changes)
    }
}

fn changed_token(fields: &[String]) -> Option<Uuid> {
    match fields {
        [name, token_id] if name == CHANGES_FIELD => token_id.parse().ok(),
        _ => None,
    }
}
