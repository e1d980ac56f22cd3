"""The catalog's atomic steps, as Lua that runs inside Redis.

Every change of a document's state happens in one of these, together with the queue entry, the index entries and the operation items
that belong to it. A process may be killed between any two of them; nothing is then half done.

Keys, after the prefix (see also `services/chassis/operations_redis.py`):
    doc:{corpus}:{id}        hash  state, version (JSON), generation, digest, size, uri, title, owner, operations (ids, blank between),
                                   losses, retries, chunk_count, error, active (JSON of the version that answers), active_generation…
    docs:{corpus}            zset  ids of all documents, score 0, so ordered by id; docs:{corpus}:{state} likewise
    queues                   zset  corpora with waiting documents, by when one was last taken from them
    ready:{corpus}           zset  waiting documents by the time from which they may be taken
    leases                   zset  `corpus/id` of documents in hand, by when the lease ends
    staged                   zset  blobs being written that no document points to yet, by when they were begun
    leaving                  set   corpora being deleted
    warming                  zset  lazy corpora with chunks to embed, by when a worker may take one; warming:operation:{corpus},
                                   warming:mark:{corpus} (counts documents finished, so that none is overlooked)
    request:{method}:{id}    str   what was asked and answered under a request id (24 hours)
    lock:{corpus}:{id}       str   who may change the document's chunks in the store
"""

from __future__ import annotations

from services.chassis.operations_redis import OPERATIONS_LUA

REQUEST_SECONDS = 24 * 3600

COMMON = (
    OPERATIONS_LUA
    + """
local function key_of(c, d) return P .. 'doc:' .. c .. ':' .. d end

local function set_state(c, d, state)
  local old = redis.call('HGET', key_of(c, d), 'state')
  if old and old ~= state then redis.call('ZREM', P .. 'docs:' .. c .. ':' .. old, d) end
  redis.call('HSET', key_of(c, d), 'state', state, 'update_time', NOW)
  redis.call('ZADD', P .. 'docs:' .. c, 0, d)
  redis.call('ZADD', P .. 'docs:' .. c .. ':' .. state, 0, d)
end

local function forget(c, d)
  local state = redis.call('HGET', key_of(c, d), 'state')
  if state then redis.call('ZREM', P .. 'docs:' .. c .. ':' .. state, d) end
  redis.call('ZREM', P .. 'docs:' .. c, d)
  redis.call('DEL', key_of(c, d))
end

local function enqueue(c, d, at)
  redis.call('ZADD', P .. 'ready:' .. c, at, d)
  redis.call('ZADD', P .. 'queues', 'NX', 0, c)
end

local function unqueue(c, d)
  redis.call('ZREM', P .. 'ready:' .. c, d)
  redis.call('ZREM', P .. 'leases', c .. '/' .. d)
  redis.call('HDEL', key_of(c, d), 'owner')
end

local function failure(c, d, uri, error)
  return cjson.encode({name = 'corpora/' .. c .. '/documents/' .. d, uri = uri, error = error})
end

local function each_operation(c, d, visit)
  for id in string.gmatch(redis.call('HGET', key_of(c, d), 'operations') or '', '%S+') do visit(id) end
end

local function finish_operations(c, d, outcome, error, chunks, embedded)
  local uri = redis.call('HGET', key_of(c, d), 'uri') or ''
  each_operation(c, d, function(id)
    local counted = op_item(id, c .. '/' .. d, outcome, error ~= '' and failure(c, d, uri, error) or '')
    if counted and chunks > 0 then
      redis.call('HINCRBY', P .. 'op:' .. id, 'chunk_count', chunks)
      redis.call('HINCRBY', P .. 'op:' .. id, 'embedded_chunk_count', embedded)
    end
  end)
  redis.call('HSET', key_of(c, d), 'operations', '')
end

local function is_mine(c, d, generation, owner)
  local f = redis.call('HMGET', key_of(c, d), 'generation', 'owner', 'state')
  return f[1] == generation and f[2] == owner and f[3] == 'PROCESSING'
end

-- Notes a blob that nothing points to any more, so that it is swept away even if the caller is killed before it deletes it.
local function orphan(list, blob)
  redis.call('ZADD', P .. 'staged', NOW / 1000, blob)
  table.insert(list, blob)
end

local function blob_of(version) return version and version ~= '' and cjson.decode(version)['blob'] or nil end
"""
)

