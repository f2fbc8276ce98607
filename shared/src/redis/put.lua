-- Puts the states of tokens as Postgres has them now. Refuses what is older than what stands, by (epoch, version), and accepts what
-- is equal; never takes an activation back; never lifts a bar while the refund is being settled, nor lets a flush lift it. A cut
-- that Redis has not seen yet frees the device that it names; where several were missed, whichever holds the token.
--
-- KEYS, for each token: token, lease, lease of the device that was cut.
-- ARGV, for each token: epoch, version, user_id, scope, duration_ms, state, credential_gen, activated_at (or empty),
-- refund_pending (0 or 1), tombstone_ms, cut_gen, cut_code (or empty), cut_device (or empty: every device).
-- Replies for each token 1 and activated_at as it is known now (or empty), or 0 and an empty text if something newer stands.
local TOKEN_KEYS, TOKEN_ARGUMENTS = 3, 13

local function put(key, lease, cut_lease, epoch, version, user_id, scope, duration_ms, state, credential_gen, activated_at,
  is_refund_pending, tombstone_ms, cut_gen, cut_code, cut_device)
  local stands = redis.call('HMGET', key, 'epoch', 'version', 'activated_at', 'state', 'cut_gen')
  if stands[1] then
    local stands_epoch, stands_version = tonumber(stands[1]), tonumber(stands[2])
    if stands_epoch > tonumber(epoch) or (stands_epoch == tonumber(epoch) and stands_version > tonumber(version)) then
      return '0', ''
    end
  end
  local activated = tonumber(activated_at)
  local known = stands[3] and tonumber(stands[3])
  if known and (not activated or known < activated) then activated = known end
  if state == 'live' and is_refund_pending == '1' and (stands[4] == 'barred' or not stands[1]) then state = 'barred' end
  local missed_cuts = stands[1] and tonumber(cut_gen) - tonumber(stands[5] or '0') or 0
  if missed_cuts > 0 then
    local holder = string.match(redis.call('GET', lease) or '', '^[^|]*|[^|]*|[^|]*|(.*)$')
    if missed_cuts > 1 or cut_device == '' or holder == cut_device then redis.call('DEL', lease) end
    redis.call('DEL', cut_lease)
  end
  redis.call('HSET', key, 'epoch', epoch, 'version', version, 'user_id', user_id, 'scope', scope, 'duration_ms', duration_ms,
    'state', state, 'credential_gen', credential_gen, 'cut_gen', cut_gen, 'cut_code', cut_code, 'cut_device', cut_device)
  if activated then
    local at, expires = string.format('%.0f', activated), activated + tonumber(duration_ms)
    redis.call('HSET', key, 'activated_at', at, 'expires_at', string.format('%.0f', expires))
    redis.call('PEXPIREAT', key, string.format('%.0f', expires + tonumber(tombstone_ms)))
    return '1', at
  end
  if state == 'revoked' then
    redis.call('PEXPIRE', key, tombstone_ms)
  elseif stands[1] then
    redis.call('PERSIST', key)
  end
  return '1', ''
end

local reply = {}
for n = 0, #KEYS / TOKEN_KEYS - 1 do
  local key, argument = n * TOKEN_KEYS, n * TOKEN_ARGUMENTS
  local done, activated_at =
    put(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], unpack(ARGV, argument + 1, argument + TOKEN_ARGUMENTS))
  reply[#reply + 1] = done
  reply[#reply + 1] = activated_at
end
return reply
