-- Let senders of a process's waiting room in, as far as that does not bring it more than once for each of its senders
-- ahead of another one's.
--
-- KEYS  log     ARGV  tract, room, how many it has room for, how many wait there, milliseconds that it is known for then
-- Replies how many.

local tract, room, wanted, waiting, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now, own, was_idle, others = milliseconds(), nil, nil, nil
local rooms = redis.call('HGETALL', of('waiting', tract))
for place = 1, #rooms, 2 do
  local rounds, due, idle = string.match(rooms[place + 1], '^(%S+) (%d+)(.*)$')
  rounds = tonumber(rounds)
  if tonumber(due) <= now then
    redis.call('HDEL', of('waiting', tract), rooms[place])
  elseif rooms[place] == room then
    own, was_idle = rounds, idle ~= ''
  elseif idle == '' then
    others = math.min(others or rounds, rounds)
  end
end
if not own or was_idle then own = math.max(own or 0, others or 0) end  -- who comes has missed nothing
local allowed = others and math.max(0, math.min(wanted, math.floor((others + 1 - own) * waiting))) or wanted
redis.call('HSET', of('waiting', tract), room, string.format('%.17g ', own + allowed / waiting) .. text(now + lease))
return allowed
