-- Tells what a credential names and, in the same instant, whether Redis holds all that Postgres
-- knows: an answer of "unknown" is worth nothing without that. The run id is read inside the
-- script, so that no reconnection can come between.
--
-- KEYS: snapshot, credential. Replies as replies::Finding::parse reads: 1 or 0 for whole,
-- caught_up_at (or empty), Redis' time, the credential's value (or empty).
local snapshot = redis.call('HMGET', KEYS[1], 'run_id', 'caught_up_at')
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local time = redis.call('TIME')
return {
  snapshot[1] == run_id and '1' or '0',
  snapshot[2] or '',
  string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)),
  redis.call('GET', KEYS[2]) or ''
}
