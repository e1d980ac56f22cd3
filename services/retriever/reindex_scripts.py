"""The atomic steps of building a corpus's other index and of switching to it, as Lua. Keys: reindex_lua.py."""

from __future__ import annotations

from services.retriever.catalog_scripts import COMMON, REQUEST_SECONDS

_INDEXING = (
    COMMON
    + """
local function is_written_by(c, collection, d, owner)
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection')
  if f[1] ~= collection and f[2] ~= collection then return false end
  return redis.call('HGET', lacks(c, collection) .. ':owners', d) == owner
end

local function is_present(c, d, generation)
  local f = redis.call('HMGET', key_of(c, d), 'active_generation', 'state')
  return f[1] == generation and f[2] ~= 'DELETING'
end

local function switching(c) return string.sub(redis.call('GET', P .. 'frozen:' .. c) or '', 1, 7) == 'switch:' end

local function repeated(request, record)
  if request == '' then return false end
  local before = redis.call('GET', request)
"""
    + f"""
  if not before then redis.call('SET', request, record, 'EX', {REQUEST_SECONDS}) end
  return before
end

local function begin(c, operation, force, traceparent)
  local key = reindex_of(c)
  local collection = redis.call('HGET', key, 'collection')
  -- Those set aside are tried again.
  for _, d in ipairs(redis.call('HKEYS', lacks(c, collection) .. ':aside')) do redis.call('ZADD', lacks(c, collection), 'NX', NOW, d) end
  redis.call('DEL', lacks(c, collection) .. ':aside', lacks(c, collection) .. ':losses')
  redis.call('HSET', P .. 'op:' .. operation, 'open', 1)
  op_create(operation, 'REINDEX_CORPUS', 'corpora/' .. c, redis.call('ZCARD', lacks(c, collection)))
  redis.call('HSET', key, 'operation', operation, 'force', force, 'retries', 0, 'traceparent', traceparent)
  redis.call('ZADD', P .. 'indexing', NOW, c)
end
"""
)

# prefix, corpus, operation, request key, request record, force, collection that answers, collection to be made, its settings, traceparent
# -> {'OK'}, {'REPEATED', record}, {'GONE'} or {'BUSY', operation}
# A collection that is being built already is gone on with.
BEGIN = (
    _INDEXING
    + """
local c, operation, key = ARGV[2], ARGV[3], reindex_of(ARGV[2])
if redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {'GONE'} end
local f = redis.call('HMGET', key, 'operation', 'collection')
local before = ARGV[4] ~= '' and redis.call('GET', ARGV[4])
if before then return {'REPEATED', before} end
if f[1] then return {'BUSY', f[1]} end
repeated(ARGV[4], ARGV[5])
if f[2] ~= ARGV[8] then
  discard_index(c)
  redis.call('HSET', key, 'serving', ARGV[7], 'collection', ARGV[8], 'state', 'BUILDING', 'settings', ARGV[9])
  for _, d in ipairs(redis.call('ZRANGE', P .. 'docs:' .. c, 0, -1)) do
    local v = redis.call('HMGET', key_of(c, d), 'active', 'state')
    if v[1] and v[2] ~= 'DELETING' then redis.call('ZADD', lacks(c, ARGV[8]), NOW, d) end
  end
end
begin(c, operation, ARGV[6], ARGV[10])
return {'OK'}
"""
)

# prefix, corpus, operation, request key, request record, force, traceparent
# -> {'OK'}, {'REPEATED', record}, {'GONE'}, {'BUSY', operation} or {'NONE'}
ROLL_BACK = (
    _INDEXING
    + """
local c, operation = ARGV[2], ARGV[3]
if redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {'GONE'} end
local f = redis.call('HMGET', reindex_of(c), 'operation', 'state')
local before = ARGV[4] ~= '' and redis.call('GET', ARGV[4])
if before then return {'REPEATED', before} end
if f[1] then return {'BUSY', f[1]} end
if f[2] ~= 'PREVIOUS' then return {'NONE'} end
repeated(ARGV[4], ARGV[5])
begin(c, operation, ARGV[6], ARGV[7])
return {'OK'}
"""
)

