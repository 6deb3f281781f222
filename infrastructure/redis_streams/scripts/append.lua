-- Append events to the log, with idempotency keys, messages for the inbox, settlements of deliveries, changes of gates
-- and a tracking record: all of it, or nothing.
--
-- A script is atomic, but a call that fails half way does not undo those before it. So everything is checked
-- first, the user's permissions too, and what is written then cannot fail.
--
-- KEYS  log, head, meta, tracking, then a version index for each aggregate, then a key table for each aggregate
-- ARGV  epoch; seen position, its chain; 1 when this repeats an append of unknown outcome; who appends;
--       how many aggregates, events, keys; tracked application or "", its position; how many arrivals, settlements,
--       offers, changes of gates, settlements that are no calls; 1 when times are given;
--       for each event: its aggregate's number, id, version, topic, digest, state;
--       for each key: its aggregate's number, its event's number, key, sequence, digest;
--       for each arrival: its event's number, index of the first, how many, tract, priority, recipient or "", 1 if exempt;
--       for each settlement: tract, lease, slot, attempt, done | again | back | dead | shed, delay in milliseconds, dialogue;
--       for each offer: tract, consumer, generation, lease, demand, milliseconds until the lease ends;
--       for each change of a gate: tract, free | probing | shut, generation, permits, when to come back or "",
--       capacity or "" as it is;
--       numbers of the settlements that are no calls;
--       for each event, if times are given: its time in milliseconds
--
-- inbox.lua and taking.lua go before it.
--
-- Replies
--   {"OK", position of the first event, chain of the last, {tracts where something is left to take, or will be due},
--          {for each offer that was given something, as take.lua tells it; or false}}
--   {"OK", position of the first event, chain of the last}    it was appended before, and the rest is not known
--   {"LOST", head}                    the log is another one, or the entry at the seen position is
--   {"TRACKED", position}             the tracked position is not beyond this one
--   {"REFUSED", {numbers of events whose version is taken}, {number of a key, what its table holds, ...},
--               {tract that is full, {what level_words tells}, ...}, {numbers of settlements of lost leases},
--               {tract that is shut, {what level_words tells}, ...}}

local log, head, meta, tracking = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, seen, seen_chain, repeated = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local who = ARGV[5]
local aggregates, events, keys = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local application, tracked = ARGV[9], ARGV[10]
local arrivals, settlements, offers = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local gates, no_calls, timed = tonumber(ARGV[14]), tonumber(ARGV[15]), ARGV[16] == '1'
local EVENTS, EVENT, KEY, ARRIVAL, SETTLEMENT, OFFER, GATE = 17, 6, 5, 7, 7, 6, 6
local first_key = EVENTS + events * EVENT
local first_arrival = first_key + keys * KEY
local first_settlement = first_arrival + arrivals * ARRIVAL
local first_offer = first_settlement + settlements * SETTLEMENT
local first_gate = first_offer + offers * OFFER
local first_no_call = first_gate + gates * GATE
local first_time = first_no_call + no_calls
local function settlement_at(number) return first_settlement + (number - 1) * SETTLEMENT end

local function index(aggregate) return KEYS[4 + aggregate] end
local function table_of(aggregate) return KEYS[4 + aggregates + aggregate] end

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

local levels = {}
local function level_of(tract)  -- before this append
  levels[tract] = levels[tract] or redis.call('HMGET', of('level', tract), 'backlog', 'capacity', 'ordered', 'passage')
  return levels[tract]
end
local function ordered(tract) return level_of(tract)[3] == '1' end

