-- Let a lease end later.
--
-- KEYS  log     ARGV  tract, lease, milliseconds from now
-- Replies 1, or 0 when it has ended.

local ends, now = redis.call('ZSCORE', of('due', ARGV[1]), ARGV[2]), milliseconds()
if not ends or tonumber(ends) <= now then return 0 end
redis.call('ZADD', of('due', ARGV[1]), text(now + tonumber(ARGV[3])), ARGV[2])
return 1