# prefix, owner, lease ms, most documents, most bytes -> {} or {corpus, collection, operation, traceparent, (id, version, losses)…}
# Without documents: the collection lacks none any more. What answers comes before what is being built.
CLAIM = (
    _INDEXING
    + """
local owner, lease, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
for _, c in ipairs(redis.call('ZRANGEBYSCORE', P .. 'indexing', 0, NOW, 'LIMIT', 0, 16)) do
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection', 'operation', 'traceparent')
  local operation, asked, taken = f[3] or '', f[3] and f[4] or '', {}
  for _, collection in ipairs({f[1], f[3] and f[2]}) do
    if not collection or #taken > 0 then break end
    local key, bytes = lacks(c, collection), tonumber(ARGV[5])
    for _, d in ipairs(redis.call('ZRANGEBYSCORE', key, 0, NOW, 'LIMIT', 0, most)) do
      local v = redis.call('HMGET', key_of(c, d), 'active', 'state')
      if not v[1] or v[2] == 'DELETING' then
        not_to_be_indexed(c, d)
      else
        -- One that has lost a worker is taken alone, so that it cannot drag others along.
        local losses = redis.call('HGET', key .. ':losses', d) or '0'
        bytes = bytes - cjson.decode(v[1]).size
        if #taken > 0 and (losses ~= '0' or bytes < 0) then break end
        if #taken == 0 then taken = {c, collection, operation, asked} end
        for _, value in ipairs({d, v[1], losses}) do table.insert(taken, value) end
        redis.call('ZREM', key, d)
        redis.call('HSET', key .. ':owners', d, owner)
        redis.call('ZADD', P .. 'indexing:leases', NOW + lease, c .. '/' .. collection .. '/' .. d)
        if losses ~= '0' or bytes < 0 then break end
      end
    end
  end
  if #taken > 0 then
    redis.call('ZADD', P .. 'indexing', NOW, c)
    if operation ~= '' then op_alive(operation, '') end
    return taken
  end
  local open = 0
  for _, collection in ipairs({f[1], f[2] or false}) do
    if collection and (collection == f[1] or f[3]) then
      open = open + redis.call('ZCARD', lacks(c, collection)) + redis.call('HLEN', lacks(c, collection) .. ':owners')
    end
  end
  if operation ~= '' and open == 0 then
    -- One worker is enough to switch; others look again in a moment.
    redis.call('ZADD', P .. 'indexing', NOW + 300, c)
    return {c, f[2], operation, asked}
  elseif open == 0 then
    redis.call('ZREM', P .. 'indexing', c)
  end
end
return {}
"""
)

# prefix, corpus, collection, owner, lease ms, doing, freeze ms, ids… -> ids that are no longer this owner's
RENEW = (
    _INDEXING
    + """
local c, collection, owner, lease, lost = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), {}
for i = 8, #ARGV do
  if is_written_by(c, collection, ARGV[i], owner) then
    redis.call('ZADD', P .. 'indexing:leases', NOW + lease, c .. '/' .. collection .. '/' .. ARGV[i])
  else
    table.insert(lost, ARGV[i])
  end
end
local f = redis.call('HMGET', reindex_of(c), 'operation', 'collection')
if f[1] then
  if f[2] == collection then op_alive(f[1], ARGV[6]) end
  -- Who waits for these documents before a switch does not wait in vain. Without documents nobody waits for this owner, which itself waits
  -- for the freeze of another to run out, perhaps of one that was killed.
  if #ARGV > 7 and redis.call('EXISTS', P .. 'frozen:' .. c) == 1 then redis.call('PEXPIRE', P .. 'frozen:' .. c, ARGV[7]) end
end
return lost
"""
)

# prefix, corpus, collection, owner, (id, generation)… -> for each: the number its chunks are to have, or '' when it is not to be written
GRANTS = (
    _INDEXING
    + """
local c, collection, owner, grants = ARGV[2], ARGV[3], ARGV[4], {}
for i = 5, #ARGV, 2 do
  local d = ARGV[i]
  local granted = is_written_by(c, collection, d, owner) and is_present(c, d, ARGV[i + 1])
  table.insert(grants, granted and (redis.call('HGET', key_of(c, d), 'row_access') or '-1') or '')
end
return grants
"""
)

