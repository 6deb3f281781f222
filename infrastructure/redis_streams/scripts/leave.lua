-- Nobody waits in a process's waiting room now.
--
-- KEYS  log     ARGV  tract, room

local rooms = of('waiting', ARGV[1])
local known = redis.call('HGET', rooms, ARGV[2])
if known and not string.find(known, 'idle') then redis.call('HSET', rooms, ARGV[2], known .. ' idle') end
return 1
