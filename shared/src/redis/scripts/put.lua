-- Puts the states of tokens as Postgres has them now. Refuses what is older than what stands, by
-- (epoch, version), and accepts what is equal; never takes an activation back; never lifts a bar
-- while the refund is being settled, nor lets a flush lift it. A cut that Redis has not seen yet
-- frees the device that it names; where several were missed, whichever holds the token, and so does
-- a new generation of credentials.
--
-- KEYS: tokens, each once. ARGV: epoch, tombstone_ms, then for each key
-- `version|user_id|duration_ms|state|credential_gen|activated_at|scope`, where activated_at may be
-- empty, and what most tokens lack: a JSON object (calls::publication::Rest), or empty. Replies,
-- for each token of which Redis knew an activation earlier than was told, or none was, its place
-- among the keys and activated_at, as numbers.
local STATE = '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$'
local epoch, tombstone_ms = ARGV[1], tonumber(ARGV[2])
-- While Redis is filled anew nothing stands, and one question spares one for each token.
local all_are_new = redis.call('EXISTS', unpack(KEYS)) == 0
local nothing, reply = {}, {}
-- Put at once, for most of what a token costs is what Redis is called for. What not every token has
-- comes after these.
local fields = {'epoch', epoch, 'version', '', 'user_id', '', 'scope', '', 'duration_ms', '', 'state', '', 'credential_gen', ''}
local ALWAYS = #fields

local function put(n, key)
  local version, user_id, duration_ms, state, credential_gen, told, scope = string.match(ARGV[2 * n + 1], STATE)
  local rest = ARGV[2 * n + 2] == '' and nothing or cjson.decode(ARGV[2 * n + 2])
  local stands = all_are_new and nothing
    or redis.call('HMGET', key, 'epoch', 'version', 'activated_at', 'state', 'cut_gen', 'credential_gen')
  if stands[1] then
    local stands_epoch, stands_version = tonumber(stands[1]), tonumber(stands[2])
    if stands_epoch > tonumber(epoch) or (stands_epoch == tonumber(epoch) and stands_version > tonumber(version)) then
      return
    end
  end
  local activated_at, activated, known = told, tonumber(told), stands[3] and tonumber(stands[3])
  if known and (not activated or known < activated) then
    activated_at, activated = stands[3], known
    reply[#reply + 1], reply[#reply + 2] = n, known
  end
  if state == 'live' and rest.is_refund_pending and (stands[4] == 'barred' or not stands[1]) then state = 'barred' end
  fields[4], fields[6], fields[8], fields[10], fields[12], fields[14] =
    version, user_id, scope, duration_ms, state, credential_gen
  local count, ends_at = ALWAYS, nil
  if activated then
    local expires = activated + tonumber(duration_ms)
    ends_at = string.format('%.0f', expires + tombstone_ms)
    fields[count + 1], fields[count + 2] = 'activated_at', activated_at
    fields[count + 3], fields[count + 4] = 'expires_at', string.format('%.0f', expires)
    count = count + 4
  end
  if rest.networks then
    fields[count + 1], fields[count + 2] = 'networks', rest.networks
    count = count + 2
  elseif stands[1] then
    redis.call('HDEL', key, 'networks')
  end
  if stands[6] and tonumber(stands[6]) < tonumber(credential_gen) then redis.call('DEL', rest.lease) end
  local cut = rest.cut
  if cut then
    local missed = stands[1] and tonumber(cut.gen) - tonumber(stands[5] or '0') or 0
    if missed > 0 then
      local holder = string.match(redis.call('GET', rest.lease) or '', '^[^|]*|[^|]*|[^|]*|(.*)$')
      if missed > 1 or cut.device == '' or holder == cut.device then redis.call('DEL', rest.lease) end
      redis.call('DEL', cut.device_lease)
    end
    fields[count + 1], fields[count + 2] = 'cut_gen', cut.gen
    fields[count + 3], fields[count + 4] = 'cut_code', cut.code
    fields[count + 5], fields[count + 6] = 'cut_device', cut.device
    count = count + 6
  elseif stands[5] then
    redis.call('HDEL', key, 'cut_gen', 'cut_code', 'cut_device')
  end
  redis.call('HSET', key, unpack(fields, 1, count))
  if ends_at then
    redis.call('PEXPIREAT', key, ends_at)
  elseif state == 'revoked' then
    redis.call('PEXPIRE', key, ARGV[2])
  elseif stands[1] then
    redis.call('PERSIST', key)
  end
end

for n, key in ipairs(KEYS) do put(n, key) end
return reply
