-- Puts what credentials name. One that has ended stays so: a write that comes late does not bring
-- it back. Nor does it shorten how long one stands.
--
-- KEYS: credentials, each once. ARGV: ended value's suffix, then for each key its value or, if it
-- expires, `value|how|ms`: PX or PXAT, and that time in milliseconds. Replies how many were put.
local suffix, count = ARGV[1], 0
local stands, lasting = redis.call('MGET', unpack(KEYS)), {}
for n, key in ipairs(KEYS) do
  local value, how, ends_ms = ARGV[n + 1], nil, nil
  if string.find(value, '|', 1, true) then value, how, ends_ms = string.match(value, '^([^|]*)|([^|]*)|(.*)$') end
  local has_ended = stands[n] and string.sub(stands[n], -#suffix) == suffix
  local stands_longer = stands[n] == value and how == 'PXAT' and redis.call('PEXPIRETIME', key) > tonumber(ends_ms)
  if not has_ended and not stands_longer then
    if how then
      redis.call('SET', key, value, how, ends_ms)
    else
      lasting[#lasting + 1], lasting[#lasting + 2] = key, value
    end
    count = count + 1
  end
end
if #lasting > 0 then redis.call('MSET', unpack(lasting)) end
return count
