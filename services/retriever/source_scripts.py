"""The atomic steps of sources and their syncs, as Lua that runs inside Redis; see `sources_lua.py` for the keys.

A sync belongs to whoever holds its lease: every step of a worker names itself as the owner, and does nothing and says LOST when the sync
was paused, cancelled, taken over or deleted meanwhile.
"""

from __future__ import annotations

from services.retriever.catalog_scripts import COMMON, REQUEST_SECONDS

_COMMON = (
    COMMON
    + """
local function begin_sync(c, s, operation, full, confirm, traceparent)
  local key, member = source_of(c, s), c .. '/' .. s
  redis.call('HSET', P .. 'op:' .. operation, 'open', 1)
  op_create(operation, 'SYNC_SOURCE', 'corpora/' .. c .. '/sources/' .. s, 0)
  redis.call('ZADD', P .. 'ops:corpora/' .. c, NOW, operation)
  if redis.call('HGET', key, 'compare') == '1' then full = '1' end
  redis.call('HSET', key, 'operation', operation, 'phase', 'READING', 'begun', NOW, 'full', full, 'confirm', confirm,
    'losses', 0, 'retries', 0, 'withheld', 0, 'progress', 0, 'compare', '', 'traceparent', traceparent)
  redis.call('DEL', key .. ':plan')
  redis.call('ZADD', P .. 'syncs:ready', NOW, member)
  redis.call('ZREM', P .. 'syncs:due', member)
end

local function is_mine_sync(c, s, owner)
  local f = redis.call('HMGET', source_of(c, s), 'owner', 'operation')
  return f[1] == owner and f[2] and redis.call('SISMEMBER', P .. 'leaving', c) == 0
end

local function hand_back(c, s, at)
  redis.call('HDEL', source_of(c, s), 'owner')
  redis.call('ZREM', P .. 'syncs:leases', c .. '/' .. s)
  redis.call('ZADD', P .. 'syncs:ready', at, c .. '/' .. s)
end
"""
)

_ANSWERED = """
if ARGV[4] ~= '' then
  local before = redis.call('GET', ARGV[4])
  if before then return {'REPEATED', before} end
end
"""
_ANSWER = f"if ARGV[4] ~= '' then redis.call('SET', ARGV[4], ARGV[5], 'EX', {REQUEST_SECONDS}) end\n"

# prefix, corpus, source, request key, request record, spec, interval ms, paused, operation, traceparent
# -> {'OK'}, {'REPEATED', record}, {'GONE'}, {'LEAVING'} or {'EXISTS'}
CREATE = (
    _COMMON
    + "local c, s = ARGV[2], ARGV[3]\n"
    + _ANSWERED
    + """
if redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {'GONE'} end
if redis.call('HEXISTS', P .. 'syncs:leaving', c .. '/' .. s) == 1 then return {'LEAVING'} end
if redis.call('EXISTS', source_of(c, s)) == 1 then return {'EXISTS'} end
redis.call('HSET', source_of(c, s), 'spec', ARGV[6], 'interval', ARGV[7], 'paused', ARGV[8], 'create_time', NOW, 'update_time', NOW)
redis.call('ZADD', P .. 'sources:' .. c, 0, s)
redis.call('SADD', P .. 'corpora', c)
if ARGV[8] ~= '1' then begin_sync(c, s, ARGV[9], '', '', ARGV[10]) end
"""
    + _ANSWER
    + "return {'OK'}"
)

# prefix, corpus, source, request key, request record, spec, interval ms, everything is to be compared anew -> {'OK'}, {'REPEATED', record}
# or {'MISSING'}. A sync that is going on begins again with what holds now.
UPDATE = (
    _COMMON
    + "local c, s = ARGV[2], ARGV[3]\n"
    + _ANSWERED
    + """
local key = source_of(c, s)
if redis.call('ZSCORE', P .. 'sources:' .. c, s) == false then return {'MISSING'} end
redis.call('HSET', key, 'spec', ARGV[6], 'interval', ARGV[7], 'update_time', NOW)
local syncing = redis.call('HGET', key, 'operation')
if ARGV[8] == '1' then
  redis.call('HSET', key, 'cursor', '', 'compare', '1')
  if syncing then
    redis.call('HSET', key, 'phase', 'READING', 'full', '1', 'compare', '')
    hand_back(c, s, NOW)
  end
end
if not syncing then schedule(c, s) end
"""
    + _ANSWER
    + "return {'OK'}"
)

