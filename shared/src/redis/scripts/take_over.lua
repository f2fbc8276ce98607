-- Moves a token to this device from whichever has it, and tells both planes: what the other has
-- open ends. It judges as `admit` does, in the same order but for the scope, for no path is asked
-- for; it starts no clock. The last taker has it.
--
-- The device has the lease as if it had asked and nothing had reached the upstream yet: so that the
-- other one, which may try again at once, does not come before its first request.
--
-- KEYS: token, lease, changes, usage, snapshot. ARGV: credential_gen, device, the session's id,
-- lease_ms, the networks that the client's address was judged by (where the token has others they
-- are told instead, and nothing is taken), token_id, changes_length, what the control plane is
-- told, and where in a trace this stands (or empty). Replies as replies::TakeOver::parse reads.
local snapshot = redis.call('HGET', KEYS[5], 'run_id')
if snapshot ~= string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') then return {'partial'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local token = redis.call('HMGET', KEYS[1], 'state', 'credential_gen', 'expires_at', 'networks')
if not token[1] then return {'unknown'} end
if token[2] ~= ARGV[1] then return {'revoked'} end
if token[1] == 'suspended' then return {'suspended'} end
if token[1] ~= 'live' then return {'revoked'} end
if token[3] and tonumber(token[3]) <= now then return {'expired'} end
local networks = token[4] or ''
if networks ~= ARGV[5] then return {'guarded', networks} end
local session, device = string.match(redis.call('GET', KEYS[2]) or '', '^([^|]*)|[^|]*|[^|]*|(.*)$')
if not device or device == ARGV[2] then return {'unneeded'} end
redis.call('SET', KEYS[2], ARGV[3] .. '|' .. string.format('%.0f', now) .. '|0|' .. ARGV[2], 'PX', ARGV[4])
redis.call('HSET', KEYS[1], 'released', session)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'token', ARGV[6])
if ARGV[9] == '' then
  redis.call('XADD', KEYS[4], '*', 'event', ARGV[8])
else
  redis.call('XADD', KEYS[4], '*', 'event', ARGV[8], 'traceparent', ARGV[9])
end
return {'taken'}
