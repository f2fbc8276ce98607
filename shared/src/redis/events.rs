//! What travels on the `usage` stream, from the edges to the control plane. An entry has the field
//! [`FIELD`], with the event as JSON; kinds and fields are only ever added, so that an older reader
//! can skip what it does not know.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::token::credential::Digest;

/// The field of an entry; beside it there may be [`trace::HEADER`](crate::process::trace::HEADER),
/// the request that left it.
pub const FIELD: &str = "event";

/// Something that an edge saw and Postgres must know. Reading one twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Usage {
    /// A token's clock started, in milliseconds of Redis' clock since 1970. The earliest one told
    /// is kept.
    Activated { token_id: Uuid, at_ms: i64 },
    /// A browser took the credential that it was handed.
    Redeemed {
        #[serde(with = "digest_text")]
        digest: Digest,
    },
    /// A device took a token from the one that had it, on the word of a client with a credential
    /// of it.
    TakenOver(TakingOver),
    /// What one edge process has counted of a session so far.
    Session(SessionFigures),
    /// A kind that a newer edge writes.
    #[serde(other)]
    Unknown,
}

/// Who took a token over, from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakingOver {
    pub token_id: Uuid,
    pub user_id: Uuid,
    /// The request that asked for it, by which this taking is known again.
    pub request_id: Uuid,
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
}

/// What one edge process has counted of a session since the session began there; only ever more.
/// Times are milliseconds of Redis' clock since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFigures {
    pub session_id: Uuid,
    /// Drawn by the edge process at its start, and anew whenever it forgets sessions: one that
    /// comes back begins at nothing.
    pub instance_id: Uuid,
    pub token_id: Uuid,
    pub user_id: Uuid,
    pub device: String,
    /// Of the first request here.
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
    pub started_at_ms: i64,
    pub last_activity_ms: i64,
    /// When these figures were taken.
    pub reported_at_ms: i64,
    pub requests: u64,
    /// Bytes of bodies towards the upstream, and towards the client.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub open_connections: u32,
}

impl Usage {
    /// The entry's field.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("an event has only text and numbers")
    }

    /// Reads the entry's field.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

mod digest_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::token::credential::Digest;

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_back_and_newer_kinds_are_skipped() {
        for event in [
            Usage::Activated { token_id: Uuid::nil(), at_ms: 1_700_000_000_000 },
            Usage::Redeemed { digest: Digest::of(b"a secret") },
            Usage::TakenOver(TakingOver {
                token_id: Uuid::nil(),
                user_id: Uuid::nil(),
                request_id: Uuid::nil(),
                address: None,
                agent: Some("an agent".into()),
            }),
            Usage::Session(SessionFigures {
                session_id: Uuid::nil(),
                instance_id: Uuid::nil(),
                token_id: Uuid::nil(),
                user_id: Uuid::nil(),
                device: "a-device".into(),
                address: "192.0.2.7".parse().ok(),
                agent: None,
                started_at_ms: 1,
                last_activity_ms: 2,
                reported_at_ms: 3,
                requests: 4,
                bytes_in: 5,
                bytes_out: u64::from(u32::MAX) * 6,
                open_connections: 7,
            }),
        ] {
            assert_eq!(Usage::decode(&event.encode()).expect("its own text"), event);
        }
        assert_eq!(Usage::decode(r#"{"kind":"of_tomorrow","x":1}"#).expect("a newer kind"), Usage::Unknown);
        assert!(Usage::decode("{").is_err());
    }
}
