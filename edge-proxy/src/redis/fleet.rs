//! What this edge shares with the other edges and the control plane: usage, limits, keys of
//! assertions, turns at ACME.

use std::time::Duration;

use fred::{
    interfaces::{KeysInterface, StreamsInterface},
    types::{Expiration, SetOptions},
};
use shared::{
    rate::Spent,
    redis::{self, Limited, calls, events::Usage},
};
use uuid::Uuid;

use super::{Error, Redis};

/// How many events one script reports: a command costs more than what it does for one event, yet
/// while one runs nobody else is answered.
const REPORTED_AT_ONCE: usize = 50;

impl Redis {
    /// Takes the turn to order from an ACME authority, if no edge has it; it ends by itself after
    /// [`redis::ACME_TURN_SECONDS`].
    pub async fn take_acme_turn(&self, turn: Uuid) -> Result<bool, Error> {
        let ends = Expiration::EX(i64::try_from(redis::ACME_TURN_SECONDS).expect("a few minutes"));
        let (key, turn) = (redis::ACME_TURN, turn.to_string());
        let taken: Option<String> = self.connected()?.set(key, turn, Some(ends), Some(SetOptions::NX), false).await?;
        Ok(taken.is_some())
    }

    /// Ends that turn, unless it has ended by itself.
    pub async fn end_acme_turn(&self, turn: Uuid) -> Result<(), Error> {
        let _ended: i64 = self.call(&calls::EndAcmeTurn { turn }).await?;
        Ok(())
    }

    /// Puts what an ACME authority is to be answered that asks for a challenge.
    pub async fn put_challenge(&self, challenge: &str, answer: &str) -> Result<(), Error> {
        let ends = Expiration::EX(redis::ACME_CHALLENGE_SECONDS);
        self.connected()?
            .set::<(), _, _>(redis::acme_challenge_key(challenge), answer, Some(ends), None, false)
            .await?;
        Ok(())
    }

    /// What an ACME authority is to be answered, if this is a challenge of ours.
    pub async fn challenge(&self, challenge: &str) -> Result<Option<String>, Error> {
        Ok(self.connected()?.get(redis::acme_challenge_key(challenge)).await?)
    }

    /// Reports to the control plane what this edge saw.
    pub async fn report(&self, event: &Usage) -> Result<(), Error> {
        self.report_all(std::slice::from_ref(event)).await
    }

    /// Reports several events; fails if one of them was not taken, though others were.
    pub async fn report_all(&self, events: &[Usage]) -> Result<(), Error> {
        let reported = events.chunks(REPORTED_AT_ONCE).map(async |events| {
            let _count: i64 = self.call(&calls::ReportUsage { events }).await?;
            Ok(())
        });
        futures_util::future::try_join_all(reported).await.map(drop)
    }

    /// How many events wait for the control plane.
    pub async fn usage_backlog(&self) -> Result<u64, Error> {
        Ok(self.connected()?.xlen(redis::USAGE).await?)
    }

    /// Counts what a token has spent of its limit here; how much of it is used on all edges.
    pub async fn spend(&self, token_id: Uuid, cost: Duration) -> Result<Duration, Error> {
        let spend = calls::Spend { limited: Limited::Token(token_id), cost, most: None };
        let reply: Vec<String> = self.call(&spend).await?;
        Ok(Spent::parse(&reply)?.used)
    }

    /// Publishes keys of assertions, each with how long it is of use from now on; all that are
    /// published, likewise.
    pub async fn publish_keys(&self, keys: &[(String, Duration)]) -> Result<Vec<(String, Duration)>, Error> {
        let reply: Vec<String> = self.call(&calls::PublishKeys { keys }).await?;
        let published = reply.as_chunks().0.iter();
        let published =
            published.filter_map(|[key, lasts_ms]| Some((key.clone(), Duration::from_millis(lasts_ms.parse().ok()?))));
        Ok(published.collect())
    }
}
