-- Let senders of a process's waiting room in, as far as that does not bring it more than once for each of its senders
-- ahead of another one's.
--
-- KEYS  log     ARGV  tract, room, how many it has room for, how many wait there, milliseconds that it is known for then
-- Replies how many.

local tract, room, wanted, waiting, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now, own, own_due, was_idle, others = milliseconds(), nil, 0, false, nil
local rooms = redis.call('HGETALL', of('waiting', tract))
for place = 1, #rooms, 2 do
  local rounds, due, idle = string.match(rooms[place + 1], '^(%S+) (%d+)(.*)$')
  rounds, due = tonumber(rounds), tonumber(due)
  if due <= now then
    redis.call('HDEL', of('waiting', tract), rooms[place])
  elseif rooms[place] == room then
    own, own_due, was_idle = rounds, due, idle ~= ''
  elseif idle == '' then
    others = math.min(others or rounds, rounds)
  end
end
if not own or was_idle then own = math.max(own or 0, others or 0) end  -- who comes has missed nothing
local allowed = wanted
if others then
  local most = math.floor((others + 1 - own) * waiting)
  if own <= others then most = math.max(1, most) end  -- a fraction that was rounded must not keep back both
  allowed = math.max(0, math.min(wanted, most))
end
if own_due - now > lease / 2 and not was_idle and (not others or allowed == 0) then return allowed end
redis.call('HSET', of('waiting', tract), room, string.format('%.17g ', own + allowed / waiting) .. text(now + lease))
return allowed
