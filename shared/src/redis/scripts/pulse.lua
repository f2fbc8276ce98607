-- Tells which contents these are, and how far the change feed reaches.
--
-- KEYS: snapshot, changes. Replies as feed::Pulse::parse reads: 1 or 0 for whole, run_id, epoch,
-- build, caught_up_at, Redis' time, the id of the feed's first entry (empty if there is none), the
-- id that it last gave (empty if there is no feed), 1 if any entry was ever removed.
local snapshot = redis.call('HMGET', KEYS[1], 'run_id', 'epoch', 'build', 'caught_up_at')
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local time = redis.call('TIME')
local first, last, removed = '', '', '0'
if redis.call('EXISTS', KEYS[2]) == 1 then
  local stream = redis.call('XINFO', 'STREAM', KEYS[2])
  local fields = {}
  for i = 1, #stream, 2 do fields[stream[i]] = stream[i + 1] end
  last = fields['last-generated-id']
  if fields['entries-added'] ~= fields['length'] then removed = '1' end
  local entries = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
  if entries[1] then first = entries[1][1] end
end
return {snapshot[1] == run_id and '1' or '0', run_id, snapshot[2] or '', snapshot[3] or '', snapshot[4] or '',
  string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), first, last, removed}
