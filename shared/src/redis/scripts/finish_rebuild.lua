-- Says that Redis holds all that Postgres knows, if this is still the server, with the contents,
-- that was filled.
--
-- KEYS: snapshot. ARGV: build, epoch, run_id, 0 where there is no token whose activation could have
-- been lost (else 1). Replies 1 if it is.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('HGET', KEYS[1], 'building') ~= ARGV[1] or run_id ~= ARGV[3] then return 0 end
local time = redis.call('TIME')
redis.call('HDEL', KEYS[1], 'building')
redis.call('HSET', KEYS[1], 'build', ARGV[1], 'epoch', ARGV[2], 'run_id', ARGV[3])
if ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[1], 'built_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
end
return 1
