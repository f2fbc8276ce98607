//! Every key, stream and script that the planes share. No key is spelled anywhere else, and no
//! script is called but by [`calls`].
//!
//! | key | type | written by | read by | ends |
//! | --- | --- | --- | --- | --- |
//! | [`credential_key`] | string `token_id:gen` | control | edge | with its token's hash |
//! | [`token_key`] | hash | control ([`Put`](calls::Put), [`Bar`](calls::Bar)), edge ([`Admit`](calls::Admit), [`Settle`](calls::Settle), [`Activate`](calls::Activate), [`Release`](calls::Release), [`TakeOver`](calls::TakeOver)) | edge ([`Admit`](calls::Admit)) | 24 h after its token does |
//! | [`lease_key`] | string `session\|started_at\|pending\|device` | edge, control ([`Put`](calls::Put)) | edge | [`LEASE_MS`] after the last request |
//! | [`CHANGES`] | stream, field [`CHANGES_FIELD`] | control, edge | edge | trimmed to about [`CHANGES_LENGTH`] |
//! | [`USAGE`] | stream of [`crate::redis::events::Usage`] | edge ([`ReportUsage`](calls::ReportUsage), [`Activate`](calls::Activate), [`TakeOver`](calls::TakeOver)) | control | trimmed by its reader |
//! | [`SNAPSHOT`] | hash `epoch`, `run_id`, `build`, `built_at`, `caught_up_at`; `building` alone while it is filled | control | both | never |
//! | [`handover_key`] | string, a salt | control | edge (`GETDEL`) | after [`HANDOVER_SECONDS`] |
//! | [`acme_challenge_key`] | string, what the authority is to be answered | edge | edge | after [`ACME_CHALLENGE_SECONDS`] |
//! | [`ACME_TURN`] | string, a UUID | edge (and [`EndAcmeTurn`](calls::EndAcmeTurn)) | edge | after [`ACME_TURN_SECONDS`] at the latest |
//! | [`attempts_key`] | string, JSON of control-api's own | control ([`ReplaceAttempts`](calls::ReplaceAttempts)) | control ([`ReadAttempts`](calls::ReadAttempts)) | always: once what it counts is forgotten |
//! | [`ASSERTION_KEYS`] | sorted set of public keys, by when each ends | edge ([`PublishKeys`](calls::PublishKeys)) | edge ([`PublishKeys`](calls::PublishKeys)) | with its last key |
//! | [`rate_key`] | string, a time | edge, control ([`Spend`](calls::Spend)) | both ([`Spend`](calls::Spend)) | always: once its limit is unused again |
//!
//! The braces in a key are a hash tag: keys of one token that one script touches share it. Beside
//! those, [`Find`](calls::Find), [`Admit`](calls::Admit) and [`TakeOver`](calls::TakeOver) read the
//! snapshot, for an answer is worth nothing unless it is whole in that very instant;
//! [`Activate`](calls::Activate), [`Release`](calls::Release) and [`TakeOver`](calls::TakeOver)
//! append to the streams, for what only the hash held could be lost. Times are milliseconds of
//! Redis' own clock since 1970, the only clock that both planes trust.

pub mod calls;
pub mod events;
pub mod feed;
pub mod replies;

use uuid::Uuid;

use crate::token::{credential::Digest, device::Device};

/// One entry for each change that an edge must notice.
pub const CHANGES: &str = "zenzefi:v1:changes";
/// The field of a change that holds the token id.
pub const CHANGES_FIELD: &str = "token";
/// About how many changes are kept for an edge to catch up from.
pub const CHANGES_LENGTH: u64 = 100_000;
/// What the edges saw, for Postgres.
pub const USAGE: &str = "zenzefi:v1:usage";
/// The consumer group that control-api replicas read [`USAGE`] as.
pub const USAGE_GROUP: &str = "control";
/// Says that Redis holds all that Postgres knows.
pub const SNAPSHOT: &str = "zenzefi:v1:snapshot";
/// The field of [`SNAPSHOT`] that counts restores of Postgres.
pub const SNAPSHOT_EPOCH: &str = "epoch";
/// The field of [`SNAPSHOT`] that names the very Redis server that it was written to.
pub const SNAPSHOT_RUN_ID: &str = "run_id";
/// The field of [`SNAPSHOT`] that names one filling of Redis: it differs after a flush, too.
pub const SNAPSHOT_BUILD: &str = "build";
/// The field of [`SNAPSHOT`] that says when Redis was filled, in milliseconds of Redis' clock.
pub const SNAPSHOT_BUILT_AT: &str = "built_at";
/// The field of [`SNAPSHOT`] that says when no change was waiting to be published, in milliseconds
/// of Redis' clock.
pub const SNAPSHOT_CAUGHT_UP_AT: &str = "caught_up_at";
/// The public keys that assertions are verified with, as each edge tells of its own.
pub const ASSERTION_KEYS: &str = "zenzefi:v1:assertion_keys";
/// How many of them are kept: those that last longest.
pub const MOST_ASSERTION_KEYS: usize = 256;
/// How old `caught_up_at` may be for an unknown credential to be called invalid.
pub const CAUGHT_UP_WITHIN_MS: i64 = 5_000;
/// How long a hand-over to a browser is good for.
pub const HANDOVER_SECONDS: u64 = 30;
/// Which edge may order from an ACME authority: one at a time.
pub const ACME_TURN: &str = "zenzefi:v1:acme-turn";
/// How long such a turn may last.
pub const ACME_TURN_SECONDS: u64 = 210;
/// How long an ACME authority may take to ask for what it was promised.
pub const ACME_CHALLENGE_SECONDS: i64 = 3_600;
/// How long what Redis knows of a token stands after the token has ended, so that a late write
/// cannot bring it back.
pub const TOMBSTONE_MS: i64 = 24 * 3_600_000;
/// How long a device holds a token after its last request, unless both planes are told otherwise.
pub const LEASE_MS: u64 = 5 * 60_000;
/// How long a claim stands that nobody renews.
pub const CLAIM_MS: u64 = 2 * 60_000;
/// How many `5xx` a minute a token may get for nothing; its clock does not run for them.
pub const FAULTS_PER_MINUTE: u32 = 20;
/// For how long after a rebuild an activation that Redis lost may still be on its way.
pub const ACTIVATIONS_RETOLD_WITHIN_MS: i64 = 30_000;
/// The generation of a credential that was ended: no token has it.
pub const ENDED_GENERATION: i64 = 0;
/// How the value of an ended credential ends, as [`calls::PutCredentials`] asks.
pub const ENDED_SUFFIX: &str = ":0";

