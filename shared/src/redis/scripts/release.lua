-- Frees a token for other devices, if this device holds it, and tells the edges: what the device
-- has open ends.
--
-- KEYS: token, lease, changes. ARGV: token_id, device, changes_length. Replies 1 if it held it.
local session, device = string.match(redis.call('GET', KEYS[2]) or '', '^([^|]*)|[^|]*|[^|]*|(.*)$')
if device ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'released', session) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'token', ARGV[1])
return 1
