"""The catalog's atomic steps, as Lua that runs inside Redis.

Every change of a document's state happens in one of these, together with the queue entry, the index entries and the operation items
that belong to it. A process may be killed between any two of them; nothing is then half done.

Keys, after the prefix (see also `services/chassis/operations_redis.py`):
    doc:{corpus}:{id}        hash  state, version (JSON), generation, digest, size, uri, title, owner, operations (ids, blank between),
                                   losses, retries, chunk_count, error, active (JSON of the version that answers), active_generation…,
                                   access (number of who may read it), row_access (number its chunks have, or are about to get)
    docs:{corpus}            zset  ids of all documents, score 0, so ordered by id; docs:{corpus}:{state} likewise
    read:{corpus}:{access}   zset  the same for the documents of one access; read:{corpus}:{access}:{state} likewise
    access:{corpus}          hash  number -> who may read (`Access.text`), for every access a document of the corpus ever had
    accessed:{corpus}        str   changes whenever a number is added to access:{corpus}
    regranting               zset  `corpus/id` of documents whose chunks may not have their row_access yet, by since when
    tenants                  zset  tenants with waiting documents, by whose turn was longest ago
    queues:{tenant}          zset  their corpora with waiting documents, likewise
    turns                    str   counts the turns
    ready:{corpus}           zset  waiting documents by the time from which they may be taken
    leases                   zset  `corpus/id` of documents in hand, by when the lease ends
    staged                   zset  blobs being written that no document points to yet, by when they were begun
    leaving                  set   corpora being deleted
    corpora                  set   corpora with documents or sources, or that had some: those whose sizes the beat reports
    reindex:…, lacks:…, indexing…, frozen:…, discarded   see reindex_lua.py
    source:…, sources:…, syncs:…   see sources_lua.py; a document's source names the one that keeps it, adoptable is 1 once that is gone
    warming                  zset  lazy corpora with chunks to embed, by when a worker may take one; warming:operation:{corpus},
                                   warming:mark:{corpus} (counts documents finished, so that none is overlooked)
    request:{tenant}:{method}:{id}  str  what was asked and answered under a request id (24 hours)
    ops:tenants/{tenant}     zset  operations of a tenant, by time of creation
    lock:{corpus}:{id}       str   who may change the document's chunks in the store
"""

from __future__ import annotations

from services.chassis.operations_redis import OPERATIONS_LUA
from services.retriever.reindex_lua import REINDEX_LUA
from services.retriever.sources_lua import SOURCES_LUA

REQUEST_SECONDS = 24 * 3600