# prefix, corpus, source, operation, full, confirm, traceparent -> {'OK', operation}, {'MISSING'} or {'PAUSED'}
BEGIN = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
local key = source_of(c, s)
if redis.call('ZSCORE', P .. 'sources:' .. c, s) == false or redis.call('SISMEMBER', P .. 'leaving', c) == 1 then return {'MISSING'} end
local f = redis.call('HMGET', key, 'paused', 'operation')
if f[1] == '1' then return {'PAUSED'} end
if f[2] then
  if ARGV[6] == '1' then redis.call('HSET', key, 'confirm', '1') end
  return {'OK', f[2]}
end
begin_sync(c, s, ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return {'OK', ARGV[4]}
"""
)

# prefix, operation… -> how many syncs were begun; at most one for each operation id
BEGIN_DUE = (
    _COMMON
    + """
local begun = 0
for i, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'syncs:due', 0, NOW, 'LIMIT', 0, #ARGV - 1)) do
  local c, s = string.match(member, '^([^/]+)/(.+)$')
  local f = redis.call('HMGET', source_of(c, s), 'spec', 'paused', 'operation')
  redis.call('ZREM', P .. 'syncs:due', member)
  if f[1] and f[2] ~= '1' and not f[3] and redis.call('SISMEMBER', P .. 'leaving', c) == 0 then
    begin_sync(c, s, ARGV[i + 1], '', '', '')
    begun = begun + 1
  end
end
return begun
"""
)

# prefix, corpus, source -> {'OK', blobs no longer needed…} or {'MISSING'}
PAUSE = (
    _COMMON
    + """
local c, s, unused = ARGV[2], ARGV[3], {'OK'}
local key = source_of(c, s)
if redis.call('ZSCORE', P .. 'sources:' .. c, s) == false then return {'MISSING'} end
redis.call('HSET', key, 'paused', '1')
local operation = redis.call('HGET', key, 'operation')
if operation then
  redis.call('HSET', P .. 'op:' .. operation, 'cancel_requested', 1)
  withdraw(c, operation, unused)
  sync_end(c, s, 'CANCELLED', '')
end
redis.call('ZREM', P .. 'syncs:due', c .. '/' .. s)
return unused
"""
)

# prefix, corpus, source -> {'OK'} or {'MISSING'}
RESUME = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
if redis.call('ZSCORE', P .. 'sources:' .. c, s) == false then return {'MISSING'} end
redis.call('HSET', source_of(c, s), 'paused', '')
if redis.call('HEXISTS', source_of(c, s), 'operation') == 0 then schedule(c, s) end
return {'OK'}
"""
)

# prefix, corpus, source, documents go too -> {'OK', documents that go, blobs no longer needed…} or {'MISSING'}
BEGIN_DELETE = (
    _COMMON
    + """
local c, s, member = ARGV[2], ARGV[3], ARGV[2] .. '/' .. ARGV[3]
local known = redis.call('HGET', P .. 'syncs:leaving', member)
if known then return {'OK', known} end
if redis.call('ZSCORE', P .. 'sources:' .. c, s) == false then return {'MISSING'} end
local count = ARGV[4] == '1' and tostring(redis.call('HLEN', source_of(c, s) .. ':items')) or ''
local answer = {'OK', count}
local operation = redis.call('HGET', source_of(c, s), 'operation')
if operation then
  withdraw(c, operation, answer)
  sync_end(c, s, 'CANCELLED', '')
end
redis.call('ZREM', P .. 'sources:' .. c, s)
redis.call('ZREM', P .. 'syncs:due', member)
redis.call('HSET', P .. 'syncs:leaving', member, count)
return answer
"""
)

# prefix, corpus, source, request key, request record: documents that are still there are nobody's; a source that finds one may take it over
END_DELETE = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
for _, text in ipairs(redis.call('HVALS', source_of(c, s) .. ':items')) do
  local key = key_of(c, cjson.decode(text).document)
  if redis.call('HGET', key, 'source') == s then redis.call('HSET', key, 'source', '', 'adoptable', '1') end
end
forget_source(c, s)
"""
    + _ANSWER
    + "return 'OK'"
)

# prefix, owner, lease ms -> {} or {corpus, source, operation, spec, cursor, full, phase, retries, last begun, traceparent}
CLAIM = (
    _COMMON
    + """
