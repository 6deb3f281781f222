-- Who holds a message.
--
-- KEYS  log     ARGV  tract, slot
-- Replies {}, or {consumer or "" for a pause, attempt, milliseconds until it ends}

local tract, slot, now = ARGV[1], ARGV[2], milliseconds()
local leases = redis.call('ZRANGE', of('due', tract), 0, -1, 'WITHSCORES')
for place = 1, #leases, 2 do
  local _, attempt = held_of(redis.call('HGET', lease_key(tract, leases[place]), slot))
  if attempt then
    local consumer = redis.call('HGET', of('holder', tract), leases[place]) or ''
    return {consumer, attempt, text(math.max(0, tonumber(leases[place + 1]) - now))}
  end
end
return {}