# prefix, corpus, operation, request key, request record, replaced error, leaving error, documents (JSON)
# -> {'OK', blobs no longer needed…}, {'REPEATED', record} or {'GONE'}
COMMIT = (
    COMMON
    + f"""
local c, operation, request = ARGV[2], ARGV[3], ARGV[4]
if redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {{'GONE'}} end
if request ~= '' then
  local before = redis.call('GET', request)
  if before then return {{'REPEATED', before}} end
  redis.call('SET', request, ARGV[5], 'EX', {REQUEST_SECONDS})
end
local documents = cjson.decode(ARGV[8])
op_create(operation, 'INGEST_DOCUMENTS', 'corpora/' .. c, #documents)
local unused = {{'OK'}}
for _, document in ipairs(documents) do
  local d, key = document.id, key_of(c, document.id)
  local f = redis.call('HMGET', key, 'state', 'digest', 'version', 'active')
  local state = f[1]
  redis.call('ZREM', P .. 'staged', document.blob)
  if state == 'ACTIVE' and f[2] == document.digest then
    op_item(operation, c .. '/' .. d, 'unchanged', '')
    orphan(unused, document.blob)
  elseif (state == 'PENDING' or state == 'PROCESSING') and f[2] == document.digest then
    redis.call('HSET', key, 'operations', redis.call('HGET', key, 'operations') .. ' ' .. operation)
    orphan(unused, document.blob)
  elseif state == 'DELETING' then
    op_item(operation, c .. '/' .. d, 'failed', failure(c, d, document.uri, ARGV[7]))
    orphan(unused, document.blob)
  else
    if state then
      finish_operations(c, d, 'failed', ARGV[6], 0, 0)
      local replaced = blob_of(f[3])
      if replaced and replaced ~= blob_of(f[4]) then orphan(unused, replaced) end
    end
    unqueue(c, d)
    redis.call('HSETNX', key, 'create_time', NOW)
    redis.call('HSET', key, 'version', document.version, 'generation', document.generation, 'digest', document.digest,
      'size', document.size, 'uri', document.uri, 'operations', operation, 'losses', 0, 'retries', 0, 'error', '',
      'untouched', state and '' or '1')
    set_state(c, d, 'PENDING')
    enqueue(c, d, NOW)
  end
end
return unused
"""
)

# prefix, owner, lease ms, most documents, most bytes -> {} or {corpus, id, version, operations, losses, retries, untouched, id…}
CLAIM = (
    COMMON
    + """
local owner, lease, most, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
for _, c in ipairs(redis.call('ZRANGE', P .. 'queues', 0, -1)) do
  local due = redis.call('ZRANGEBYSCORE', P .. 'ready:' .. c, 0, NOW, 'LIMIT', 0, most)
  local taken = {}
  for i, d in ipairs(due) do
    local f = redis.call('HMGET', key_of(c, d), 'size', 'losses', 'version', 'operations', 'retries', 'untouched')
    if not f[1] then
      redis.call('ZREM', P .. 'ready:' .. c, d)
    else
      -- One that has lost a worker is taken alone, so that it cannot drag others along.
      local alone = tonumber(f[2]) > 0
      bytes = bytes - tonumber(f[1])
      if #taken > 0 and (alone or bytes < 0) then break end
      if #taken == 0 then table.insert(taken, c) end
      for _, value in ipairs({d, f[3], f[4], f[2], f[5], f[6]}) do table.insert(taken, value) end
      redis.call('ZREM', P .. 'ready:' .. c, d)
      redis.call('ZADD', P .. 'leases', NOW + lease, c .. '/' .. d)
      redis.call('HSET', key_of(c, d), 'owner', owner, 'untouched', '')
      set_state(c, d, 'PROCESSING')
      each_operation(c, d, function(id) op_alive(id, '') end)
      if alone or bytes < 0 then break end
    end
  end
  if #taken > 0 then
    redis.call('ZADD', P .. 'queues', NOW, c)
    return taken
  end
  if redis.call('ZCARD', P .. 'ready:' .. c) == 0 then redis.call('ZREM', P .. 'queues', c) end
end
return {}
"""
)

