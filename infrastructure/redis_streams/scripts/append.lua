-- Append events to the log, with idempotency keys and a tracking record: all of it, or nothing.
--
-- A script is atomic, but a call that fails half way does not undo those before it. So everything is checked
-- first, the user's permissions too, and what is written then cannot fail.
--
-- KEYS  log, head, meta, tracking, then a version index for each aggregate, then a key table for each aggregate
-- ARGV  epoch; seen position, its chain; 1 when this repeats an append of unknown outcome;
--       how many aggregates, events, keys; tracked application or "", its position;
--       for each event: its aggregate's number, id, version, topic, digest, state;
--       for each key: its aggregate's number, its event's number, key, sequence, digest
--
-- Replies
--   {"OK", position of the first event, chain of the last}
--   {"LOST", head}                    the log is another one, or the entry at the seen position is
--   {"TRACKED", position}             the tracked position is not beyond this one
--   {"REFUSED", {numbers of events whose version is taken}, {number of a key, what its table holds, ...}}

local log, head, meta, tracking = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, seen, seen_chain, repeated = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local aggregates, events, keys = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local application, tracked = ARGV[8], ARGV[9]
local EVENTS, EVENT, KEY = 10, 6, 5
local first_key = EVENTS + events * EVENT

local function index(aggregate) return KEYS[4 + aggregate] end
local function table_of(aggregate) return KEYS[4 + aggregates + aggregate] end
local function text(number) return string.format('%.0f', number) end

local function entry(position)  -- id, topic, version, at, chain and state stand at the even places
  local found = redis.call('XRANGE', log, text(position) .. '-0', text(position) .. '-0')[1]
  return found and found[2]
end

local function position_of(aggregate, version)  -- 0 when there is none
  local packed = redis.call('GETRANGE', index(aggregate), text(version * 8), text(version * 8 + 7))
  return #packed == 8 and struct.unpack('>I8', packed) or 0
end

local tip = redis.call('HMGET', head, 'position', 'chain', 'at')
local position, chain, at = tonumber(tip[1] or '0'), tip[2] or string.rep('0', 40), tonumber(tip[3] or '0')

if redis.call('HGET', meta, 'epoch') ~= epoch then return {'LOST', text(position)} end
if tonumber(seen) ~= position or seen_chain ~= chain then
  local there = tonumber(seen) == 0 or entry(seen)
  if not there or (there ~= true and there[10] ~= seen_chain) then return {'LOST', text(position)} end
end

if repeated and events > 0 then
  local first, last = nil, nil
  for number = 1, events do
    local event = EVENTS + (number - 1) * EVENT
    local place = position_of(tonumber(ARGV[event]), tonumber(ARGV[event + 2]))
    last = place > 0 and entry(place)
    if not last or last[6] ~= ARGV[event + 3] or last[12] ~= ARGV[event + 5] then break end
    first = first or place
    if number == events then return {'OK', text(first), last[10]} end
  end
end

if application ~= '' then
  local reached = redis.call('HGET', tracking, application)
  if repeated and events == 0 and reached == tracked then return {'OK', text(position + 1), chain} end
  if reached and tonumber(reached) >= tonumber(tracked) then return {'TRACKED', reached} end
end

local conflicts, duplicates, seen_versions = {}, {}, {}
for number = 1, events do
  local event = EVENTS + (number - 1) * EVENT
  local name = ARGV[event] .. ':' .. ARGV[event + 2]
  if seen_versions[name] or position_of(tonumber(ARGV[event]), tonumber(ARGV[event + 2])) > 0 then
    conflicts[#conflicts + 1] = number
  end
  seen_versions[name] = true
end
for number = 1, keys do
  local key = first_key + (number - 1) * KEY
  local found = redis.call('HGET', table_of(tonumber(ARGV[key])), ARGV[key + 2])
  if found then
    duplicates[#duplicates + 1] = number
    duplicates[#duplicates + 1] = found
  end
end
if #conflicts > 0 or #duplicates > 0 then return {'REFUSED', conflicts, duplicates} end
if not (redis.acl_check_cmd('XADD', log, '*', 'id', '') and redis.acl_check_cmd('SETRANGE', log, '0', '')
    and redis.acl_check_cmd('HSET', head, 'at', '') and redis.acl_check_cmd('PUBLISH', log, '')) then
  return redis.error_reply('NOPERM this user needs XADD, SETRANGE, HSET and PUBLISH, and the channel ' .. log)
end

local time = redis.call('TIME')
at = math.max(at, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local now, before = text(at), position
for number = 1, events do
  local event = EVENTS + (number - 1) * EVENT
  position = position + 1
  chain = redis.sha1hex(chain .. ARGV[event + 4] .. now)
  redis.call('XADD', log, text(position) .. '-0', 'id', ARGV[event + 1], 'version', ARGV[event + 2],
    'topic', ARGV[event + 3], 'at', now, 'chain', chain, 'state', ARGV[event + 5])
  redis.call('SETRANGE', index(tonumber(ARGV[event])), text(tonumber(ARGV[event + 2]) * 8),
    struct.pack('>I8', position))
end
for number = 1, keys do
  local key = first_key + (number - 1) * KEY
  redis.call('HSET', table_of(tonumber(ARGV[key])), ARGV[key + 2],
    struct.pack('>I8I8', tonumber(ARGV[key + 3]), before + tonumber(ARGV[key + 1])) .. ARGV[key + 4])
end
if application ~= '' then redis.call('HSET', tracking, application, tracked) end
if events > 0 then
  redis.call('HSET', head, 'position', text(position), 'chain', chain, 'at', now)
  redis.call('PUBLISH', log, text(position))
end
return {'OK', text(before + 1), chain}
