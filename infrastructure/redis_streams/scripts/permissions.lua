-- Which commands that the log needs its user may not run. Nothing is run but this: a script that meets a forbidden
-- command ends there, and what it has written by then stays.
--
-- Every command is whole. One whose arguments are missing crashes the server here, Redis 7.0 and Valkey 9 alike.
--
-- KEYS  log, then keys of every other kind; the server itself looks whether the user may touch them
-- Replies {names of commands}; empty from a server that cannot tell.

local log, forbidden = KEYS[1], {}
local commands = {
  {'XADD', log, '*', 'field', 'value'}, {'XRANGE', log, '-', '+'}, {'XLEN', log},
  {'HSET', log, 'field', 'value'}, {'HGET', log, 'field'}, {'HMGET', log, 'field'},
  {'SETRANGE', log, '0', 'value'}, {'GETRANGE', log, '0', '0'}, {'STRLEN', log}, {'EXISTS', log}, {'TIME'},
  {'PUBLISH', log, 'message'}, {'SUBSCRIBE', log}, {'PING'},
  {'ZADD', log, '0', 'member'}, {'ZREM', log, 'member'}, {'ZRANGE', log, '0', '0'}, {'ZSCORE', log, 'member'}, {'ZCARD', log},
  {'ZRANGEBYSCORE', log, '0', '0'}, {'HGETALL', log}, {'HDEL', log, 'field'}, {'HINCRBY', log, 'field', '1'},
}
for _, command in ipairs(redis.acl_check_cmd and commands or {}) do
  local known, allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not (known and allowed) then forbidden[#forbidden + 1] = command[1] end
end
return forbidden