# prefix, corpus, owner, lease ms, doing, (id, generation)… -> ids that are no longer this owner's
RENEW = (
    COMMON
    + """
local c, owner, lease, lost = ARGV[2], ARGV[3], tonumber(ARGV[4]), {}
for i = 6, #ARGV, 2 do
  local d = ARGV[i]
  if is_mine(c, d, ARGV[i + 1], owner) then
    redis.call('ZADD', P .. 'leases', NOW + lease, c .. '/' .. d)
    each_operation(c, d, function(id) op_alive(id, ARGV[5]) end)
  else
    table.insert(lost, d)
  end
end
return lost
"""
)

# prefix, corpus, id, generation, owner, chunk count, embedded, title -> {'OK', blob no longer needed?} or {'LOST'}
FINISH = (
    COMMON
    + """
local c, d = ARGV[2], ARGV[3]
if not is_mine(c, d, ARGV[4], ARGV[5]) then return {'LOST'} end
local key = key_of(c, d)
local f = redis.call('HMGET', key, 'version', 'digest', 'active')
local old = blob_of(f[3])
redis.call('HSET', key, 'active', f[1], 'active_generation', ARGV[4], 'active_digest', f[2], 'active_title', ARGV[8],
  'chunk_count', ARGV[6], 'title', ARGV[8], 'error', '', 'losses', 0, 'retries', 0)
unqueue(c, d)
set_state(c, d, 'ACTIVE')
finish_operations(c, d, 'succeeded', '', tonumber(ARGV[6]), tonumber(ARGV[7]))
if tonumber(ARGV[7]) < tonumber(ARGV[6]) then
  redis.call('ZADD', P .. 'warming', 'NX', NOW, c)
  redis.call('INCR', P .. 'warming:mark:' .. c)
end
local unused = {'OK'}
if old and old ~= blob_of(f[1]) then orphan(unused, old) end
return unused
"""
)

# prefix, corpus, id, generation, owner, error -> {'OK'} or {'LOST'}
FAIL = (
    COMMON
    + """
local c, d = ARGV[2], ARGV[3]
if not is_mine(c, d, ARGV[4], ARGV[5]) then return {'LOST'} end
redis.call('HSET', key_of(c, d), 'error', ARGV[6], 'losses', 0, 'retries', 0)
unqueue(c, d)
set_state(c, d, 'FAILED')
finish_operations(c, d, 'failed', ARGV[6], 0, 0)
return {'OK'}
"""
)

# prefix, corpus, id, generation, owner, delay ms, counts as retry -> {'OK'} or {'LOST'}
GIVE_BACK = (
    COMMON
    + """
local c, d, delay = ARGV[2], ARGV[3], tonumber(ARGV[6])
if not is_mine(c, d, ARGV[4], ARGV[5]) then return {'LOST'} end
unqueue(c, d)
set_state(c, d, 'PENDING')
enqueue(c, d, NOW + delay)
if delay > 0 then
  redis.call('HINCRBY', key_of(c, d), 'retries', 1)
  each_operation(c, d, function(id) op_retry(id, NOW + delay) end)
end
return {'OK'}
"""
)

# prefix, most losses, error -> {documents ready to be taken, documents reclaimed}
RECLAIM = (
    COMMON
    + """
local most, reclaimed = tonumber(ARGV[2]), 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', 0, NOW, 'LIMIT', 0, 1000)) do
  local c, d = string.match(member, '^([^/]+)/(.+)$')
  redis.call('ZREM', P .. 'leases', member)
  if redis.call('HGET', key_of(c, d), 'state') == 'PROCESSING' then
    reclaimed = reclaimed + 1
    local losses = redis.call('HINCRBY', key_of(c, d), 'losses', 1)
    unqueue(c, d)
    if losses >= most then
      redis.call('HSET', key_of(c, d), 'error', ARGV[3])
      set_state(c, d, 'FAILED')
      finish_operations(c, d, 'failed', ARGV[3], 0, 0)
    else
      set_state(c, d, 'PENDING')
      enqueue(c, d, NOW)
    end
  end
end
local ready = 0
for _, c in ipairs(redis.call('ZRANGE', P .. 'queues', 0, -1)) do
  ready = ready + redis.call('ZCOUNT', P .. 'ready:' .. c, 0, NOW)
end
ready = ready + redis.call('ZCOUNT', P .. 'warming', 0, NOW)
return {ready, reclaimed}
"""
)