/// What a credential names: `token_id:gen`.
pub fn credential_key(digest: &Digest) -> String {
    format!("zenzefi:v1:credential:{{{digest}}}")
}

/// What the edge must know of one token.
pub fn token_key(token_id: Uuid) -> String {
    format!("zenzefi:v1:token:{{{token_id}}}")
}

/// The device that holds a token, and its session. Where every device may use a token
/// (`DEVICE_POLICY=off`) each has a lease of its own, `apart` from the others'.
pub fn lease_key(token_id: Uuid, apart: Option<&Device>) -> String {
    match apart {
        None => format!("zenzefi:v1:lease:{{{token_id}}}"),
        Some(device) => format!("zenzefi:v1:lease:{{{token_id}}}:{}", Digest::of(device.as_str().as_bytes())),
    }
}

/// Matches every [`token_key`], for a `SCAN`.
pub const TOKEN_KEYS: &str = "zenzefi:v1:token:{*}";
/// Matches every [`credential_key`], for a `SCAN`.
pub const CREDENTIAL_KEYS: &str = "zenzefi:v1:credential:{*}";
/// Matches every [`attempts_key`], for an operator who looks what is there.
pub const ATTEMPTS_KEYS: &str = "zenzefi:v1:attempts:{*}";

/// What stands between a key's literal braces.
pub fn tagged(key: &str) -> Option<&str> {
    Some(key.split_once('{')?.1.split_once('}')?.0)
}

/// The salt of a hand-over, named by the digest of its code.
pub fn handover_key(code: &Digest) -> String {
    format!("zenzefi:v1:handover:{{{code}}}")
}

/// What an ACME authority that asks for this challenge is answered, by whichever edge it reaches.
pub fn acme_challenge_key(challenge: &str) -> String {
    format!("zenzefi:v1:acme:{{{challenge}}}")
}

/// What control-api remembers of failed logins from an address, to an account, or of both together:
/// named by a keyed digest, for neither an e-mail nor an address belongs in Redis.
pub fn attempts_key(of: &Digest) -> String {
    format!("zenzefi:v1:attempts:{{{of}}}")
}

/// What a limit is on.
#[derive(Clone, Copy, Debug)]
pub enum Limited<'a> {
    /// Requests with a token.
    Token(Uuid),
    /// Calls of a user.
    User(Uuid),
    /// Registrations from an address, named by a keyed digest, for no address belongs in Redis.
    Registrations(&'a Digest),
}

/// How much of a limit is used, as the time when none of it will be.
pub fn rate_key(limited: Limited<'_>) -> String {
    match limited {
        Limited::Token(token_id) => format!("zenzefi:v1:rate:token:{{{token_id}}}"),
        Limited::User(user_id) => format!("zenzefi:v1:rate:user:{{{user_id}}}"),
        Limited::Registrations(from) => format!("zenzefi:v1:rate:registrations:{{{from}}}"),
    }
}

/// The value of a credential's key.
pub fn credential_value(token_id: Uuid, generation: i64) -> String {
    format!("{token_id}:{generation}")
}

/// Reads the value of a credential's key: the token, and the generation that the credential belongs
/// to.
pub fn parse_credential_value(value: &str) -> Option<(Uuid, i64)> {
    let (token_id, generation) = value.split_once(':')?;
    Some((token_id.parse().ok()?, generation.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_their_hash_tag_in_literal_braces() {
        let token_id = Uuid::nil();
        assert_eq!(token_key(token_id), format!("zenzefi:v1:token:{{{token_id}}}"));
        assert!(credential_key(&Digest::of(b"x")).ends_with('}'));
        assert_eq!(tagged(&token_key(token_id)), Some(token_id.to_string().as_str()));
        for (pattern, key) in [
            (TOKEN_KEYS, token_key(token_id)),
            (CREDENTIAL_KEYS, credential_key(&Digest::of(b"x"))),
            (ATTEMPTS_KEYS, attempts_key(&Digest::of(b"x"))),
        ] {
            assert_eq!(pattern.split_once('*').map(|(before, _)| key.starts_with(before)), Some(true), "{pattern}");
        }
    }

    #[test]
    fn a_credential_value_reads_back() {
        let value = credential_value(Uuid::nil(), 7);
        assert_eq!(parse_credential_value(&value), Some((Uuid::nil(), 7)));
        assert_eq!(parse_credential_value("nonsense"), None);
    }
}
