-- Puts the states of tokens as Postgres has them now. Refuses what is older than what stands, by (epoch, version), and accepts what
-- is equal; never takes an activation back; never lifts a bar while the refund is being settled, nor lets a flush lift it. A cut
-- that Redis has not seen yet frees the device that it names; where several were missed, whichever holds the token, and so does a
-- new generation of credentials.
--
-- KEYS: tokens.
-- ARGV: epoch, tombstone_ms, a JSON list of the states (publisher::State) in the order of the keys.
-- Replies for each token 1 and activated_at as it is known now (or empty), or 0 and an empty text if something newer stands.
local epoch, tombstone_ms = ARGV[1], tonumber(ARGV[2])

local function put(key, new)
  local stands = redis.call('HMGET', key, 'epoch', 'version', 'activated_at', 'state', 'cut_gen', 'credential_gen')
  if stands[1] then
    local stands_epoch, stands_version = tonumber(stands[1]), tonumber(stands[2])
    if stands_epoch > tonumber(epoch) or (stands_epoch == tonumber(epoch) and stands_version > tonumber(new.version)) then
      return '0', ''
    end
  end
  local activated = tonumber(new.activated_at)
  local known = stands[3] and tonumber(stands[3])
  if known and (not activated or known < activated) then activated = known end
  local state = new.state
  if state == 'live' and new.is_refund_pending and (stands[4] == 'barred' or not stands[1]) then state = 'barred' end
  redis.call('HSET', key, 'epoch', epoch, 'version', new.version, 'user_id', new.user_id, 'scope', new.scope,
    'duration_ms', new.duration_ms, 'state', state, 'credential_gen', new.credential_gen)
  if new.networks ~= '' then
    redis.call('HSET', key, 'networks', new.networks)
  elseif stands[1] then
    redis.call('HDEL', key, 'networks')
  end
  if stands[6] and tonumber(stands[6]) < tonumber(new.credential_gen) then redis.call('DEL', new.lease) end
  local cut = new.cut
  if cut then
    local missed = stands[1] and tonumber(cut.gen) - tonumber(stands[5] or '0') or 0
    if missed > 0 then
      local holder = string.match(redis.call('GET', new.lease) or '', '^[^|]*|[^|]*|[^|]*|(.*)$')
      if missed > 1 or cut.device == '' or holder == cut.device then redis.call('DEL', new.lease) end
      redis.call('DEL', cut.device_lease)
    end
    redis.call('HSET', key, 'cut_gen', cut.gen, 'cut_code', cut.code, 'cut_device', cut.device)
  elseif stands[5] then
    redis.call('HDEL', key, 'cut_gen', 'cut_code', 'cut_device')
  end
  if activated then
    local at, expires = string.format('%.0f', activated), activated + tonumber(new.duration_ms)
    redis.call('HSET', key, 'activated_at', at, 'expires_at', string.format('%.0f', expires))
    redis.call('PEXPIREAT', key, string.format('%.0f', expires + tombstone_ms))
    return '1', at
  end
  if state == 'revoked' then
    redis.call('PEXPIRE', key, ARGV[2])
  elseif stands[1] then
    redis.call('PERSIST', key)
  end
  return '1', ''
end

local reply = {}
for n, new in ipairs(cjson.decode(ARGV[3])) do
  reply[2 * n - 1], reply[2 * n] = put(KEYS[n], new)
end
return reply
