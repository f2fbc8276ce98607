-- Bars a token while its refund is settled, unless it was used or is being used for the first time.
-- Repeating it gives the same answer. It names the version that carries the request, so that one
-- that arrives late bars no token that came back into use.
--
-- KEYS: token. ARGV: version. Replies as replies::Bar::parse reads.
local token = redis.call('HMGET', KEYS[1], 'state', 'activated_at', 'version')
if not token[1] then return {'unknown'} end
if token[2] then return {'activated', token[2]} end
if token[3] ~= ARGV[1] then return {'unknown'} end
if token[1] == 'revoked' or token[1] == 'barred' then return {'barred'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 6) == 'claim:' then
    if tonumber(fields[i + 1]) > now then return {'claimed'} end
    redis.call('HDEL', KEYS[1], fields[i])
  end
end
redis.call('HSET', KEYS[1], 'state', 'barred')
return {'barred'}
