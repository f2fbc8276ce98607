-- Ends the turn of an edge to order from an ACME authority, if it is still its own.
--
-- KEYS: turn. ARGV: turn. Replies 1 if it was.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
