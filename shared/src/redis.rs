//! Every key, stream and script that the planes share. No key is spelled anywhere else.
//!
//! | key | type | written by | read by | ends |
//! | --- | --- | --- | --- | --- |
//! | [`credential_key`] | string `token_id:gen` | control | edge | with its token's hash |
//! | [`token_key`] | hash | control ([`PUT`], [`BAR`]), edge ([`ACTIVATE`]) | edge ([`LOOKUP`]) | 24 h after its token does |
//! | [`CHANGES`] | stream, field [`CHANGES_FIELD`] | control, edge | edge | trimmed to about [`CHANGES_LENGTH`] |
//! | [`USAGE`] | stream of [`crate::event::Usage`] | edge | control | trimmed by its reader |
//! | [`SNAPSHOT`] | hash `epoch`, `run_id`, `caught_up_at` | control | edge | never |
//! | [`handover_key`] | string, a salt | control | edge (`GETDEL`) | after [`HANDOVER_SECONDS`] |
//!
//! The braces in a key are a hash tag: keys that one script touches share it, but for [`FIND`], which must see the snapshot and
//! a credential in one instant. Times are milliseconds of Redis' own clock
//! since 1970; the only clock that both planes trust.

use uuid::Uuid;

use crate::credential::Digest;

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
/// The field of [`SNAPSHOT`] that says when no change was waiting to be published, in milliseconds of Redis' clock.
pub const SNAPSHOT_CAUGHT_UP_AT: &str = "caught_up_at";
/// How old `caught_up_at` may be for an unknown credential to be called invalid.
pub const CAUGHT_UP_WITHIN_MS: i64 = 5_000;
/// How long a hand-over to a browser is good for.
pub const HANDOVER_SECONDS: u64 = 30;
/// How long what Redis knows of a token stands after the token has ended, so that a late write cannot bring it back.
pub const TOMBSTONE_MS: i64 = 24 * 3_600_000;

/// What a credential names: `token_id:gen`.
pub fn credential_key(digest: &Digest) -> String {
    format!("zenzefi:v1:credential:{{{digest}}}")
}

/// What the edge must know of one token.
pub fn token_key(token_id: Uuid) -> String {
    format!("zenzefi:v1:token:{{{token_id}}}")
}

/// The salt of a hand-over, named by the digest of its code.
pub fn handover_key(code: &Digest) -> String {
    format!("zenzefi:v1:handover:{{{code}}}")
}

/// The value of a credential's key.
pub fn credential_value(token_id: Uuid, generation: i64) -> String {
    format!("{token_id}:{generation}")
}

/// Reads the value of a credential's key: the token, and the generation that the credential belongs to.
pub fn parse_credential_value(value: &str) -> Option<(Uuid, i64)> {
    let (token_id, generation) = value.split_once(':')?;
    Some((token_id.parse().ok()?, generation.parse().ok()?))
}

/// Puts a token's state as Postgres has it now. Refuses what is older than what stands, by (epoch, version), and accepts what
/// is equal; never takes an activation back; never lifts a bar while the refund is being settled.
///
/// `KEYS`: token. `ARGV`: epoch, version, user_id, scope, duration_ms, state, credential_gen, activated_at (or empty),
/// refund_pending (`0` or `1`), tombstone_ms. Replies `1` if it was put, `0` if something newer stands.
pub const PUT: &str = r"
local stands = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'activated_at', 'state')
local epoch, version = tonumber(ARGV[1]), tonumber(ARGV[2])
if stands[1] then
  local stands_epoch, stands_version = tonumber(stands[1]), tonumber(stands[2])
  if stands_epoch > epoch or (stands_epoch == epoch and stands_version > version) then return 0 end
end
local activated = tonumber(ARGV[8])
local known = stands[3] and tonumber(stands[3])
if known and (not activated or known < activated) then activated = known end
local state = ARGV[6]
if stands[4] == 'barred' and state == 'live' and ARGV[9] == '1' then state = 'barred' end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'version', ARGV[2], 'user_id', ARGV[3], 'scope', ARGV[4],
  'duration_ms', ARGV[5], 'state', state, 'credential_gen', ARGV[7])
