-- A consumer joins a tract: a new generation of its name. What an earlier one held is to be had at once.
--
-- KEYS  log     ARGV  tract, consumer
-- Replies the generation.

local tract, consumer = ARGV[1], ARGV[2]
local holders = redis.call('HGETALL', of('holder', tract))
for place = 1, #holders, 2 do
  if holders[place + 1] == consumer then
    release(tract, holders[place])
  end
end
ring(tract, '')  -- the earlier one must hear of it, too
return redis.call('HINCRBY', of('generations', tract), consumer, 1)
