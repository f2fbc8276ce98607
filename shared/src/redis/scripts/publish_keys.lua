-- Publishes keys that assertions are verified with, and tells all that are published.
--
-- KEYS[1]: the public keys, by the time when nothing is verified with each any more, in
-- milliseconds of Redis' clock since 1970. ARGV[1]: how many are kept, those that last longest;
-- then in turn each key that is published, and for how many milliseconds more. Replies in turn each
-- key, and for how many milliseconds more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[i + 1]), ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, string.format('%.0f', -ARGV[1] - 1))
local kept = redis.call('ZREVRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if kept[2] then redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', kept[2])) end
for i = 2, #kept, 2 do kept[i] = string.format('%.0f', kept[i] - now) end
return kept
