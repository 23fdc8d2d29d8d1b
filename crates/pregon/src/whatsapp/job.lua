-- Adds a job to a queue of BullMQ, version 6, as its own client would; nothing if there is one of that id.
-- KEYS: job, wait, meta, marker, events. ARGV: id, name, data, time in milliseconds.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local length = redis.call('HGET', KEYS[3], 'opts.maxLenEvents')
if not length then
  length = '10000'
  redis.call('HSET', KEYS[3], 'opts.maxLenEvents', length)
end
redis.call('HSET', KEYS[1], 'name', ARGV[2], 'data', ARGV[3], 'opts', '{"attempts":0}', 'timestamp', ARGV[4], 'delay', '0', 'priority', '0')
redis.call('XADD', KEYS[5], 'MAXLEN', '~', length, '*', 'event', 'added', 'jobId', ARGV[1], 'name', ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[1])
-- A paused queue wakes nobody: who resumes it looks at what waits.
if not redis.call('HGET', KEYS[3], 'paused') then
  redis.call('ZADD', KEYS[4], '0', '0')
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', length, '*', 'event', 'waiting', 'jobId', ARGV[1])
return 1