if activated then
  local expires = activated + tonumber(ARGV[5])
  redis.call('HSET', KEYS[1], 'activated_at', string.format('%.0f', activated), 'expires_at', string.format('%.0f', expires))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires + tonumber(ARGV[10])))
elseif state == 'revoked' then
  redis.call('PEXPIRE', KEYS[1], ARGV[10])
else
  redis.call('PERSIST', KEYS[1])
end
return 1
";

/// Tells what a credential names and, in the same instant, whether Redis holds all that Postgres knows: an answer of
/// "unknown" is worth nothing without that. The run id is read inside the script, so that no reconnection can come between.
///
/// `KEYS`: snapshot, credential. Replies as [`crate::grant::Finding::parse`] reads: `1` or `0` for whole, caught_up_at (or
/// empty), Redis' time, the credential's value (or empty).
pub const FIND: &str = r"
local snapshot = redis.call('HMGET', KEYS[1], 'run_id', 'caught_up_at')
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local time = redis.call('TIME')
return {
  snapshot[1] == run_id and '1' or '0',
  snapshot[2] or '',
  string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)),
  redis.call('GET', KEYS[2]) or ''
}
";

/// Tells what Redis knows of a token, in this order: credential generation, state, time left by Redis' own clock.
///
/// `KEYS`: token. `ARGV`: the credential's generation. Replies as [`crate::grant::Lookup::parse`] reads.
pub const LOOKUP: &str = r"
local token = redis.call('HMGET', KEYS[1], 'state', 'credential_gen', 'user_id', 'scope', 'duration_ms', 'activated_at', 'expires_at')
if not token[1] then return {'unknown'} end
if token[2] ~= ARGV[1] then return {'revoked'} end
if token[1] == 'suspended' then return {'suspended'} end
if token[1] ~= 'live' then return {'revoked'} end
local left = tonumber(token[5])
if token[7] then
  local time = redis.call('TIME')
  left = tonumber(token[7]) - (time[1] * 1000 + math.floor(time[2] / 1000))
  if left <= 0 then return {'expired'} end
end
return {'live', token[3], token[4], token[5], token[6] or '', string.format('%.0f', left)}
";

/// Starts a token's clock at its first answered request; the first call wins.
///
/// `KEYS`: token. `ARGV`: the credential's generation, tombstone_ms. Replies as [`crate::grant::Activation::parse`] reads.
pub const ACTIVATE: &str = r"
local token = redis.call('HMGET', KEYS[1], 'state', 'credential_gen', 'duration_ms', 'activated_at', 'expires_at')
if token[1] ~= 'live' or token[2] ~= ARGV[1] then return {'ended'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if token[4] then
  local left = tonumber(token[5]) - now
  if left <= 0 then return {'ended'} end
  return {'active', token[4], string.format('%.0f', left)}
end
local at, duration = string.format('%.0f', now), tonumber(token[3])
redis.call('HSET', KEYS[1], 'activated_at', at, 'expires_at', string.format('%.0f', now + duration))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + duration + tonumber(ARGV[2])))
return {'activated', at, token[3]}
";

/// Bars a token while its refund is settled, unless it was used. Repeating it gives the same answer. It names the version that
/// carries the request, so that one that arrives late bars no token that came back into use.
///
/// `KEYS`: token. `ARGV`: version. Replies as [`crate::grant::Bar::parse`] reads.
pub const BAR: &str = r"
local token = redis.call('HMGET', KEYS[1], 'state', 'activated_at', 'version')
if not token[1] then return {'unknown'} end
if token[2] then return {'activated', token[2]} end
if token[3] ~= ARGV[1] then return {'unknown'} end
if token[1] ~= 'revoked' then redis.call('HSET', KEYS[1], 'state', 'barred') end
return {'barred'}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_their_hash_tag_in_literal_braces() {
        let token_id = Uuid::nil();
        assert_eq!(token_key(token_id), format!("zenzefi:v1:token:{{{token_id}}}"));
        assert!(credential_key(&Digest::of(b"x")).ends_with('}'));
    }

    #[test]
    fn a_credential_value_reads_back() {
        let value = credential_value(Uuid::nil(), 7);
        assert_eq!(parse_credential_value(&value), Some((Uuid::nil(), 7)));
        assert_eq!(parse_credential_value("nonsense"), None);
    }
}