COMMON = (
    OPERATIONS_LUA
    + REINDEX_LUA
    + """
local function key_of(c, d) return P .. 'doc:' .. c .. ':' .. d end

local function tenant_of(c) return string.match(c, '^(.+)%.') or 'default' end

-- Tenants see their own operations only, so each has a list of its own.
local plain_op_create = op_create
local function op_create(id, kind, target, total)
  plain_op_create(id, kind, target, total)
  redis.call('ZADD', P .. 'ops:tenants/' .. tenant_of(string.match(target, '^corpora/([^/]+)') or ''), NOW, id)
end

-- The indexes that hold a document of this state and access.
local function each_index(c, state, access, visit)
  visit(P .. 'docs:' .. c)
  visit(P .. 'read:' .. c .. ':' .. access)
  if state then
    visit(P .. 'docs:' .. c .. ':' .. state)
    visit(P .. 'read:' .. c .. ':' .. access .. ':' .. state)
  end
end

local function unindex(c, d)
  local f = redis.call('HMGET', key_of(c, d), 'state', 'access')
  each_index(c, f[1], f[2] or '-1', function(index) redis.call('ZREM', index, d) end)
end

local function index(c, d)
  local f = redis.call('HMGET', key_of(c, d), 'state', 'access')
  redis.call('SADD', P .. 'corpora', c)
  each_index(c, f[1], f[2] or '-1', function(index) redis.call('ZADD', index, 0, d) end)
end

local function set_state(c, d, state)
  unindex(c, d)
  redis.call('HSET', key_of(c, d), 'state', state, 'update_time', NOW)
  index(c, d)
end

local function forget(c, d)
  unindex(c, d)
  not_to_be_indexed(c, d)
  redis.call('ZREM', P .. 'regranting', c .. '/' .. d)
  -- Nor does the source that kept it remember it.
  local f = redis.call('HMGET', key_of(c, d), 'source', 'source_key')
  if f[1] and f[1] ~= '' and f[2] then
    local items = P .. 'source:' .. c .. ':' .. f[1] .. ':items'
    local item = redis.call('HGET', items, f[2])
    if item and cjson.decode(item).document == d then redis.call('HDEL', items, f[2]) end
    redis.call('HDEL', items, '\\0moved:' .. d)
  end
  redis.call('DEL', key_of(c, d))
end

-- The number of an access, as a text; it is kept with its meaning. `access.py` computes the same.
local function intern(c, text)
  if text == 'tenant' then return '0' end
  if text == 'nobody' then return '-1' end
  local id = string.format('%.0f', 1 + tonumber(string.sub(redis.sha1hex(text), 1, 13), 16))
  if redis.call('HSETNX', P .. 'access:' .. c, id, text) == 1 then
    redis.call('SET', P .. 'accessed:' .. c, string.format('%.0f', NOW) .. ':' .. redis.call('HLEN', P .. 'access:' .. c))
  elseif redis.call('HGET', P .. 'access:' .. c, id) ~= text then
    error('ACCESS_COLLISION two lists of readers have the same number')
  end
  return id
end

-- Nobody whom one of the two does not admit. For two lists: the names in both, which may be fewer than the people in both.
local function meet(c, a, b)
  if a == b or b == '0' then return a end
  if a == '0' then return b end
  local one, other = redis.call('HGET', P .. 'access:' .. c, a), redis.call('HGET', P .. 'access:' .. c, b)
  if not one or not other then return '-1' end
  local there, both = {}, {}
  for line in string.gmatch(other, '[^\\n]+') do there[line] = true end
  for line in string.gmatch(one, '[^\\n]+') do
    if there[line] then table.insert(both, line) end
  end
  return intern(c, #both > 0 and table.concat(both, '\\n') or 'nobody')
end

-- Who may read the document, and whom its chunks in the store are to admit.
-- They are rewritten by whoever changed it, before it answers; should it be killed, by the upkeep.
local function set_access(c, d, access, rows)
  local key = key_of(c, d)
  local f = redis.call('HMGET', key, 'access', 'row_access', 'untouched', 'state')
  unindex(c, d)
  redis.call('HSET', key, 'access', access, 'row_access', rows)
  index(c, d)
  if f[4] and f[3] ~= '1' and (f[1] ~= access or f[2] ~= rows) then
    redis.call('ZADD', P .. 'regranting', NOW / 1000, c .. '/' .. d)
  end
end

local function enqueue(c, d, at)
  redis.call('ZADD', P .. 'ready:' .. c, at, d)
  redis.call('ZADD', P .. 'queues:' .. tenant_of(c), 'NX', 0, c)
  redis.call('ZADD', P .. 'tenants', 'NX', 0, tenant_of(c))
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

-- Takes one document in, for a call (source '') or for the sync of a source. Returns 'unchanged', 'regranted' (only who may read it has
-- changed), 'refused', 'joined' (the same version waits already) or 'queued', and whether the document was there before.
-- `errors`: packed statuses replaced, leaving, foreign.
--
-- A document handed in without `access` keeps what it has; a new one gets `default_access`, or is nobody's. While a new version waits, the
-- chunks of the one before admit nobody whom the new access does not admit, and nobody whom the former did not: what was taken out of the
-- new version stays where it was.
local function take_in(c, operation, source, document, errors, unused)
  local d, key = document.id, key_of(c, document.id)
  local f = redis.call('HMGET', key, 'state', 'digest', 'version', 'active', 'source', 'adoptable', 'operations', 'access', 'row_access')
  local state = f[1]
  local given = document.access
  if not given or given == '' then given = not f[8] and document.default_access or '' end
  redis.call('ZREM', P .. 'staged', document.blob)
  if state == 'DELETING' then
    op_item(operation, c .. '/' .. d, 'failed', failure(c, d, document.uri, errors.leaving))
    orphan(unused, document.blob)
    return 'refused', true
  elseif state and (f[5] or '') ~= source and f[6] ~= '1' then
    op_item(operation, c .. '/' .. d, 'failed', failure(c, d, document.uri, errors.foreign))
    orphan(unused, document.blob)
    return 'refused', true
  end
  redis.call('HSET', key, 'source', source, 'adoptable', '')
  local access = given ~= '' and intern(c, given) or f[8] or '-1'
  if state == 'ACTIVE' and f[2] == document.digest then
    orphan(unused, document.blob)
    if access == f[8] then
      op_item(operation, c .. '/' .. d, 'unchanged', '')
      return 'unchanged', true
    end
    set_access(c, d, access, access)
    redis.call('HSET', key, 'update_time', NOW)
    op_item(operation, c .. '/' .. d, 'succeeded', '')
    return 'regranted', true
  end
  set_access(c, d, access, meet(c, f[9] or access, access))
  if (state == 'PENDING' or state == 'PROCESSING') and f[2] == document.digest then
    redis.call('HSET', key, 'operations', f[7] .. ' ' .. operation)
    orphan(unused, document.blob)
    return 'joined', true
  end
  if state then
    -- A sync that takes up where a killed one stopped may replace what that one handed in: the item is still open.
    local others = {}
    each_operation(c, d, function(id) if id ~= operation then table.insert(others, id) end end)
    redis.call('HSET', key, 'operations', table.concat(others, ' '))
    finish_operations(c, d, 'failed', errors.replaced, 0, 0)
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
  return 'queued', state ~= false
end

-- Takes the documents that wait for a worker out of the queue, as far as only this operation wants them: what was there before stands.
local function withdraw(c, operation, unused)
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
            local rows = redis.call('HGET', key, 'row_access')
          set_access(c, d, rows, rows)
        else
          forget(c, d)
        end
      end
      op_item(operation, c .. '/' .. d, 'cancelled', '')
    end
  end
end
"""
    + SOURCES_LUA
)

