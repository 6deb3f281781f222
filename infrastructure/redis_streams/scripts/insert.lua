-- Store events of aggregates that have no place in a log, such as snapshots: all of them, or none.
--
-- KEYS  a sorted set for each aggregate
-- ARGV  for each event: its aggregate's number, version, what is stored
-- Replies {"OK"}, or {"REFUSED"} when a version is taken.

local seen = {}
for event = 1, #ARGV, 3 do
  local name = ARGV[event] .. ':' .. ARGV[event + 1]
  local set = KEYS[tonumber(ARGV[event])]
  if seen[name] or redis.call('ZCOUNT', set, ARGV[event + 1], ARGV[event + 1]) > 0 then return {'REFUSED'} end
  seen[name] = true
end
for event = 1, #ARGV, 3 do
  redis.call('ZADD', KEYS[tonumber(ARGV[event])], ARGV[event + 1], ARGV[event + 2])
end
return {'OK'}
