-- Hand out messages of a tract to a consumer, as a lease.
--
-- KEYS  log     ARGV  tract, consumer, generation, lease, demand, milliseconds until the lease ends
-- Replies {"REPLACED"}, or {"OK", 1 if more is waiting, milliseconds until something is due or "",
--          {slot, priority, attempt, ...}, {entries of the log that hold them}}; for a lease that there is already,
--          what it holds. Of entries that are large, the first only.

local tract, consumer, generation, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local demand, wait = tonumber(ARGV[5]), tonumber(ARGV[6])
local LARGE = 262144  -- bytes of states, of which the first may have more
local now = milliseconds()
local handed = {}

local function hand(slot, priority, attempt)
  for _, told in ipairs({slot, priority, attempt}) do handed[#handed + 1] = told end
end

local function again()  -- a take whose reply was lost
  local held = redis.call('HGETALL', lease_key(tract, lease))
  for place = 1, #held, 2 do
    local priority, attempt = held_of(held[place + 1])
    hand(held[place], priority, attempt)
  end
end

local function hand_run(priority, slot, count, attempts, recipient)
  count_pending(tract, priority, recipient, -count)
  local many = math.min(count, demand - #handed / 3)
  local held, fields = held_as(priority, attempts + 1, recipient), {}
  for place = slot, slot + many - 1 do
    hand(text(place), priority, attempts + 1)
    fields[#fields + 1], fields[#fields + 2] = text(place), held
  end
  redis.call('HSET', lease_key(tract, lease), unpack(fields))
  if many < count then make_ready(tract, priority, slot + many, count - many, attempts, recipient) end
end

local function fill()  -- runs of both queues, in their common order
  local queues = {}
  for place, recipient in ipairs({'', consumer}) do
    local runs = redis.call('ZRANGE', queue(tract, recipient), 0, demand - 1)
    queues[place] = {recipient = recipient, runs = runs, next = 1}
  end
  local shared, own = queues[1], queues[2]
  while #handed < demand * 3 do
    local first, second = shared.runs[shared.next], own.runs[own.next]
    local from = (not first or (second and second < first)) and own or shared
    local run = from.runs[from.next]
    if not run then break end
    local urgency, slot, count, attempts = string.match(run, '^(%d):(%d+):(%d+):(%d+)$')
    redis.call('ZREM', queue(tract, from.recipient), run)
    from.next = from.next + 1
    hand_run(9 - tonumber(urgency), tonumber(slot), tonumber(count), tonumber(attempts), from.recipient)
  end
end

if redis.call('HGET', of('generations', tract), consumer) ~= generation then return {'REPLACED'} end
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', of('due', tract), '-inf', text(now), 'LIMIT', 0, 64)) do
  release(tract, ended)
end
again()
if #handed == 0 and demand > 0 then
  fill()
  if #handed > 0 then
    redis.call('ZADD', of('due', tract), text(now + wait), lease)
    redis.call('HSET', of('holder', tract), lease, consumer)
  end
end
local left = redis.call('EXISTS', queue(tract, ''), queue(tract, consumer)) > 0 and 1 or 0
local first_due = redis.call('ZRANGE', of('due', tract), 0, 0, 'WITHSCORES')[2]

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
return {'OK', left, first_due and text(math.max(0, tonumber(first_due) - now)) or '', handed, entries}
