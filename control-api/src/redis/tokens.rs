//! What control-api does to tokens and credentials in Redis.

use std::str::FromStr;

use fred::{
    prelude::*,
    types::{Expiration, streams::XCapKind},
};
use shared::{
    process::trace,
    redis::{self, calls, replies::Bar},
    token::credential::Digest,
};
use uuid::Uuid;

use super::{PublishError, Publisher, in_flight};

/// Keys that one look of a scan goes past, about.
const SCAN_PAGE: u32 = 1_000;
/// The cursor that a scan begins at, and comes back to.
const SCAN_START: &str = "0";

impl Publisher {
    /// Appends a change, so that every edge looks the token up again.
    pub async fn announce(&self, token_id: Uuid) -> Result<(), PublishError> {
        let kept = (XCapKind::MaxLen, "~", i64::try_from(redis::CHANGES_LENGTH).unwrap_or(i64::MAX), None);
        let field = (redis::CHANGES_FIELD, token_id.to_string());
        let told = self.client.xadd::<(), _, _, _, _>(redis::CHANGES, false, kept, "*", field);
        Ok(trace::ask("redis", "XADD", told).await?)
    }

    /// Bars a token whose refund was asked for in this version, unless it was used.
    pub async fn bar(&self, token_id: Uuid, version: i64) -> Result<Bar, PublishError> {
        let reply: Vec<String> = self.call(&calls::Bar { token_id, version }).await?;
        let bar = Bar::parse(&reply)?;
        self.announce(token_id).await?;
        Ok(bar)
    }

    /// Keeps a hand-over's salt until its browser comes for it, or its time is over.
    pub async fn hand_over(&self, code: &Digest, salt: &str) -> Result<(), PublishError> {
        let ends = Expiration::EX(i64::try_from(redis::HANDOVER_SECONDS).unwrap_or(i64::MAX));
        let kept = self.client.set::<(), _, _>(redis::handover_key(code), salt, Some(ends), None, false);
        Ok(trace::ask("redis", "SET", kept).await?)
    }

    /// Goes through the names of the keys that match, a page at a time.
    pub fn scan(&self, matching: &'static str) -> Scan<'_> {
        Scan { client: &self.client, matching, cursor: Some(SCAN_START.to_owned()) }
    }

    /// Removes tokens that Postgres does not have, or that ended long ago.
    pub async fn forget_tokens(&self, token_ids: &[Uuid]) -> Result<(), PublishError> {
        in_flight(token_ids.iter().map(async |&token_id| {
            self.client.del::<(), _>(redis::token_key(token_id)).await?;
            self.announce(token_id).await
        }))
        .await
        .map(drop)
    }

    /// Forgets that these credentials have ended.
    pub async fn revive(&self, digests: &[Digest]) -> Result<(), PublishError> {
        in_flight(digests.iter().map(async |digest| {
            let key = redis::credential_key(digest);
            let value: Option<String> = self.client.get(&key).await?;
            if value.is_some_and(|value| value.ends_with(redis::ENDED_SUFFIX)) {
                self.client.del::<(), _>(key).await?;
            }
            Ok(())
        }))
        .await
        .map(drop)
    }

    /// Removes credentials that Postgres does not have, or that belong to such tokens.
    pub async fn forget_credentials(&self, digests: &[Digest]) -> Result<(), PublishError> {
        in_flight(digests.iter().map(async |digest| {
            let named: Option<String> = self.client.getdel(redis::credential_key(digest)).await?;
            match named.as_deref().and_then(redis::parse_credential_value) {
                Some((token_id, generation)) if generation != redis::ENDED_GENERATION => self.announce(token_id).await,
                _ => Ok(()),
            }
        }))
        .await
        .map(drop)
    }
}

/// A walk through keys, while they change.
pub struct Scan<'a> {
    client: &'a Client,
    matching: &'static str,
    /// `None` at the end.
    cursor: Option<String>,
}

impl Scan<'_> {
    /// What the next keys name, in their braces; at least one, and `None` at the end.
    pub async fn next<T: FromStr>(&mut self) -> Result<Option<Vec<T>>, PublishError> {
        while let Some(cursor) = self.cursor.take() {
            let (next, keys): (String, Vec<String>) =
                self.client.scan_page(cursor, self.matching, Some(SCAN_PAGE), None).await?;
            self.cursor = (next != SCAN_START).then_some(next);
            let names: Vec<T> = keys.iter().filter_map(|key| redis::tagged(key)?.parse().ok()).collect();
            if !names.is_empty() {
                return Ok(Some(names));
            }
        }
        Ok(None)
    }
}
