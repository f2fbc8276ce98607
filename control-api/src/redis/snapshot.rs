//! Which contents Redis has, and whether they are whole.

use std::{collections::HashMap, time::Duration};

use fred::{
    prelude::*,
    types::{CustomCommand, InfoKind},
};
use shared::{
    malformed::Malformed,
    redis::{
        self, calls,
        feed::{Contents, Pulse, StreamId},
    },
};
use uuid::Uuid;

use super::{PublishError, Publisher};

/// What the edges told may wait so long to be taken in before refunds must.
const USAGE_LAG_WITHIN: Duration = Duration::from_secs(5);

/// The Redis server behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Differs for every start of a server.
    pub run_id: String,
    /// What it does when its memory is full; anything but `noeviction` may lose tokens.
    pub maxmemory_policy: String,
}

impl Publisher {
    /// Which filling of Redis can be asked whether a token was used; `None` while it cannot say: it
    /// is not whole, was filled less than `hold` ago, or an edge has told of activations that
    /// Postgres has not taken in for so long.
    pub async fn ground_for_refunds(&self, hold: Duration) -> Result<Option<Contents>, PublishError> {
        let pulse = self.pulse().await?;
        let built_at = self.built_at().await?;
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let is_settled = built_at.is_none_or(|at| pulse.now_ms.saturating_sub(at) >= hold_ms);
        let is_firm = pulse.is_whole && is_settled && self.usage_lag().await? <= USAGE_LAG_WITHIN;
        Ok(is_firm.then_some(pulse.contents))
    }

    /// Whether Redis is whole, and how far its change feed reaches.
    pub async fn pulse(&self) -> Result<Pulse, PublishError> {
        let reply: Vec<String> = self.call(&calls::Pulse).await?;
        Ok(Pulse::parse(&reply)?)
    }

    /// When Redis was last filled with tokens that had been sold before, in milliseconds of Redis'
    /// clock.
    pub async fn built_at(&self) -> Result<Option<i64>, PublishError> {
        Ok(self.client.hget(redis::SNAPSHOT, redis::SNAPSHOT_BUILT_AT).await?)
    }

    /// Which server this is.
    pub async fn server(&self) -> Result<Server, PublishError> {
        let text: String = self.client.info(Some(InfoKind::Default)).await?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned()).ok_or(Malformed)
        };
        Ok(Server { run_id: field("run_id")?, maxmemory_policy: field("maxmemory_policy")? })
    }

    /// Redis' clock, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<i64, PublishError> {
        let (seconds, micros): (i64, i64) =
            self.client.custom(CustomCommand::new_static("TIME", None, false), Vec::<String>::new()).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// Which epoch and server the snapshot was written for; `None` if it is not there, or not
    /// whole.
    pub async fn snapshot(&self) -> Result<Option<(i64, String)>, PublishError> {
        let fields = vec![redis::SNAPSHOT_EPOCH, redis::SNAPSHOT_RUN_ID];
        let (epoch, run_id): (Option<i64>, Option<String>) = self.client.hmget(redis::SNAPSHOT, fields).await?;
        Ok(epoch.zip(run_id))
    }

    /// Says that Redis is not whole, and which build is filling it.
    pub async fn begin_rebuild(&self, build: Uuid) -> Result<(), PublishError> {
        Ok(self.call(&calls::BeginRebuild { build }).await?)
    }

    /// Says that Redis holds all that Postgres knows; `false` if it lost something since this build
    /// began. Where there was a token to publish, it could have been used before, and its
    /// activation still be on its way.
    pub async fn finish_rebuild(
        &self,
        build: Uuid,
        epoch: i64,
        run_id: &str,
        published: usize,
    ) -> Result<bool, PublishError> {
        let finished: i64 =
            self.call(&calls::FinishRebuild { build, epoch, run_id, holds_tokens: published > 0 }).await?;
        Ok(finished == 1)
    }

    /// Says that no change was waiting to be published at this time of Redis' clock.
    pub async fn write_caught_up(&self, at_ms: i64) -> Result<(), PublishError> {
        let field = vec![(redis::SNAPSHOT_CAUGHT_UP_AT, at_ms.to_string())];
        Ok(self.client.hset::<(), _, _>(redis::SNAPSHOT, field).await?)
    }

    /// How long the oldest event of the edges has waited to be taken in.
    pub async fn usage_lag(&self) -> Result<Duration, PublishError> {
        let oldest: Vec<(String, HashMap<String, String>)> =
            self.client.xrange_values(redis::USAGE, "-", "+", Some(1)).await?;
        let Some((id, _)) = oldest.first() else { return Ok(Duration::ZERO) };
        let told_at: StreamId = id.parse()?;
        let now_ms = u64::try_from(self.now_ms().await?).unwrap_or_default();
        Ok(Duration::from_millis(now_ms.saturating_sub(told_at.at_ms)))
    }
}
