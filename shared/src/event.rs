//! What travels on the `usage` stream, from the edges to the control plane. An entry has one field, [`FIELD`], with the
//! event as JSON; kinds and fields are only ever added, so that an older reader can skip what it does not know.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::credential::Digest;

/// The one field of an entry.
pub const FIELD: &str = "event";

/// Something that an edge saw and Postgres must know. Reading one twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Usage {
    /// A token's clock started, in milliseconds of Redis' clock since 1970. The earliest one told is kept.
    Activated { token_id: Uuid, at_ms: i64 },
    /// A browser took the credential that it was handed.
    Redeemed {
        #[serde(with = "digest_text")]
        digest: Digest,
    },
    /// A kind that a newer edge writes.
    #[serde(other)]
    Unknown,
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

    use crate::credential::Digest;

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
        ] {
            assert_eq!(Usage::decode(&event.encode()).expect("its own text"), event);
        }
        assert_eq!(Usage::decode(r#"{"kind":"of_tomorrow","x":1}"#).expect("a newer kind"), Usage::Unknown);
        assert!(Usage::decode("{").is_err());
    }
}