# prefix, corpus, operation, request key, request record, replaced error, leaving error, documents (JSON), kept-by-a-source error
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
local errors = {{replaced = ARGV[6], leaving = ARGV[7], foreign = ARGV[9]}}
for _, document in ipairs(documents) do take_in(c, operation, '', document, errors, unused) end
return unused
"""
)

# prefix, owner, lease ms, most documents, most bytes -> {} or {corpus, id, version, operations, losses, retries, untouched, id…}
CLAIM = (
    COMMON
    + """
local owner, lease, most, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local turn = redis.call('INCR', P .. 'turns')
for _, t in ipairs(redis.call('ZRANGE', P .. 'tenants', 0, -1)) do
  for _, c in ipairs(redis.call('ZRANGE', P .. 'queues:' .. t, 0, -1)) do
    local due = redis.call('ZRANGEBYSCORE', P .. 'ready:' .. c, 0, NOW, 'LIMIT', 0, most)
    if redis.call('EXISTS', P .. 'frozen:' .. c) == 1 then due = {} end
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
      redis.call('ZADD', P .. 'queues:' .. t, turn, c)
      redis.call('ZADD', P .. 'tenants', turn, t)
      return taken
    end
    if redis.call('ZCARD', P .. 'ready:' .. c) == 0 then redis.call('ZREM', P .. 'queues:' .. t, c) end
  end
  if redis.call('ZCARD', P .. 'queues:' .. t) == 0 then redis.call('ZREM', P .. 'tenants', t) end
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

# prefix, corpus, owner, (id, generation)… -> for each: the number of who may read it, or '' when it is no longer this owner's
GRANTS = (
    COMMON
    + """
local c, owner, grants = ARGV[2], ARGV[3], {}
for i = 4, #ARGV, 2 do
  table.insert(grants, is_mine(c, ARGV[i], ARGV[i + 1], owner) and redis.call('HGET', key_of(c, ARGV[i]), 'access') or '')
end
return grants
"""
)

# prefix, corpus, id, generation, owner, chunk count, embedded, title, collection written to -> {'OK', blob no longer needed?} or {'LOST'}
FINISH = (
    COMMON
    + """
local c, d = ARGV[2], ARGV[3]
if not is_mine(c, d, ARGV[4], ARGV[5]) then return {'LOST'} end
local key = key_of(c, d)
local f = redis.call('HMGET', key, 'version', 'digest', 'active', 'access')
local old = blob_of(f[3])
redis.call('HSET', key, 'row_access', f[4])
redis.call('HSET', key, 'active', f[1], 'active_generation', ARGV[4], 'active_digest', f[2], 'active_title', ARGV[8],
  count_field(c, ARGV[9]), ARGV[6], 'title', ARGV[8], 'error', '', 'losses', 0, 'retries', 0)
unqueue(c, d)
written_to(c, d, ARGV[9])
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

# prefix, most losses, error, error of a sync -> {documents and syncs ready to be taken, documents and syncs reclaimed}
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
reclaimed = reclaimed + reclaim_syncs(most, ARGV[4]) + reclaim_indexing(most, ARGV[3])
local ready = redis.call('ZCOUNT', P .. 'syncs:ready', 0, NOW)
for _, t in ipairs(redis.call('ZRANGE', P .. 'tenants', 0, -1)) do
  for _, c in ipairs(redis.call('ZRANGE', P .. 'queues:' .. t, 0, -1)) do
    ready = ready + redis.call('ZCOUNT', P .. 'ready:' .. c, 0, NOW)
  end
end
ready = ready + redis.call('ZCOUNT', P .. 'warming', 0, NOW) + waiting_to_be_indexed()
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
not_to_be_indexed(c, d)
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
local c = string.match(redis.call('HGET', op, 'target'), '^corpora/([^/]+)')
if redis.call('HGET', op, 'kind') == 'WARM_CORPUS' then
  local f = redis.call('HMGET', op, 'total', 'succeeded')
  redis.call('HSET', op, 'cancelled', f[1] - f[2])
  redis.call('ZREM', P .. 'warming', c)
  redis.call('DEL', P .. 'warming:operation:' .. c)
  op_end(operation, 'CANCELLED')
  return unused
end
withdraw(c, operation, unused)
local s = string.match(redis.call('HGET', op, 'target'), '/sources/(.+)$')
if s then sync_end(c, s, 'CANCELLED', '') end
return unused
"""
)

