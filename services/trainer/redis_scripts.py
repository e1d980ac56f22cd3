"""The scripts that change records and queues in Redis, each one atomic.

Keys, after the prefix (which holds a `{hash tag}`, so that scripts work on a Redis Cluster too):
    job:{id}, dataset:{id}     hash    one field for each field of the record, as JSON
    jobs, datasets             zset    ids by time of creation, in milliseconds made unique
    queue:{lane}               zset    what waits, by time of creation; the lanes are `jobs` and `datasets`
    active:{lane}              set     what a worker has taken
    lease:{lane}:{id}          string  the token of the worker that has it; ends by itself when the worker dies
    taker:{lane}               hash    id -> token of the worker that took it last
    request:{method}:{id}      string  what a request id was used for
"""

from __future__ import annotations

_HEAD = """
local P = ARGV[1]
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function set(key, from)
  for i = from, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end
"""

CREATE = (
    _HEAD
    + """
-- prefix, noun, id, lane or '', most that may wait (-1: any number), request key or '', request record, field, value …
local noun, id, lane, limit, request = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
if request ~= '' then
  local seen = redis.call('GET', P .. request)
  if seen then return {'seen', seen} end
end
if lane ~= '' and limit >= 0 and redis.call('ZCARD', P .. 'queue:' .. lane) >= limit then return {'full'} end
local last = tonumber(redis.call('GET', P .. 'clock') or '0')
if NOW <= last then NOW = last + 1 end
redis.call('SET', P .. 'clock', string.format('%.0f', NOW))
set(P .. noun .. ':' .. id, 8)
redis.call('ZADD', P .. noun .. 's', string.format('%.0f', NOW), id)
if lane ~= '' then redis.call('ZADD', P .. 'queue:' .. lane, string.format('%.0f', NOW), id) end
if request ~= '' then redis.call('SET', P .. request, ARGV[7], 'EX', 604800) end
return {'made', id}
"""
)

TAKE = (
    _HEAD
    + """
-- prefix, noun, lane, most at once, lease in ms, token, losses allowed, number of values that say "lost too often", field, value …,
-- then field, value … that say "taken"
local noun, lane, most, lease, token = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local losses, split = tonumber(ARGV[7]), tonumber(ARGV[8])
local active, queue, index = P .. 'active:' .. lane, P .. 'queue:' .. lane, P .. noun .. 's'
local live = 0
for _, id in ipairs(redis.call('SMEMBERS', active)) do
  if redis.call('EXISTS', P .. 'lease:' .. lane .. ':' .. id) == 1 then
    live = live + 1
  else
    redis.call('SREM', active, id)
    local key = P .. noun .. ':' .. id
    local score = redis.call('ZSCORE', index, id)
    if score then
      if redis.call('HINCRBY', key, 'loss_count', 1) >= losses then
        for i = 9, 8 + split, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
      else
        redis.call('ZADD', queue, score, id)
      end
    end
  end
end
if live >= most then return false end
local first = redis.call('ZRANGE', queue, 0, 0)
if not first[1] then return false end
local id = first[1]
local key = P .. noun .. ':' .. id
redis.call('ZREM', queue, id)
redis.call('SADD', active, id)
redis.call('SET', P .. 'lease:' .. lane .. ':' .. id, token, 'PX', lease)
redis.call('HSET', P .. 'taker:' .. lane, id, token)
redis.call('HINCRBY', key, 'attempt_count', 1)
set(key, 9 + split)
return id
"""
)

RENEW = (
    _HEAD
    + """
-- prefix, lane, id, token, lease in ms
local key = P .. 'lease:' .. ARGV[2] .. ':' .. ARGV[3]
local holder = redis.call('GET', key)
if not holder then
  -- It ran out, and nobody has noticed: a machine that has no time to renew has none to take either. So the holder may go on.
  if redis.call('SISMEMBER', P .. 'active:' .. ARGV[2], ARGV[3]) == 0 then return 0 end
  holder = redis.call('HGET', P .. 'taker:' .. ARGV[2], ARGV[3])
end
if holder ~= ARGV[4] then return 0 end
redis.call('SET', key, ARGV[4], 'PX', ARGV[5])
return 1
"""
)

UPDATE = (
    _HEAD
    + """
-- prefix, noun, lane, id, token, field, value …
if redis.call('GET', P .. 'lease:' .. ARGV[3] .. ':' .. ARGV[4]) ~= ARGV[5] then return 0 end
set(P .. ARGV[2] .. ':' .. ARGV[4], 6)
return 1
"""
)

LEAVE = (
    _HEAD
    + """
-- prefix, noun, lane, id, token, 'again', 'done' or 'lost', field, value …
local lane, id = ARGV[3], ARGV[4]
local lease = P .. 'lease:' .. lane .. ':' .. id
if redis.call('GET', lease) ~= ARGV[5] then return 0 end
redis.call('DEL', lease)
redis.call('HDEL', P .. 'taker:' .. lane, id)
if ARGV[6] == 'lost' then return 1 end -- TAKE finds it without a lease, and counts the loss
redis.call('SREM', P .. 'active:' .. lane, id)
local score = redis.call('ZSCORE', P .. ARGV[2] .. 's', id)
if score then
  set(P .. ARGV[2] .. ':' .. id, 7)
  if ARGV[6] == 'again' then redis.call('ZADD', P .. 'queue:' .. lane, score, id) end
end
return 1
"""
)

CANCEL = (
    _HEAD
    + """
-- prefix, noun, lane, id, field, value … that say "cancelled"
local key = P .. ARGV[2] .. ':' .. ARGV[4]
if redis.call('EXISTS', key) == 0 then return -1 end
if redis.call('ZREM', P .. 'queue:' .. ARGV[3], ARGV[4]) == 1 then
  set(key, 5)
  return 1
end
if redis.call('SISMEMBER', P .. 'active:' .. ARGV[3], ARGV[4]) == 1 then
  redis.call('HSET', key, 'cancel_requested', 'true')
end
return 0
"""
)

DELETE = (
    _HEAD
    + """
-- prefix, noun, lane, id
local noun, lane, id = ARGV[2], ARGV[3], ARGV[4]
local gone = redis.call('ZREM', P .. noun .. 's', id)
redis.call('DEL', P .. noun .. ':' .. id, P .. 'lease:' .. lane .. ':' .. id)
redis.call('ZREM', P .. 'queue:' .. lane, id)
redis.call('SREM', P .. 'active:' .. lane, id)
redis.call('HDEL', P .. 'taker:' .. lane, id)
return gone
"""
)

# A lock that its holder's death ends: SET NX PX takes it; this gives it back, if it is still the holder's.
UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
