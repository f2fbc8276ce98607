//! What the edges report of tokens in use: activations, sessions, redeemed links, devices that took
//! a token over.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::{
    process::trace::Span,
    redis::events::{SessionFigures, TakingOver, Usage},
    token::credential::Digest,
};
use uuid::Uuid;

use super::audit::{Action, Resource};
use crate::db::{
    self, access_token,
    audit_log::{self, NewLine},
    credential, outbox,
    session::{self, Figures},
};

/// The most characters of a device's name or an agent that are kept.
const TEXT_CHARS: usize = 512;

/// Writes what edges told, in one transaction. Writing it twice changes nothing.
///
/// Lock order, as everywhere: tokens, then sessions, then credentials, each in the order of their
/// ids. An event about a token that Postgres does not have is skipped, for it would hold up all
/// that comes with it.
pub async fn record(db: &db::Pool, told: Told) -> Result<(), db::Error> {
    let tx = db::begin(db).await?;
    let known: HashSet<Uuid> = access_token::keep(&tx, &told.token_ids()).await?.into_iter().collect();
    let is_known = |token_id: &Uuid| {
        let is_known = known.contains(token_id);
        if !is_known {
            tracing::error!(%token_id, "an edge told of a token that does not exist; skipped");
        }
        is_known
    };
    for (token_id, at) in told.activations.iter().filter(|(token_id, _)| is_known(token_id)) {
        let record = async {
            match access_token::record_activation(&tx, *token_id, *at).await? {
                Some(_) => outbox::push(&tx, &[*token_id]).await,
                None => Ok(()),
            }
        };
        // As part of the request that started the clock.
        told.spans.get(token_id).unwrap_or(&Span::default()).around(record).await?;
    }
    let figures: Vec<_> = told.figures.into_values().filter(|figures| is_known(&figures.token_id)).collect();
    session::record(&tx, &figures).await?;
    for digest in told.redemptions.values() {
        credential::record_redemption(&tx, digest).await?;
    }
    for taking in told.takings.values().filter(|taking| is_known(&taking.token_id)) {
        record_taking(&tx, taking).await?;
    }
    tx.commit().await
}

/// Writes that a device took a token over, once: by the token's user, for they hold what opens it.
async fn record_taking(tx: &db::Tx, taking: &TakingOver) -> Result<(), db::Error> {
    let (on, agent) = (Resource::Token(taking.token_id), taking.agent.as_deref().map(plain));
    let line = NewLine {
        user_id: Some(taking.user_id),
        action: Action::ReleaseDevice.as_str(),
        resource_type: on.kind(),
        resource_id: on.id(),
        details: json!({ "by": "device" }),
        ip_address: taking.address.map(|address| address.to_canonical().to_string()),
        user_agent: agent.as_deref(),
        request_id: Some(&taking.request_id.simple().to_string()),
    };
    if audit_log::is_written(tx, &line).await? { Ok(()) } else { audit_log::insert(tx, line).await }
}

/// What edges told, each thing once.
#[derive(Default)]
pub struct Told {
    /// The earliest of each token.
    activations: BTreeMap<Uuid, DateTime<Utc>>,
    /// The latest of each session and edge process.
    figures: BTreeMap<(Uuid, Uuid), Figures>,
    redemptions: BTreeMap<[u8; 32], Digest>,
    /// By the request that asked for it.
    takings: BTreeMap<Uuid, TakingOver>,
    /// What taking in an activation is in the trace of the request that left it, by the token.
    spans: HashMap<Uuid, Span>,
}

impl Told {
    /// Adds an event, and its place in the trace of the request that left it.
    pub fn add(&mut self, usage: Usage, place: Option<&str>) {
        match usage {
            Usage::Activated { token_id, at_ms } => {
                let Some(at) = DateTime::from_timestamp_millis(at_ms) else { return };
                self.spans.entry(token_id).or_insert_with(|| Span::of_message("usage", place));
                self.activations.entry(token_id).and_modify(|known| *known = at.min(*known)).or_insert(at);
            }
            Usage::Session(figures) => {
                let Some(figures) = figures_of(figures) else { return };
                let key = (figures.session_id, figures.instance_id);
                if self.figures.get(&key).is_none_or(|known| known.reported_at_ms < figures.reported_at_ms) {
                    self.figures.insert(key, figures);
                }
            }
            Usage::Redeemed { digest } => {
                self.redemptions.insert(*digest.as_bytes(), digest);
            }
            Usage::TakenOver(taking) => {
                self.takings.insert(taking.request_id, taking);
            }
            Usage::Unknown => {}
        }
    }

    fn token_ids(&self) -> Vec<Uuid> {
        let of_sessions = self.figures.values().map(|figures| figures.token_id);
        let of_takings = self.takings.values().map(|taking| taking.token_id);
        let ids: BTreeSet<Uuid> = self.activations.keys().copied().chain(of_sessions).chain(of_takings).collect();
        ids.into_iter().collect()
    }
}

/// Figures as Postgres can hold them; `None` where a time is none.
fn figures_of(told: SessionFigures) -> Option<Figures> {
    for ms in [told.started_at_ms, told.last_activity_ms, told.reported_at_ms] {
        DateTime::from_timestamp_millis(ms)?;
    }
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Some(Figures {
        session_id: told.session_id,
        instance_id: told.instance_id,
        token_id: told.token_id,
        device_id: plain(&told.device),
        ip_address: told.address.map(|address| address.to_string()),
        user_agent: told.agent.as_deref().map(plain),
        started_at_ms: told.started_at_ms,
        last_activity_ms: told.last_activity_ms,
        reported_at_ms: told.reported_at_ms,
        requests: count(told.requests),
        bytes_in: count(told.bytes_in),
        bytes_out: count(told.bytes_out),
        open_connections: i32::try_from(told.open_connections).unwrap_or(i32::MAX),
    })
}

/// A text of a client's as it is kept: Postgres takes no NUL, and nobody reads more.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(reported_at_ms: i64, requests: u64) -> SessionFigures {
        SessionFigures {
            session_id: Uuid::nil(),
            instance_id: Uuid::nil(),
            token_id: Uuid::nil(),
            user_id: Uuid::nil(),
            device: "a-device".to_owned(),
            address: None,
            agent: Some("an\0agent".to_owned()),
            started_at_ms: 1,
            last_activity_ms: 2,
            reported_at_ms,
            requests,
            bytes_in: u64::MAX,
            bytes_out: 0,
            open_connections: 1,
        }
    }

    #[test]
    fn of_reports_of_a_session_the_latest_counts_and_of_activations_the_earliest() {
        let mut told = Told::default();
        for (at, requests) in [(3, 30), (5, 50), (4, 40)] {
            told.add(Usage::Session(figures(at, requests)), None);
            told.add(Usage::Activated { token_id: Uuid::nil(), at_ms: at }, None);
        }
        told.add(Usage::Session(figures(i64::MAX, 60)), None);
        let kept = &told.figures[&(Uuid::nil(), Uuid::nil())];
        assert_eq!((kept.requests, kept.bytes_in, kept.user_agent.as_deref()), (50, i64::MAX, Some("anagent")));
        assert_eq!(told.activations[&Uuid::nil()].timestamp_millis(), 3);
        assert_eq!(told.token_ids(), [Uuid::nil()]);
    }
}
