-- Ends what an admission held while it was not known whether the upstream would be reached, and
-- would answer.
--
-- KEYS: token, lease. ARGV: the claim's nonce, if it ends (or empty), 1 if the upstream failed a
-- ready token's request (else 0), what becomes of the lease (`keep`, `release` or empty), session.
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[1] ~= '' then redis.call('HDEL', KEYS[1], 'claim:' .. ARGV[1]) end
  if ARGV[2] == '1' then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local since = tonumber(redis.call('HGET', KEYS[1], 'faults_since') or '0')
    if now - since >= 60000 then
      redis.call('HSET', KEYS[1], 'faults_since', string.format('%.0f', now), 'faults', '1')
    else
      redis.call('HINCRBY', KEYS[1], 'faults', 1)
    end
  end
end
local session, started, pending, device =
  string.match(redis.call('GET', KEYS[2]) or '', '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
if session ~= ARGV[4] or pending == 'u' or ARGV[3] == '' then return 0 end
if ARGV[3] == 'keep' then
  pending = 'u'
elseif tonumber(pending) > 1 then
  pending = string.format('%.0f', tonumber(pending) - 1)
else
  return redis.call('DEL', KEYS[2])
end
redis.call('SET', KEYS[2], session .. '|' .. started .. '|' .. pending .. '|' .. device, 'KEEPTTL')
return 0