for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'syncs:ready', 0, NOW, 'LIMIT', 0, 100)) do
  local c, s = string.match(member, '^([^/]+)/(.+)$')
  local key = source_of(c, s)
  redis.call('ZREM', P .. 'syncs:ready', member)
  local f = redis.call('HMGET', key, 'operation', 'spec', 'cursor', 'full', 'phase', 'retries', 'last_begun', 'traceparent')
  if f[1] then
    redis.call('HSET', key, 'owner', ARGV[2])
    redis.call('ZADD', P .. 'syncs:leases', NOW + ARGV[3], member)
    op_alive(f[1], '')
    return {c, s, f[1], f[2], f[3] or '', f[4] or '', f[5], f[6], f[7] or '0', f[8] or ''}
  end
end
return {}
"""
)

# prefix, corpus, source, owner, lease ms, doing -> 'OK' or 'LOST'
RENEW = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
if not is_mine_sync(c, s, ARGV[4]) then return 'LOST' end
redis.call('ZADD', P .. 'syncs:leases', NOW + ARGV[5], c .. '/' .. s)
local f = redis.call('HMGET', source_of(c, s), 'operation', 'phase')
-- While documents are being indexed, they say what is happening.
if f[2] == 'READING' then op_alive(f[1], ARGV[6]) else redis.call('HSET', P .. 'op:' .. f[1], 'update_time', NOW) end
return 'OK'
"""
)

# prefix, corpus, source, owner, total as it is known, replaced error, leaving error, foreign error, entries (JSON)
# -> {'OK', blobs no longer needed…} or {'LOST'}
# An entry: kind found (key, version, document), same (key, version, document id) or failed (key, name, uri, error, document id or '').
RECORD = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
if not is_mine_sync(c, s, ARGV[4]) then return {'LOST'} end
local key, unused = source_of(c, s), {'OK'}
local operation = redis.call('HGET', key, 'operation')
local op = P .. 'op:' .. operation
local errors = {replaced = ARGV[6], leaving = ARGV[7], foreign = ARGV[8]}

-- What the key stood for before goes when everything was read: see MOVED in sync_rules.py.
local function remember(entry, d, digest)
  local before = redis.call('HGET', key .. ':items', entry.key)
  local old = before and cjson.decode(before).document
  if old and old ~= d then
    redis.call('HSET', key .. ':items', '\\0moved:' .. old, cjson.encode({version = '', document = old, digest = ''}))
  end
  redis.call('HSET', key .. ':items', entry.key, cjson.encode({version = entry.version, document = d, digest = digest}))
  if redis.call('EXISTS', key_of(c, d)) == 1 then redis.call('HSET', key_of(c, d), 'source_key', entry.key) end
end

local function plan(d, what) redis.call('HSETNX', key .. ':plan', d, what) end

local function same(entry)
  local d = entry.document
  local f = redis.call('HMGET', key_of(c, d), 'state', 'uri', 'error', 'digest', 'operations')
  remember(entry, d, f[4] or '')
  if f[1] == 'ACTIVE' then
    op_item(operation, c .. '/' .. d, 'unchanged', '')
  elseif f[1] == 'FAILED' then
    op_item(operation, c .. '/' .. d, 'failed', failure(c, d, f[2], f[3]))
  elseif f[1] == 'PENDING' or f[1] == 'PROCESSING' then
    redis.call('HSET', key_of(c, d), 'operations', f[5] .. ' ' .. operation)
    plan(d, 'changed')
  else
    op_item(operation, c .. '/' .. d, 'failed', failure(c, d, f[2] or '', errors.leaving))
  end
end

for _, entry in ipairs(cjson.decode(ARGV[9])) do
  if entry.kind == 'found' then
    local d = entry.document.id
    local result, was_there = take_in(c, operation, s, entry.document, errors, unused)
    if result ~= 'refused' then
      remember(entry, d, entry.document.digest)
      if result ~= 'unchanged' then plan(d, was_there and 'changed' or 'added') end
    end
  elseif entry.kind == 'same' then
    same(entry)
  else
    local item = entry.document ~= '' and c .. '/' .. entry.document or 'item ' .. entry.key
    op_item(operation, item, 'failed', cjson.encode({name = entry.name, uri = entry.uri, error = entry.error}))
  end
