-- Tells what an edge saw.
--
-- KEYS: usage. ARGV: the events. Replies how many there were.
for _, event in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'event', event) end
return #ARGV
