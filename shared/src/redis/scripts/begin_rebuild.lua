-- Says that Redis is not whole, and who is filling it. A flush meanwhile takes this note away, and
-- so finish_rebuild fails.
--
-- KEYS: snapshot. ARGV: build.
redis.call('DEL', KEYS[1])
return redis.call('HSET', KEYS[1], 'building', ARGV[1])
