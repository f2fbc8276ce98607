-- Counts what was spent of a limit, or, where it would pass the bound, counts nothing.
--
-- KEYS[1]: when nothing of it is used any more, in microseconds of Redis' clock since 1970.
-- ARGV[1]: what is spent, ARGV[2]: how much may be used in all (empty: any amount, for it was spent
-- already); both in microseconds until it is unused again. Replies 1 if it was counted, else 0, and
-- for how many microseconds more some of it is used.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - now, 0)
local after = used + ARGV[1]
if ARGV[2] ~= '' and after > tonumber(ARGV[2]) then return {'0', string.format('%.0f', used)} end
redis.call('SET', KEYS[1], string.format('%.0f', now + after), 'PX', string.format('%.0f', math.ceil(after / 1000) + 1))
return {'1', string.format('%.0f', after)}