# prefix, corpus, request key, request record: the last step of deleting a corpus
FORGET_CORPUS = (
    COMMON
    + f"""
local c = ARGV[2]
for _, d in ipairs(redis.call('ZRANGE', P .. 'docs:' .. c, 0, -1)) do forget(c, d) end
forget_indexes(c)
redis.call('DEL', P .. 'docs:' .. c, P .. 'ready:' .. c, P .. 'access:' .. c)
redis.call('SET', P .. 'accessed:' .. c, string.format('%.0f', NOW) .. ':0')
redis.call('ZREM', P .. 'queues:' .. tenant_of(c), c)
local warming = redis.call('GET', P .. 'warming:operation:' .. c)
if warming then op_end(warming, 'CANCELLED') end
redis.call('ZREM', P .. 'warming', c)
redis.call('DEL', P .. 'warming:operation:' .. c, P .. 'warming:mark:' .. c)
for _, s in ipairs(redis.call('ZRANGE', P .. 'sources:' .. c, 0, -1)) do
  sync_end(c, s, 'CANCELLED', '')
  forget_source(c, s)
end
redis.call('SREM', P .. 'leaving', c)
redis.call('SREM', P .. 'corpora', c)
if ARGV[3] ~= '' then redis.call('SET', ARGV[3], ARGV[4], 'EX', {REQUEST_SECONDS}) end
return 'OK'
"""
)

# prefix, corpus, id, access (text) -> 'OK', 'MISSING'
UPDATE_ACCESS = (
    COMMON
    + """
local c, d = ARGV[2], ARGV[3]
local state = redis.call('HGET', key_of(c, d), 'state')
if not state or state == 'DELETING' then return 'MISSING' end
local access = intern(c, ARGV[4])
set_access(c, d, access, access)
redis.call('HSET', key_of(c, d), 'update_time', NOW)
return 'OK'
"""
)

# prefix, corpus, id, the number its chunks have now, request key, request record
REGRANTED = (
    COMMON
    + f"""
local c, d = ARGV[2], ARGV[3]
local rows = redis.call('HGET', key_of(c, d), 'row_access')
if not rows or rows == ARGV[4] then redis.call('ZREM', P .. 'regranting', c .. '/' .. d) end
if ARGV[5] ~= '' then redis.call('SET', ARGV[5], ARGV[6], 'EX', {REQUEST_SECONDS}) end
return 'OK'
"""
)

# prefix, corpus, operation, request key, request record, ids… -> {'OK', documents queued}, {'REPEATED', record} or {'GONE'}
RETRY = (
    COMMON
    + f"""
local c, operation, request = ARGV[2], ARGV[3], ARGV[4]
if redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {{'GONE'}} end
if request ~= '' then
  local before = redis.call('GET', request)
  if before then return {{'REPEATED', before}} end
  redis.call('SET', request, ARGV[5], 'EX', {REQUEST_SECONDS})
end
local failed = {{}}
for i = 6, #ARGV do
  if redis.call('HGET', key_of(c, ARGV[i]), 'state') == 'FAILED' then table.insert(failed, ARGV[i]) end
end
op_create(operation, 'INGEST_DOCUMENTS', 'corpora/' .. c, #failed)
for _, d in ipairs(failed) do
  redis.call('HSET', key_of(c, d), 'operations', operation, 'losses', 0, 'retries', 0, 'error', '')
  set_state(c, d, 'PENDING')
  enqueue(c, d, NOW)
end
return {{'OK', tostring(#failed)}}
"""
)
