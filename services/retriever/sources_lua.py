"""The part of the catalog's Lua that knows the keys of sources and their syncs; the scripts of documents and of sources both begin with it.

Keys, after the prefix:
    source:{corpus}:{id}          hash  spec (JSON), interval (ms), paused, create_time, update_time, cursor, compare (next sync: full)
                                        of the sync that goes on: operation, owner, phase, begun, full, confirm, losses, progress,
                                        retries, withheld, traceparent (of the call that asked for it)
                                        of the last one: last (JSON), outcome ('', WAITING or FAILED), error
    source:{corpus}:{id}:items    hash  key at the place -> JSON of version, document, digest
    source:{corpus}:{id}:plan     hash  document -> added, changed or removed by the sync that goes on
    source:{corpus}:{id}:failures list  failed items of the last sync
    sources:{corpus}              zset  ids of sources, score 0, so ordered by id
    syncs:due                     zset  `corpus/id` by when the next sync is due
    syncs:leaving                 hash  `corpus/id` of sources being deleted -> how many documents go with it, or empty
    syncs:ready                   zset  `corpus/id` of syncs that wait for a worker, by the time from which they may be taken
    syncs:leases                  zset  `corpus/id` of syncs in hand, by when the lease ends
"""

from __future__ import annotations

SOURCES_LUA = """
local function source_of(c, s) return P .. 'source:' .. c .. ':' .. s end

-- The next sync is due an interval after the last one began.
local function schedule(c, s)
  local f = redis.call('HMGET', source_of(c, s), 'interval', 'paused', 'last_begun')
  local interval = tonumber(f[1] or 0)
  if interval > 0 and f[2] ~= '1' then
    redis.call('ZADD', P .. 'syncs:due', math.max(NOW, (f[3] or 0) + interval), c .. '/' .. s)
  else
    redis.call('ZREM', P .. 'syncs:due', c .. '/' .. s)
  end
end

-- Ends the sync that goes on, if there is one: the operation, the summary and the next time, all at once.
local function sync_end(c, s, state, error)
  local key = source_of(c, s)
  local f = redis.call('HMGET', key, 'operation', 'begun', 'withheld')
  local id = f[1]
  if not id then return end
  local op, count = P .. 'op:' .. id, {added = 0, changed = 0, removed = 0}
  local plan = redis.call('HGETALL', key .. ':plan')
  for i = 1, #plan, 2 do
    local what = plan[i + 1]
    if what == 'removed' or redis.call('HGET', op .. ':items', c .. '/' .. plan[i]) == 'succeeded' then count[what] = count[what] + 1 end
  end
  local n = redis.call('HMGET', op, 'unchanged', 'failed', 'total', 'succeeded', 'cancelled')
  if state == 'CANCELLED' then
    redis.call('HSET', op, 'cancelled', math.max(n[5], n[3] - n[1] - n[2] - n[4]))
  elseif state == 'FAILED' then
    redis.call('HSET', op, 'error', error)
  end
  redis.call('HDEL', op, 'open')
  op_end(id, state)
  local withheld = tonumber(f[3] or 0)
  redis.call('DEL', key .. ':failures', key .. ':plan')
  for _, failed in ipairs(redis.call('LRANGE', op .. ':failures', 0, -1)) do redis.call('RPUSH', key .. ':failures', failed) end
  redis.call('HSET', key, 'error', error, 'last_begun', f[2], 'last', cjson.encode({
    operation = id, start_time = f[2], end_time = tostring(NOW), added = count.added, changed = count.changed, removed = count.removed,
    unchanged = tonumber(n[1]), failed = tonumber(n[2]), withheld = withheld}))
  if state == 'SUCCEEDED' then
    redis.call('HSET', key, 'outcome', withheld > 0 and 'WAITING' or '')
  else
    redis.call('HSET', key, 'outcome', state == 'FAILED' and 'FAILED' or '')
  end
  redis.call('HDEL', key, 'operation', 'owner', 'phase', 'begun', 'full', 'confirm', 'losses', 'retries', 'withheld', 'progress')
  redis.call('ZREM', P .. 'syncs:ready', c .. '/' .. s)
  redis.call('ZREM', P .. 'syncs:leases', c .. '/' .. s)
  schedule(c, s)
end

local function forget_source(c, s)
  local key, member = source_of(c, s), c .. '/' .. s
  redis.call('DEL', key, key .. ':items', key .. ':plan', key .. ':failures')
  redis.call('ZREM', P .. 'sources:' .. c, s)
  redis.call('ZREM', P .. 'syncs:due', member)
  redis.call('HDEL', P .. 'syncs:leaving', member)
end

-- Takes syncs back from workers that show no sign of life; one that has lost too many is set aside.
local function reclaim_syncs(most, error)
  local reclaimed = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'syncs:leases', 0, NOW, 'LIMIT', 0, 1000)) do
    local c, s = string.match(member, '^([^/]+)/(.+)$')
    redis.call('ZREM', P .. 'syncs:leases', member)
    local key = source_of(c, s)
    if redis.call('HEXISTS', key, 'operation') == 1 then
      reclaimed = reclaimed + 1
      redis.call('HDEL', key, 'owner')
      -- One that only waits for its documents cannot have been what its worker was lost at.
      local reading = redis.call('HGET', key, 'phase') == 'READING'
      if reading and redis.call('HINCRBY', key, 'losses', 1) >= most then
        sync_end(c, s, 'FAILED', error)
      else
        redis.call('ZADD', P .. 'syncs:ready', NOW, member)
      end
    end
  end
  return reclaimed
end
"""
