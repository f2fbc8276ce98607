-- Replaces what is remembered of failed logins, all of it or, where any of it is not what was read
-- any more, nothing.
--
-- KEYS: any number. ARGV: for each key the value that was read, the new one (empty: none), and
-- after how many milliseconds it is forgotten. Replies 1 if it was replaced.
for i, key in ipairs(KEYS) do
  if (redis.call('GET', key) or '') ~= ARGV[3 * i - 2] then return 0 end
end
for i, key in ipairs(KEYS) do
  if ARGV[3 * i - 1] == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, ARGV[3 * i - 1], 'PX', ARGV[3 * i])
  end
end
return 1
