-- Hand out messages of a tract to a consumer, as a lease. taking.lua goes before it.
--
-- KEYS  log     ARGV  tract, consumer, generation, lease, demand, milliseconds until the lease ends
-- Replies {} when the generation is not the newest, or
--         {1 if more is waiting, milliseconds until something is due or "", {slot, priority, attempt, ...},
--          {entries of the log that hold them}, generation of the circuit}; for a lease that there is already, what it
--         holds. Of entries that are large, the first only.

local tract, consumer, generation, lease, demand, wait = unpack(ARGV)
if not is_newest(tract, consumer, generation) then return {} end
return (take(tract, consumer, lease, tonumber(demand), tonumber(wait)))