# prefix, corpus, collection, owner, id, generation, chunk count, embedded -> 'OK' or 'LOST'
WRITTEN = (
    _INDEXING
    + """
local c, collection, d = ARGV[2], ARGV[3], ARGV[5]
if not is_written_by(c, collection, d, ARGV[4]) then return 'LOST' end
let_go(c, collection, d)
redis.call('HDEL', lacks(c, collection) .. ':losses', d)
if not is_present(c, d, ARGV[6]) then
  if redis.call('HGET', key_of(c, d), 'active') then redis.call('ZADD', lacks(c, collection), 'NX', NOW, d) end
  return 'LOST'
end
redis.call('HSET', key_of(c, d), count_field(c, collection), ARGV[7])
local f = redis.call('HMGET', reindex_of(c), 'serving', 'operation')
redis.call('HSET', reindex_of(c), 'retries', 0)
if f[1] == collection then
  if tonumber(ARGV[8]) < tonumber(ARGV[7]) then
    redis.call('ZADD', P .. 'warming', 'NX', NOW, c)
    redis.call('INCR', P .. 'warming:mark:' .. c)
  end
elseif f[2] and op_item(f[2], c .. '/' .. d, 'succeeded', '') then
  redis.call('HINCRBY', P .. 'op:' .. f[2], 'chunk_count', ARGV[7])
  redis.call('HINCRBY', P .. 'op:' .. f[2], 'embedded_chunk_count', ARGV[8])
end
return 'OK'
"""
)

# prefix, corpus, collection, owner, id, generation, error -> 'OK' or 'LOST'
SET_ASIDE = (
    _INDEXING
    + """
local c, collection, d = ARGV[2], ARGV[3], ARGV[5]
if not is_written_by(c, collection, d, ARGV[4]) then return 'LOST' end
let_go(c, collection, d)
if is_present(c, d, ARGV[6]) then
  set_aside(c, collection, d, ARGV[7])
elseif redis.call('HGET', key_of(c, d), 'active') then
  redis.call('ZADD', lacks(c, collection), 'NX', NOW, d)
end
return 'OK'
"""
)

# prefix, corpus, collection, owner, ms of the first wait (0: at once), longest wait, ids… -> ms until the corpus is taken up again
GIVE_BACK = (
    _INDEXING
    + """
local c, collection, wait = ARGV[2], ARGV[3], tonumber(ARGV[5])
for i = 7, #ARGV do
  if is_written_by(c, collection, ARGV[i], ARGV[4]) then
    let_go(c, collection, ARGV[i])
    redis.call('ZADD', lacks(c, collection), 'NX', NOW, ARGV[i])
  end
end
if wait == 0 then return 0 end
local f = redis.call('HMGET', reindex_of(c), 'retries', 'operation')
wait = math.min(tonumber(ARGV[6]), wait * 2 ^ math.min(20, tonumber(f[1] or 0)))
redis.call('HINCRBY', reindex_of(c), 'retries', 1)
redis.call('ZADD', P .. 'indexing', 'XX', NOW + wait, c)
if f[2] then op_retry(f[2], NOW + wait) end
return wait
"""
)

