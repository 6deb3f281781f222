-- What a lease holds that was taken to be shed waits again.
--
-- KEYS  log     ARGV  tract, lease

release(ARGV[1], ARGV[2])
ring(ARGV[1], '')
return 1
