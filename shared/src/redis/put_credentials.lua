-- Puts what credentials name. One that has ended stays so: a write that comes late does not bring it back. Nor does it shorten how
-- long one stands.
--
-- KEYS: credentials.
-- ARGV: ended value's suffix, a JSON list in the order of the keys: value, how it expires (PX, PXAT or empty), that time in
-- milliseconds (as a text).
-- Replies how many were put.
local suffix, count = ARGV[1], 0
for n, credential in ipairs(cjson.decode(ARGV[2])) do
  local value, how, ends_ms = unpack(credential)
  local stands = redis.call('GET', KEYS[n])
  local has_ended = stands and string.sub(stands, -#suffix) == suffix
  local stands_longer = stands == value and how == 'PXAT' and redis.call('PEXPIRETIME', KEYS[n]) > tonumber(ends_ms)
  if not has_ended and not stands_longer then
    if how == '' then redis.call('SET', KEYS[n], value) else redis.call('SET', KEYS[n], value, how, ends_ms) end
    count = count + 1
  end
end
return count