# prefix, corpus, collection, owner, ms -> {'READY'} (nothing is claimed or missing: switch), {'WAIT'}, {'OTHER'} (another one does it),
# {'INCOMPLETE', documents set aside} or {'GONE'}
FREEZE = (
    _INDEXING
    + """
local c, owner = ARGV[2], ARGV[4]
local frozen = P .. 'frozen:' .. c
local f = redis.call('HMGET', reindex_of(c), 'collection', 'operation', 'force')
if f[1] ~= ARGV[3] or not f[2] then return {'GONE'} end
local aside = redis.call('HLEN', lacks(c, f[1]) .. ':aside')
if aside > 0 and f[3] ~= '1' then return {'INCOMPLETE', tostring(aside)} end
local holder = redis.call('GET', frozen)
if holder and holder ~= owner and holder ~= 'switch:' .. owner then return {'OTHER'} end
redis.call('SET', frozen, owner, 'PX', ARGV[5])
op_alive(f[2], '')
if redis.call('ZCARD', lacks(c, f[1])) + redis.call('HLEN', lacks(c, f[1]) .. ':owners') > 0 then return {'WAIT'} end
for _, member in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  if string.sub(member, 1, #c + 1) == c .. '/' then return {'WAIT'} end
end
redis.call('SET', frozen, 'switch:' .. owner, 'PX', ARGV[5])
return {'READY'}
"""
)

# prefix, corpus, collection that answers now, collection that answered before, it is lazy, ms to stay frozen -> 'OK' or 'NO'
SWITCHED = (
    _INDEXING
    + """
local c, key, now, before = ARGV[2], reindex_of(ARGV[2]), ARGV[3], ARGV[4]
local f = redis.call('HMGET', key, 'collection', 'serving', 'slot')
if f[1] ~= now or f[2] ~= before then return 'NO' end
redis.call('HSET', key, 'serving', now, 'collection', before, 'state', 'PREVIOUS', 'made', 1, 'slot', f[3] == 'b' and '' or 'b')
redis.call('HDEL', key, 'settings')
local missing = redis.call('HGETALL', lacks(c, now) .. ':aside')
for i = 1, #missing, 2 do
  if redis.call('HGET', key_of(c, missing[i]), 'state') == 'ACTIVE' then
    redis.call('HSET', key_of(c, missing[i]), 'error', missing[i + 1])
    set_state(c, missing[i], 'FAILED')
  end
end
-- What the one before lacked, and this one has.
local found = redis.call('HGETALL', lacks(c, before) .. ':aside')
for i = 1, #found, 2 do
  local d = found[i]
  local v = redis.call('HMGET', key_of(c, d), 'state', 'error')
  if v[1] == 'FAILED' and v[2] == found[i + 1] and redis.call('HEXISTS', lacks(c, now) .. ':aside', d) == 0 then
    redis.call('HSET', key_of(c, d), 'error', '')
    set_state(c, d, 'ACTIVE')
  end
end
indexing_end(c, 'SUCCEEDED', '')
redis.call('ZADD', P .. 'indexing', NOW, c)
-- Those who search remember for a moment which index answers; nothing new comes until they have forgotten.
if tonumber(ARGV[6]) > 0 then redis.call('SET', P .. 'frozen:' .. c, 'done', 'PX', ARGV[6]) else redis.call('DEL', P .. 'frozen:' .. c) end
if ARGV[5] == '1' then
  redis.call('ZADD', P .. 'warming', 'NX', NOW, c)
  redis.call('INCR', P .. 'warming:mark:' .. c)
end
return 'OK'
"""
)

# prefix, corpus, operation, error: the operation failed; what was built stays
FAIL = (
    _INDEXING
    + """
local c = ARGV[2]
if redis.call('HGET', reindex_of(c), 'operation') == ARGV[3] and not switching(c) then
  indexing_end(c, 'FAILED', ARGV[4])
  redis.call('DEL', P .. 'frozen:' .. c)
end
return 'OK'
"""
)

# prefix, operation -> 'OK' or 'LATE' (the switch is being made, or was)
CANCEL = (
    _INDEXING
    + """
local op = P .. 'op:' .. ARGV[2]
local c = string.match(redis.call('HGET', op, 'target') or '', '^corpora/([^/]+)')
if not c or redis.call('HGET', reindex_of(c), 'operation') ~= ARGV[2] or switching(c) then return 'LATE' end
redis.call('HSET', op, 'cancel_requested', 1)
indexing_end(c, 'CANCELLED', '')
if redis.call('HGET', reindex_of(c), 'state') == 'BUILDING' then discard_index(c) end
redis.call('DEL', P .. 'frozen:' .. c)
redis.call('ZADD', P .. 'indexing', NOW, c)
return 'OK'
"""
)
