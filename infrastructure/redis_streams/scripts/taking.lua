-- Handing out messages of a tract to a consumer, as a lease. Put before the scripts that do; inbox.lua goes before it.

local LARGE = 262144  -- bytes of states, of which the first may have more

local function waits(tract, consumer)  -- whether there is something to take
  return redis.call('EXISTS', queue(tract, ''), queue(tract, consumer)) > 0
end

local function again(tract, lease)  -- what a lease that there is already holds: {slot, priority, attempt, ...}
  local handed, held = {}, redis.call('HGETALL', lease_key(tract, lease))
  for place = 1, #held, 2 do
    local priority, attempt = held_of(held[place + 1])
    for _, told in ipairs({held[place], priority, attempt}) do handed[#handed + 1] = told end
  end
  return handed
end

local function hand_run(tract, lease, demand, handed, run, recipient)
  local urgency, slot, count, attempts = string.match(run, '^(%d):(%d+):(%d+):(%d+)$')
  local priority, attempt = 9 - tonumber(urgency), tonumber(attempts) + 1
  slot, count = tonumber(slot), tonumber(count)
  redis.call('ZREM', queue(tract, recipient), run)
  count_pending(tract, priority, recipient, -count)
  local many = math.min(count, demand - #handed / 3)
  local held, fields = held_as(priority, attempt, recipient), {}
  for place = slot, slot + many - 1 do
    local name = text(place)
    handed[#handed + 1], handed[#handed + 2], handed[#handed + 3] = name, priority, attempt
    fields[#fields + 1], fields[#fields + 2] = name, held
  end
  redis.call('HSET', lease_key(tract, lease), unpack(fields))
  if many < count then make_ready(tract, priority, slot + many, count - many, attempt - 1, recipient) end
end

local function fill(tract, consumer, lease, demand)  -- runs of both queues, in their common order
  local handed, queues = {}, {}
  for place, recipient in ipairs({'', consumer}) do
    local runs = redis.call('ZRANGE', queue(tract, recipient), 0, demand)
    queues[place] = {recipient = recipient, runs = runs, next = 1}
  end
  local shared, own = queues[1], queues[2]
  while #handed < demand * 3 do
    local first, second = shared.runs[shared.next], own.runs[own.next]
    local from = (not first or (second and second < first)) and own or shared
    local run = from.runs[from.next]
    if not run then return handed, false end
    from.next = from.next + 1
    hand_run(tract, lease, demand, handed, run, from.recipient)
  end
  return handed, waits(tract, consumer)
end

local function entries_of(handed)  -- of those that are large, the first only
  local entries, seen, bytes = {}, {}, 0
  for place = 1, #handed, 3 do
    local position = text(math.floor(tonumber(handed[place]) / 1000))
    if bytes < LARGE and not seen[position] then
      local found = redis.call('XRANGE', KEYS[1], position .. '-0', position .. '-0')[1]
      seen[position] = true
      bytes = bytes + #found[2][12]
      entries[#entries + 1] = found
    end
  end
  return entries
end

local function is_newest(tract, consumer, generation)
  return redis.call('HGET', of('generations', tract), consumer) == generation
end

-- {1 if more is waiting, milliseconds until something is due or "", {slot, priority, attempt, ...}, {entries},
-- generation of the circuit}, and how many were handed out.
local function take(tract, consumer, lease, demand, wait)
  local now, next_due = milliseconds(), release_due(tract)
  local handed, left, generation, probes = again(tract, lease), nil, nil, nil
  if #handed > 0 then
    generation = redis.call('HGET', of('circuit', tract), lease) or '0'
  else
    local gate = redis.call('HMGET', of('level', tract), 'passage', 'generation', 'permits')
    generation, probes = gate[2] or '0', gate[1] == 'probing'
    if gate[1] == 'shut' then demand = 0 elseif probes then demand = math.min(demand, tonumber(gate[3])) end
    if demand > 0 then handed, left = fill(tract, consumer, lease, demand) end
    if #handed > 0 then
      redis.call('ZADD', of('due', tract), text(now + wait), lease)
      redis.call('HSET', of('holder', tract), lease, consumer)
      if generation ~= '0' then redis.call('HSET', of('circuit', tract), lease, generation) end
      if probes then redis.call('HINCRBY', of('level', tract), 'permits', -#handed / 3) end
      next_due = math.min(next_due or math.huge, now + wait)
    end
  end
  if left == nil then left = waits(tract, consumer) end
  return {left and 1 or 0, next_due and text(next_due - now) or '', handed, entries_of(handed), generation}, #handed / 3
end

