-- Make an empty namespace a log of this layout, or tell whose it is. Of several at once, the first one's epoch stays.
-- A log of the layout before has all that this one needs.
--
-- KEYS  meta, head, log     ARGV  layout, epoch for a new log, layout before
-- Replies {layout, epoch, head or 0, its chain, entries of the log}; layout is "" when there is a log but no meta.

local meta, head, log = KEYS[1], KEYS[2], KEYS[3]
local entries = redis.call('XLEN', log)
local layout = redis.call('HGET', meta, 'layout')
if not layout and entries == 0 and redis.call('EXISTS', head) == 0 then
  redis.call('HSET', meta, 'layout', ARGV[1], 'epoch', ARGV[2])
  layout = ARGV[1]
end
if layout == ARGV[3] then
  redis.call('HSET', meta, 'layout', ARGV[1])
  layout = ARGV[1]
end
local tip = redis.call('HMGET', head, 'position', 'chain')
return {layout or '', redis.call('HGET', meta, 'epoch') or '', tip[1] or '0', tip[2] or string.rep('0', 40), entries}
