-- Hold the least urgent messages that wait in a tract, of whatever recipient; none, when there are fewer. Taking.lua goes
-- before it.
--
-- KEYS  log     ARGV  tract, lease, how many, below which priority, milliseconds until the lease ends
-- Replies {slot, priority, attempts so far, ...}; for a lease that there is already, what it holds.

local tract, lease, demand, below, wait = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
release_due(tract)
local held = again(tract, lease)
if #held > 0 or redis.call('HGET', of('level', tract), 'ordered') == '1' then return held end

local recipients, there, counts = {}, 0, redis.call('HGETALL', of('pending', tract))
for place = 1, #counts, 2 do
  local priority, recipient = string.match(counts[place], '^(%d+) (.*)$')
  if tonumber(priority) < below then
    recipients[recipient] = true
    there = there + tonumber(counts[place + 1])
  end
end
if there < demand then return {} end  -- else the last in order are all of these

local runs = {}
for recipient in pairs(recipients) do
  for _, run in ipairs(redis.call('ZRANGE', queue(tract, recipient), 0, demand - 1, 'REV')) do
    runs[#runs + 1] = {text = run, recipient = recipient}
  end
end
table.sort(runs, function(one, other) return one.text > other.text end)

for _, run in ipairs(runs) do
  local urgency, slot, count, attempts = string.match(run.text, '^(%d):(%d+):(%d+):(%d+)$')
  local priority = 9 - tonumber(urgency)
  slot, count = tonumber(slot), tonumber(count)
  local many, fields = math.min(count, demand - #held / 3), {}
  redis.call('ZREM', queue(tract, run.recipient), run.text)
  count_pending(tract, priority, run.recipient, -count)
  if many < count then make_ready(tract, priority, slot, count - many, tonumber(attempts), run.recipient) end
  for place = slot + count - many, slot + count - 1 do
    held[#held + 1], held[#held + 2], held[#held + 3] = text(place), priority, attempts
    fields[#fields + 1], fields[#fields + 2] = text(place), held_as(priority, attempts, run.recipient)
  end
  redis.call('HSET', lease_key(tract, lease), unpack(fields))
  if #held == demand * 3 then break end
end
redis.call('ZADD', of('due', tract), text(milliseconds() + wait), lease)
return held
