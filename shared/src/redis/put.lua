-- Puts a token's state as Postgres has it now. Refuses what is older than what stands, by (epoch, version), and accepts what
-- is equal; never takes an activation back; never lifts a bar while the refund is being settled, nor lets a flush lift it. A cut
-- that Redis has not seen yet frees the device that it names; where several were missed, whichever holds the token.
--
-- KEYS: token, lease, lease of the device that was cut.
-- ARGV: epoch, version, user_id, scope, duration_ms, state, credential_gen, activated_at (or empty), refund_pending (0 or 1),
-- tombstone_ms, cut_gen, cut_code (or empty), cut_device (or empty: every device).
-- Replies {1, activated_at that is known now (or empty)}, or {0, ''} if something newer stands.
local stands = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'activated_at', 'state', 'cut_gen')
local epoch, version = tonumber(ARGV[1]), tonumber(ARGV[2])
if stands[1] then
  local stands_epoch, stands_version = tonumber(stands[1]), tonumber(stands[2])
  if stands_epoch > epoch or (stands_epoch == epoch and stands_version > version) then return {'0', ''} end
end
local activated = tonumber(ARGV[8])
local known = stands[3] and tonumber(stands[3])
if known and (not activated or known < activated) then activated = known end
local state = ARGV[6]
if state == 'live' and ARGV[9] == '1' and (stands[4] == 'barred' or not stands[1]) then state = 'barred' end
local missed_cuts = stands[1] and tonumber(ARGV[11]) - tonumber(stands[5] or '0') or 0
if missed_cuts > 0 then
  local holder = string.match(redis.call('GET', KEYS[2]) or '', '^[^|]*|[^|]*|[^|]*|(.*)$')
  if missed_cuts > 1 or ARGV[13] == '' or holder == ARGV[13] then redis.call('DEL', KEYS[2]) end
  redis.call('DEL', KEYS[3])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'version', ARGV[2], 'user_id', ARGV[3], 'scope', ARGV[4], 'duration_ms', ARGV[5],
  'state', state, 'credential_gen', ARGV[7], 'cut_gen', ARGV[11], 'cut_code', ARGV[12], 'cut_device', ARGV[13])
if activated then
  local at, expires = string.format('%.0f', activated), activated + tonumber(ARGV[5])
  redis.call('HSET', KEYS[1], 'activated_at', at, 'expires_at', string.format('%.0f', expires))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires + tonumber(ARGV[10])))
  return {'1', at}
end
if state == 'revoked' then redis.call('PEXPIRE', KEYS[1], ARGV[10]) else redis.call('PERSIST', KEYS[1]) end
return {'1', ''}
