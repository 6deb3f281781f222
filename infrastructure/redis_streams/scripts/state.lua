-- What there is in a tract's inbox.
--
-- KEYS  log     ARGV  tract
-- Replies {{what level_words tells}, 1 if ordered, dead letters, {priority, recipient, how many, first slot, ...},
--          {consumer or "", slot, attempt, ...}}

local tract = ARGV[1]
local pending, counts = {}, redis.call('HGETALL', of('pending', tract))
for place = 1, #counts, 2 do
  local priority, recipient = string.match(counts[place], '^(%d+) (.*)$')
  local urgency = text(9 - tonumber(priority))
  local first = redis.call('ZRANGE', queue(tract, recipient), '[' .. urgency, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  for _, told in ipairs({priority, recipient, counts[place + 1], string.match(first, '^%d:(%d+)')}) do
    pending[#pending + 1] = told
  end
end

local flying = {}
for _, lease in ipairs(redis.call('ZRANGE', of('due', tract), 0, -1)) do
  local consumer = redis.call('HGET', of('holder', tract), lease) or ''
  local held = redis.call('HGETALL', lease_key(tract, lease))
  for place = 1, #held, 2 do
    local _, attempt = held_of(held[place + 1])
    for _, told in ipairs({consumer, held[place], attempt}) do flying[#flying + 1] = told end
  end
end
local dead = redis.call('ZCARD', of('dead', tract))
return {level_words(tract), redis.call('HGET', of('level', tract), 'ordered') or '0', dead, pending, flying}
