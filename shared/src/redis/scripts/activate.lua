-- Starts a token's clock; the earliest time that is told wins. It tells both planes in the same
-- instant: an activation that only the hash held would be lost with it, and the token could be used
-- twice over. A token that was suspended or rotated while its first request was under way has been
-- used all the same.
--
-- KEYS: token, lease, changes, usage. ARGV: token_id, credential_gen, tombstone_ms, session,
-- changes_length, when it was used in milliseconds of Redis' clock (or empty: now), and where in a
-- trace this stands (or empty). Replies as replies::Activation::parse reads.
local token = redis.call('HMGET', KEYS[1], 'state', 'credential_gen', 'duration_ms', 'activated_at', 'expires_at')
if not token[1] then return {'unknown'} end
if token[1] == 'revoked' or token[1] == 'barred' then return {'ended'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = math.min(now, tonumber(ARGV[6]) or now)
local activated, expires, change = tonumber(token[4]), tonumber(token[5]), ''
if not activated or at < activated then
  activated, expires = at, at + tonumber(token[3])
  redis.call('HSET', KEYS[1], 'activated_at', string.format('%.0f', activated), 'expires_at', string.format('%.0f', expires))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires + tonumber(ARGV[3])))
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 6) == 'claim:' then redis.call('HDEL', KEYS[1], field) end
  end
  change = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'token', ARGV[1])
  local event = string.format('{"kind":"activated","token_id":"%s","at_ms":%.0f}', ARGV[1], activated)
  if (ARGV[7] or '') == '' then
    redis.call('XADD', KEYS[4], '*', 'event', event)
  else
    redis.call('XADD', KEYS[4], '*', 'event', event, 'traceparent', ARGV[7])
  end
end
local session, started, pending, device =
  string.match(redis.call('GET', KEYS[2]) or '', '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
if session == ARGV[4] and pending ~= 'u' then
  redis.call('SET', KEYS[2], session .. '|' .. started .. '|u|' .. device, 'KEEPTTL')
end
if token[1] ~= 'live' or token[2] ~= ARGV[2] or expires <= now then return {'ended'} end
return {'active', string.format('%.0f', activated), change, string.format('%.0f', expires - now)}
