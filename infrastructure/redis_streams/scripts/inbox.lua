-- The inbox: messages on their way to the consumers of a tract. Put before the scripts that work on it.
--
-- KEYS[1] is the log's; the inbox's follow from it:
--   ready:<tract>, ready:<tract>@<recipient>   sorted sets of runs "9-priority:slot:count:attempts so far", by text
--   lease:<tract>:<lease>    hash: slot -> "priority attempt recipient", what is handed out and not settled
--   due:<tract>              sorted set: lease -> when it ends
--   holder:<tract>           hash: lease -> consumer
--   dead:<tract>             sorted set: slots of dead letters, by slot; they are held under the lease "dead"
--   near:<tract>             hash: slot of a dead letter -> position of the first event of the append that made it one
--   level:<tract>            hash: backlog, capacity, ordered; and what the gate lets through: passage, generation, permits,
--                            retry_at. A field that is missing was never set: 0, or free
--   circuit:<tract>          hash: lease -> the gate's generation under which it was given, unless that was 0
--   pending:<tract>          hash: "priority recipient" -> how many of them are ready
--   generations:<tract>      hash: consumer -> how often it has joined
--   heads:<tract>            hash: dialogue -> slot; in an ordered tract, the one message of it that is not in line
--   waiting:<tract>          hash: waiting room -> "how often each sender was let in, until when it is known",
--                            and " idle" when nobody waits there now
--   line:<tract>:<dialogue>  sorted set of runs "slot:count:priority:recipient", by text
-- A pause before a message is handed out again is a lease of nobody. So is what is held to be shed, with the attempt that
-- it has had.

local prefix = string.sub(KEYS[1], 1, -4)

local function of(kind, tract) return prefix .. kind .. ':' .. tract end
local function lease_key(tract, lease) return prefix .. 'lease:' .. tract .. ':' .. lease end
local function text(number) return string.format('%.0f', number) end
local function held_as(priority, attempt, recipient) return priority .. ' ' .. attempt .. ' ' .. recipient end
local function held_of(value) return string.match(value or '', '^(%d+) (%d+) (.*)$') end  -- the three again

local clock
local function milliseconds()  -- one time for all of a script
  if not clock then
    local time = redis.call('TIME')
    clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return clock
end

local function ring(tract, who) redis.call('PUBLISH', of('bell', tract), who) end  -- who rings need not be told

local function queue(tract, recipient)
  return of('ready', tract) .. (recipient ~= '' and '@' .. recipient or '')
end

local function count_pending(tract, priority, recipient, count)
  local field = text(priority) .. ' ' .. recipient
  if redis.call('HINCRBY', of('pending', tract), field, count) == 0 then redis.call('HDEL', of('pending', tract), field) end
end

local function make_ready(tract, priority, slot, count, attempts, recipient)
  count_pending(tract, priority, recipient, count)
  redis.call('ZADD', queue(tract, recipient), 0,
    string.format('%d:%016.0f:%d:%d', 9 - priority, slot, count, attempts))
end

local function level_words(tract)
  return redis.call('HMGET', of('level', tract), 'backlog', 'capacity', 'passage', 'generation', 'permits', 'retry_at')
end

local function drop_lease(tract, lease)
  redis.call('ZREM', of('due', tract), lease)
  redis.call('HDEL', of('holder', tract), lease)
  redis.call('HDEL', of('circuit', tract), lease)
end

local function give_back(tract, lease, permits)  -- unless the circuit has moved on since the lease; whether it is so
  local gate = redis.call('HMGET', of('level', tract), 'passage', 'generation')
  if gate[1] ~= 'probing' or redis.call('HGET', of('circuit', tract), lease) ~= gate[2] then return false end
  redis.call('HINCRBY', of('level', tract), 'permits', permits)
  return true
end

local function release(tract, lease)  -- what it still holds is to be had again, its permits too
  local held = redis.call('HGETALL', lease_key(tract, lease))
  for place = 1, #held, 2 do
    local priority, attempt, recipient = held_of(held[place + 1])
    make_ready(tract, tonumber(priority), tonumber(held[place]), 1, tonumber(attempt), recipient)
    redis.call('HDEL', lease_key(tract, lease), held[place])
  end
  if #held > 0 and give_back(tract, lease, #held / 2) then ring(tract, '') end
  drop_lease(tract, lease)
end

local function release_due(tract)  -- the leases that have ended; when the next one will, nil for none
  local now = milliseconds()
  while true do
    local due = redis.call('ZRANGE', of('due', tract), 0, 0, 'WITHSCORES')
    if not due[1] or tonumber(due[2]) > now then return tonumber(due[2]) end
    release(tract, due[1])
  end
end