local full, lost, shut, arriving, shed = {}, {}, {}, {}, {}
local touched, lending, burying = {}, {}, {}  -- tracts whose keys are written to
local function refuse(list, tract) list[#list + 1], list[#list + 2] = tract, level_words(tract) end
local function count_arriving(tract, count, exempt)
  local counted = arriving[tract] or {bounded = 0, all = 0}
  arriving[tract] = counted
  touched[tract] = true
  counted.all = counted.all + count
  if not exempt then counted.bounded = counted.bounded + count end
end
for number = 1, arrivals do
  local arrival = first_arrival + (number - 1) * ARRIVAL
  count_arriving(ARGV[arrival + 3], tonumber(ARGV[arrival + 2]), ARGV[arrival + 6] == '1')
end
for number = 1, settlements do
  local tract, lease, _, _, what = unpack(ARGV, settlement_at(number), settlement_at(number) + 4)
  if lease == 'dead' and what == 'again' then count_arriving(tract, 1, false) end
  if what == 'shed' then shed[tract] = (shed[tract] or 0) + 1 end
end
for tract, counted in pairs(arriving) do
  local level = level_of(tract)
  local backlog, capacity = tonumber(level[1] or '0'), tonumber(level[2] or '0')
  if counted.bounded > 0 then
    local more = counted.bounded - (shed[tract] or 0)
    if capacity > 0 and more > 0 and backlog + more > capacity then refuse(full, tract) end
    if level[4] == 'shut' then refuse(shut, tract) end
  end
end
local ending = {}  -- by the key of a lease: what of it is settled, and what is held of that
for number = 1, settlements do
  local tract, lease, slot = unpack(ARGV, settlement_at(number), settlement_at(number) + 2)
  local key = lease_key(tract, lease)
  ending[key] = ending[key] or {tract = tract, lease = lease, slots = {}, held = {}}
  table.insert(ending[key].slots, slot)
end
local function some_at_once(slots, act)  -- a call takes no more than some thousand arguments
  for first = 1, #slots, 1000 do act(first, math.min(first + 999, #slots)) end
end
for key, of_lease in pairs(ending) do
  some_at_once(of_lease.slots, function(first, last)
    local held = redis.call('HMGET', key, unpack(of_lease.slots, first, last))
    for place = first, last do of_lease.held[of_lease.slots[place]] = held[place - first + 1] end
  end)
end
local settled, seen_slots = {}, {}
for number = 1, settlements do
  local tract, lease, slot, handed, what = unpack(ARGV, settlement_at(number), settlement_at(number) + 4)
  local priority, attempt, recipient = held_of(ending[lease_key(tract, lease)].held[slot])
  if attempt ~= handed or seen_slots[tract .. slot] then
    lost[#lost + 1] = number
  else
    seen_slots[tract .. slot] = true  -- by who holds it: a late one must not take this one down with it
  end
  settled[number] = {priority = priority, recipient = recipient}
  touched[tract], lending[tract] = true, true
  if lease == 'dead' or what == 'dead' then burying[tract] = true end
end
if #conflicts + #duplicates + #full + #lost + #shut > 0 then
  return {'REFUSED', conflicts, duplicates, full, lost, shut}
end
for number = 1, gates do touched[ARGV[first_gate + (number - 1) * GATE]] = true end
local function allowed(...) return redis.acl_check_cmd(...) end
local function may_change(tract, sorted_sets, hashes)
  for _, kind in ipairs(sorted_sets) do
    if not (allowed('ZADD', of(kind, tract), '0', 'm') and allowed('ZREM', of(kind, tract), 'm')) then return false end
  end
  for _, kind in ipairs(hashes) do
    if not (allowed('HSET', of(kind, tract), 'f', 'v') and allowed('HDEL', of(kind, tract), 'f')) then return false end
  end
  return true
end
local permitted = allowed('XADD', log, '*', 'id', '') and allowed('SETRANGE', log, '0', '')
  and allowed('HSET', head, 'at', '') and allowed('PUBLISH', log, '')
local function may_take(tract)
  return allowed('HGET', of('generations', tract), 'f') and allowed('HGETALL', of('lease', tract))
    and allowed('ZRANGE', of('ready', tract), '0', '0') and allowed('EXISTS', of('ready', tract))
    and allowed('XRANGE', log, '-', '+')
end
for number = 1, offers do
  local tract = ARGV[first_offer + (number - 1) * OFFER]
  touched[tract], lending[tract] = true, true
  permitted = permitted and may_take(tract)
end
for tract in pairs(touched) do
  permitted = permitted and may_change(tract, {'ready', 'line'}, {'level', 'pending', 'heads'})
    and allowed('HINCRBY', of('level', tract), 'f', '1') and allowed('PUBLISH', of('bell', tract), '')
end
for tract in pairs(lending) do  -- each answer takes a microsecond or two, so nobody asks for more than is used
  permitted = permitted and may_change(tract, {'due'}, {'holder', 'lease', 'circuit'})
end
for tract in pairs(burying) do permitted = permitted and may_change(tract, {'dead'}, {'near'}) end
if not permitted then
  return redis.error_reply('NOPERM this user needs XADD, SETRANGE, HSET, HDEL, HINCRBY, ZADD, ZREM, PUBLISH and what reads, '
    .. 'on the keys and channels of ' .. log)
end

local now, before = milliseconds(), position
for number = 1, events do
  local event = EVENTS + (number - 1) * EVENT
  position = position + 1
  at = math.max(at, timed and tonumber(ARGV[first_time + number - 1]) or now)
  chain = redis.sha1hex(chain .. ARGV[event + 4] .. text(at))
  redis.call('XADD', log, text(position) .. '-0', 'id', ARGV[event + 1], 'version', ARGV[event + 2],
    'topic', ARGV[event + 3], 'at', text(at), 'chain', chain, 'state', ARGV[event + 5])
  redis.call('SETRANGE', index(tonumber(ARGV[event])), text(tonumber(ARGV[event + 2]) * 8),
    struct.pack('>I8', position))
end
for number = 1, keys do
  local key = first_key + (number - 1) * KEY
  redis.call('HSET', table_of(tonumber(ARGV[key])), ARGV[key + 2],
    struct.pack('>I8I8', tonumber(ARGV[key + 3]), before + tonumber(ARGV[key + 1])) .. ARGV[key + 4])
end

local rung = {}
local function line_key(tract, dialogue) return of('line', tract) .. ':' .. dialogue end
local function line_up(tract, dialogue, slot, count, priority, recipient)
  redis.call('ZADD', line_key(tract, dialogue), 0, string.format('%016.0f:%d:%d:', slot, count, priority) .. recipient)
end
local function lead(tract, dialogue, slot, priority, recipient)
  redis.call('HSET', of('heads', tract), dialogue, text(slot))
  make_ready(tract, priority, slot, 1, 0, recipient)
  rung[tract] = true
end
local function follow(tract, dialogue, slot)  -- when the head of a line is done with, the next one is the head
  if not ordered(tract) or redis.call('HGET', of('heads', tract), dialogue) ~= slot then return end
  local run = redis.call('ZRANGE', line_key(tract, dialogue), 0, 0)[1]
  if not run then
    redis.call('HDEL', of('heads', tract), dialogue)
    return
  end
  redis.call('ZREM', line_key(tract, dialogue), run)
  local first, count, priority, recipient = string.match(run, '^(%d+):(%d+):(%d+):(.*)$')
  first, count, priority = tonumber(first), tonumber(count), tonumber(priority)
  if count > 1 then line_up(tract, dialogue, first + 1, count - 1, priority, recipient) end
  lead(tract, dialogue, first, priority, recipient)
end

for number = 1, arrivals do
  local arrival = first_arrival + (number - 1) * ARRIVAL
  local event, first, count, tract, priority, recipient = unpack(ARGV, arrival, arrival + 5)
  local slot, dialogue = (before + tonumber(event)) * 1000 + tonumber(first), ARGV[EVENTS + (event - 1) * EVENT + 1]
  count, priority = tonumber(count), tonumber(priority)
  if not ordered(tract) then
    make_ready(tract, priority, slot, count, 0, recipient)
    rung[tract] = true
  elseif redis.call('HGET', of('heads', tract), dialogue) then
    line_up(tract, dialogue, slot, count, priority, recipient)
  else
    if count > 1 then line_up(tract, dialogue, slot + 1, count - 1, priority, recipient) end
    lead(tract, dialogue, slot, priority, recipient)
  end
end
for tract, counted in pairs(arriving) do redis.call('HINCRBY', of('level', tract), 'backlog', counted.all) end
for number = first_no_call, first_no_call + no_calls - 1 do
  local tract, lease = unpack(ARGV, settlement_at(ARGV[number]), settlement_at(ARGV[number]) + 1)
  if give_back(tract, lease, 1) then rung[tract] = true end
end
for key, of_lease in pairs(ending) do
  some_at_once(of_lease.slots, function(first, last) redis.call('HDEL', key, unpack(of_lease.slots, first, last)) end)
  if redis.call('EXISTS', key) == 0 then drop_lease(of_lease.tract, of_lease.lease) end
end
local done_with = {}  -- how many, of every tract whose backlog is told
for number = 1, settlements do
  local tract, lease, slot, attempt, what, delay, dialogue = unpack(ARGV, settlement_at(number), settlement_at(number) + 6)
  local priority, recipient = settled[number].priority, settled[number].recipient
  local was_dead = lease == 'dead'
  done_with[tract] = done_with[tract] or 0
  if was_dead then
    redis.call('ZREM', of('dead', tract), slot)
    redis.call('HDEL', of('near', tract), slot)
  elseif what == 'done' or what == 'dead' or what == 'shed' then
    done_with[tract] = done_with[tract] + 1
  end
  if what == 'dead' then
    redis.call('HSET', lease_key(tract, 'dead'), slot, held_as(priority, attempt, recipient))
    redis.call('ZADD', of('dead', tract), slot, slot)
    redis.call('HSET', of('near', tract), slot, text(before + 1))
  elseif what == 'done' or what == 'shed' then
    follow(tract, dialogue, slot)  -- of an ordered tract nothing is shed
  elseif what == 'back' or delay == '0' then
    local attempts = was_dead and 0 or tonumber(attempt) - (what == 'back' and 1 or 0)
    make_ready(tract, tonumber(priority), tonumber(slot), 1, attempts, recipient)
    rung[tract] = true
  else
    local pause = 'pause:' .. slot .. ':' .. attempt
    redis.call('HSET', lease_key(tract, pause), slot, held_as(priority, attempt, recipient))
    redis.call('ZADD', of('due', tract), text(milliseconds() + tonumber(delay)), pause)
    rung[tract] = true
  end
end
for number = 1, gates do
  local gate = first_gate + (number - 1) * GATE
  local tract, passage, generation, permits, retry_at, capacity = unpack(ARGV, gate, gate + 5)
  local was = redis.call('HMGET', of('level', tract), 'passage', 'generation')
  redis.call('HSET', of('level', tract), 'passage', passage, 'generation', generation, 'retry_at', retry_at)
  if was[1] ~= 'probing' or was[2] ~= generation then redis.call('HSET', of('level', tract), 'permits', permits) end
  if capacity ~= '' then redis.call('HSET', of('level', tract), 'capacity', capacity) end
  done_with[tract] = done_with[tract] or 0
  rung[tract] = rung[tract] or passage ~= 'shut' or nil
end
local news = text(position)
for tract, count in pairs(done_with) do
  news = news .. ' ' .. tract .. ' ' .. text(redis.call('HINCRBY', of('level', tract), 'backlog', 0 - count))
end
if application ~= '' then redis.call('HSET', tracking, application, tracked) end
if events > 0 then
  redis.call('HSET', head, 'position', text(position), 'chain', chain, 'at', text(at))
  redis.call('PUBLISH', log, news)
end

local taken, served = {}, {}
for number = 1, offers do
  local offer = first_offer + (number - 1) * OFFER
  local tract, consumer, generation, lease, demand, wait = unpack(ARGV, offer, offer + 5)
  local given, many = nil, 0
  if is_newest(tract, consumer, generation) then
    given, many = take(tract, consumer, lease, tonumber(demand), tonumber(wait))
  end
  taken[number] = many > 0 and given
  served[tract] = served[tract] or taken[number]
end
local bells = {}
for tract in pairs(rung) do
  ring(tract, who)
  -- Who was served has heard of what is due.
  if not served[tract] or redis.call('EXISTS', of('pending', tract)) == 1 then bells[#bells + 1] = tract end
end
return {'OK', text(before + 1), chain, bells, taken}
