-- Puts what a credential names. One that has ended stays so: a write that comes late does not bring it back.
--
-- KEYS: credential. ARGV: value, ended value's suffix, how it expires (PX, PXAT or empty), that time in milliseconds.
local stands = redis.call('GET', KEYS[1])
if stands and string.sub(stands, -#ARGV[2]) == ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1], ARGV[3], ARGV[4]) end
return 1