end
local f = redis.call('HMGET', op, 'succeeded', 'unchanged', 'failed', 'cancelled')
redis.call('HSET', op, 'total', math.max(tonumber(ARGV[5]), f[1] + f[2] + f[3] + f[4]))
-- Workers that are lost one after the other at the same place are counted; those that got further are not.
local progress = redis.call('HLEN', op .. ':items') + redis.call('HLEN', key .. ':plan')
if progress > tonumber(redis.call('HGET', key, 'progress') or 0) then redis.call('HSET', key, 'progress', progress, 'losses', 0) end
return unused
"""
)

# prefix, corpus, source, owner, key, document: the document was deleted -> 'OK' or 'LOST'
REMOVED = (
    _COMMON
    + """
local c, s, d = ARGV[2], ARGV[3], ARGV[6]
if not is_mine_sync(c, s, ARGV[4]) then return 'LOST' end
redis.call('HDEL', source_of(c, s) .. ':items', ARGV[5])
if d ~= '' then
  redis.call('HSET', source_of(c, s) .. ':plan', d, 'removed')
  op_item(redis.call('HGET', source_of(c, s), 'operation'), c .. '/' .. d, 'succeeded', '')
end
return 'OK'
"""
)

# prefix, corpus, source, owner, cursor, withheld: everything was read; the operation ends with its documents -> 'OK' or 'LOST'
CLOSE = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
if not is_mine_sync(c, s, ARGV[4]) then return 'LOST' end
local key = source_of(c, s)
local operation = redis.call('HGET', key, 'operation')
local op = P .. 'op:' .. operation
local total = redis.call('HLEN', op .. ':items')
for _, d in ipairs(redis.call('HKEYS', key .. ':plan')) do
  if redis.call('HEXISTS', op .. ':items', c .. '/' .. d) == 0 then total = total + 1 end
end
redis.call('HSET', op, 'total', total)
redis.call('HDEL', op, 'doing')
redis.call('HSET', key, 'phase', 'SETTLING', 'cursor', ARGV[5], 'withheld', ARGV[6])
return 'OK'
"""
)

# prefix, corpus, source, owner, lease ms -> 'DONE', 'WAIT' or 'LOST'
SETTLE = (
    _COMMON
    + """
local c, s = ARGV[2], ARGV[3]
if not is_mine_sync(c, s, ARGV[4]) then return 'LOST' end
local op = P .. 'op:' .. redis.call('HGET', source_of(c, s), 'operation')
local f = redis.call('HMGET', op, 'total', 'succeeded', 'unchanged', 'failed', 'cancelled')
if f[2] + f[3] + f[4] + f[5] < tonumber(f[1]) then
  redis.call('ZADD', P .. 'syncs:leases', NOW + ARGV[5], c .. '/' .. s)
  return 'WAIT'
end
sync_end(c, s, 'SUCCEEDED', '')
return 'DONE'
"""
)

# prefix, corpus, source, owner, delay ms, attempts at most (0: any number), error -> 'RETRY', 'FAILED' or 'LOST'
RETRY = (
    _COMMON
    + """
local c, s, delay, most = ARGV[2], ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
if not is_mine_sync(c, s, ARGV[4]) then return 'LOST' end
local key = source_of(c, s)
if most > 0 and redis.call('HINCRBY', key, 'retries', 1) >= most then
  sync_end(c, s, 'FAILED', ARGV[7])
  return 'FAILED'
end
hand_back(c, s, NOW + delay)
op_retry(redis.call('HGET', key, 'operation'), NOW + delay)
return 'RETRY'
"""
)

# prefix, corpus, source, owner: an orderly stop, which costs nothing -> 'OK' or 'LOST'
GIVE_BACK = (
    _COMMON
    + """
if not is_mine_sync(ARGV[2], ARGV[3], ARGV[4]) then return 'LOST' end
hand_back(ARGV[2], ARGV[3], NOW)
return 'OK'
"""
)

# prefix, corpus, source, owner, error -> 'OK' or 'LOST'
FAIL = (
    _COMMON
    + """
if not is_mine_sync(ARGV[2], ARGV[3], ARGV[4]) then return 'LOST' end
sync_end(ARGV[2], ARGV[3], 'FAILED', ARGV[5])
return 'OK'
"""
)