# prefix, corpus, id, deleted error -> {'OK', blobs…} or {'MISSING'}
BEGIN_DELETE = (
    COMMON
    + """
local c, d = ARGV[2], ARGV[3]
local f = redis.call('HMGET', key_of(c, d), 'state', 'version', 'active')
if not f[1] then return {'MISSING'} end
unqueue(c, d)
finish_operations(c, d, 'failed', ARGV[4], 0, 0)
redis.call('HSET', key_of(c, d), 'generation', '', 'digest', '')
set_state(c, d, 'DELETING')
local blobs = {'OK'}
local version, active = blob_of(f[2]), blob_of(f[3])
if version then table.insert(blobs, version) end
if active and active ~= version then table.insert(blobs, active) end
return blobs
"""
)

# prefix, corpus, id, request key, request record
END_DELETE = (
    COMMON
    + f"""
local c, d = ARGV[2], ARGV[3]
if redis.call('HGET', key_of(c, d), 'state') == 'DELETING' then forget(c, d) end
if ARGV[4] ~= '' then redis.call('SET', ARGV[4], ARGV[5], 'EX', {REQUEST_SECONDS}) end
return 'OK'
"""
)

# prefix, operation -> blobs no longer needed
CANCEL = (
    COMMON
    + """
local operation, unused = ARGV[2], {}
local op = P .. 'op:' .. operation
if redis.call('EXISTS', op) == 0 or redis.call('HEXISTS', op, 'state') == 1 then return unused end
redis.call('HSET', op, 'cancel_requested', 1)
local c = string.match(redis.call('HGET', op, 'target'), '^corpora/(.+)$')
if redis.call('HGET', op, 'kind') == 'WARM_CORPUS' then
  local f = redis.call('HMGET', op, 'total', 'succeeded')
  redis.call('HSET', op, 'cancelled', f[1] - f[2])
  redis.call('ZREM', P .. 'warming', c)
  redis.call('DEL', P .. 'warming:operation:' .. c)
  op_end(operation, 'CANCELLED')
  return unused
end
for _, d in ipairs(redis.call('ZRANGE', P .. 'ready:' .. c, 0, -1)) do
  local key, mine, others = key_of(c, d), false, {}
  each_operation(c, d, function(id)
    if id == operation then mine = true else table.insert(others, id) end
  end)
  if mine then
    redis.call('HSET', key, 'operations', table.concat(others, ' '))
    if #others == 0 then
      local f = redis.call('HMGET', key, 'version', 'active', 'active_generation', 'active_digest', 'active_title')
      unqueue(c, d)
      orphan(unused, blob_of(f[1]))
      if f[2] then
        redis.call('HSET', key, 'version', f[2], 'generation', f[3], 'digest', f[4], 'title', f[5], 'error', '')
        set_state(c, d, 'ACTIVE')
      else
        forget(c, d)
      end
    end
    op_item(operation, c .. '/' .. d, 'cancelled', '')
  end
end
return unused
"""
)

# prefix, corpus, request key, request record: the last step of deleting a corpus
FORGET_CORPUS = (
    COMMON
    + f"""
local c = ARGV[2]
for _, d in ipairs(redis.call('ZRANGE', P .. 'docs:' .. c, 0, -1)) do forget(c, d) end
redis.call('DEL', P .. 'docs:' .. c, P .. 'ready:' .. c)
redis.call('ZREM', P .. 'queues', c)
local warming = redis.call('GET', P .. 'warming:operation:' .. c)
if warming then op_end(warming, 'CANCELLED') end
redis.call('ZREM', P .. 'warming', c)
redis.call('DEL', P .. 'warming:operation:' .. c, P .. 'warming:mark:' .. c)
redis.call('SREM', P .. 'leaving', c)
if ARGV[3] ~= '' then redis.call('SET', ARGV[3], ARGV[4], 'EX', {REQUEST_SECONDS}) end
return 'OK'
"""
)
