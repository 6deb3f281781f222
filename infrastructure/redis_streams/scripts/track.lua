-- Record how far an application's events have been processed, and what came of it, together.
--
-- KEYS  tracking, then every key that a command below touches
-- ARGV  application, position, then for each command how many words it has, and those
-- Replies {"OK"}, or {"TRACKED", position} when the position is not beyond this one.

local reached = redis.call('HGET', KEYS[1], ARGV[1])
if reached and tonumber(reached) >= tonumber(ARGV[2]) then return {'TRACKED', reached} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local next = 3
while next <= #ARGV do
  local last = next + tonumber(ARGV[next])
  redis.call(unpack(ARGV, next + 1, last))
  next = last + 1
end
return {'OK'}
