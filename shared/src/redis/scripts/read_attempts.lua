-- Tells what is remembered of failed logins, and the time.
--
-- KEYS: any number. Replies with milliseconds of Redis' clock, and the value of each key; empty
-- where there is none.
local time = redis.call('TIME')
local reply = {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
for _, key in ipairs(KEYS) do table.insert(reply, redis.call('GET', key) or '') end
return reply
