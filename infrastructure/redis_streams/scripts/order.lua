-- Set whether a tract is ordered.
--
-- KEYS  log     ARGV  tract, 1 or 0
-- Replies 1, or 0 when that would change and the tract holds messages or dead letters.

local level = of('level', ARGV[1])
local is = redis.call('HMGET', level, 'ordered', 'backlog')
if (is[1] or '0') == ARGV[2] then return 1 end
if tonumber(is[2] or '0') > 0 or redis.call('EXISTS', of('dead', ARGV[1])) == 1 then return 0 end
redis.call('HSET', level, 'ordered', ARGV[2])
return 1
