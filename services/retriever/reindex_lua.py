"""The part of the catalog's Lua that knows the keys of a corpus's second index; scripts of documents and of indexes begin with it.

Keys, after the prefix. What an index lacks is kept with that index, not with the part it plays: so it stays true whatever the alias points
to, also when whoever switched it was killed before this was noted.
    reindex:{corpus}                   hash  serving (collection the alias pointed to when this was last noted), slot (of its chunk counts
                                             in the documents, '' or 'b'), collection (the other one), state (BUILDING or PREVIOUS),
                                             settings (of the other, as kept with its collection), made (it has been made), retries,
                                             and of the operation that goes on: operation, force, traceparent (of the call)
    lacks:{corpus}:{collection}        zset  documents whose present version the index lacks, by the time from which they may be taken
    lacks:{corpus}:{collection}:owners hash  those of them that are in hand -> owner
    lacks:{corpus}:{collection}:losses hash  document -> workers lost over it
    lacks:{corpus}:{collection}:aside  hash  documents set aside -> why
    indexing                           zset  corpora with an index that is being completed, by whose turn was longest ago
    indexing:leases                    zset  `corpus/collection/id` in hand, by when the lease ends
    frozen:{corpus}                    str   no document of it is claimed for ingestion: a switch is close. Ends by itself
    discarded                          set   `corpus/collection` of indexes to be dropped
"""

from __future__ import annotations

REINDEX_LUA = """
local function reindex_of(c) return P .. 'reindex:' .. c end

local function lacks(c, collection) return P .. 'lacks:' .. c .. ':' .. collection end

-- The field of a document with the number of its chunks in an index.
local function count_field(c, collection)
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'slot')
  local slot = f[2] or ''
  if not f[1] or collection == '' or collection == f[1] then return 'chunk_count' .. slot end
  return 'chunk_count' .. (slot == '' and 'b' or '')
end

local function is_recorded(c, d)
  local id = redis.call('HGET', reindex_of(c), 'operation')
  return not id or redis.call('HEXISTS', P .. 'op:' .. id .. ':items', c .. '/' .. d) == 1, id
end

local function let_go(c, collection, d)
  redis.call('ZREM', P .. 'indexing:leases', c .. '/' .. collection .. '/' .. d)
  return redis.call('HDEL', lacks(c, collection) .. ':owners', d)
end

-- A version of the document was written to one index and is the present one: the other lacks it.
local function written_to(c, d, collection)
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection', 'operation')
  if not f[1] or collection == '' then return end
  for place, each in ipairs({f[1], f[2] or false}) do
    if each then
      local key = lacks(c, each)
      redis.call('HDEL', key .. ':losses', d)
      redis.call('HDEL', key .. ':aside', d)
      if each == collection then
        redis.call('ZREM', key, d)
        let_go(c, each, d)
      else
        local new = redis.call('ZADD', key, NOW, d)
        local recorded, id = is_recorded(c, d)
        if place == 2 and new == 1 and not recorded and redis.call('HEXISTS', key .. ':owners', d) == 0 then
          redis.call('HINCRBY', P .. 'op:' .. id, 'total', 1)
        end
        if place == 1 or f[3] then redis.call('ZADD', P .. 'indexing', 'NX', NOW, c) end
      end
    end
  end
end

-- The document is being deleted: no index is to get it.
local function not_to_be_indexed(c, d)
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection')
  for place, each in ipairs({f[1], f[2] or false}) do
    if each then
      local key = lacks(c, each)
      local waited = redis.call('ZREM', key, d) + let_go(c, each, d)
      redis.call('HDEL', key .. ':losses', d)
      redis.call('HDEL', key .. ':aside', d)
      local recorded, id = is_recorded(c, d)
      if place == 2 and waited > 0 and not recorded then redis.call('HINCRBY', P .. 'op:' .. id, 'total', -1) end
    end
  end
end

local function set_aside(c, collection, d, error)
  local key = lacks(c, collection)
  redis.call('ZREM', key, d)
  redis.call('HDEL', key .. ':losses', d)
  redis.call('HSET', key .. ':aside', d, error)
  local f = redis.call('HMGET', reindex_of(c), 'collection', 'operation')
  if f[2] and f[1] == collection then
    local uri = redis.call('HGET', P .. 'doc:' .. c .. ':' .. d, 'uri') or ''
    op_item(f[2], c .. '/' .. d, 'failed', cjson.encode({name = 'corpora/' .. c .. '/documents/' .. d, uri = uri, error = error}))
  end
end

-- What is in hand waits again.
local function all_let_go(c, collection)
  for _, d in ipairs(redis.call('HKEYS', lacks(c, collection) .. ':owners')) do
    let_go(c, collection, d)
    redis.call('ZADD', lacks(c, collection), 'NX', NOW, d)
  end
end

local function forget_index(c, collection)
  all_let_go(c, collection)
  local key = lacks(c, collection)
  redis.call('DEL', key, key .. ':owners', key .. ':losses', key .. ':aside')
end

-- The other index is no more.
local function discard_index(c)
  local key = reindex_of(c)
  local collection = redis.call('HGET', key, 'collection')
  if not collection then return end
  forget_index(c, collection)
  redis.call('SADD', P .. 'discarded', c .. '/' .. collection)
  redis.call('HDEL', key, 'collection', 'state', 'settings', 'made')
end

-- Ends the operation that goes on, if there is one.
local function indexing_end(c, state, error)
  local key = reindex_of(c)
  local f = redis.call('HMGET', key, 'operation', 'collection')
  if not f[1] then return end
  local op = P .. 'op:' .. f[1]
  redis.call('HDEL', key, 'operation', 'force')
  if f[2] then all_let_go(c, f[2]) end
  if error ~= '' then redis.call('HSET', op, 'error', error) end
  if state == 'CANCELLED' then
    local n = redis.call('HMGET', op, 'total', 'succeeded', 'failed', 'unchanged')
    redis.call('HSET', op, 'cancelled', math.max(0, n[1] - n[2] - n[3] - n[4]))
  end
  redis.call('HDEL', op, 'open')
  op_end(f[1], state)
end

-- The corpus is going away with everything in it.
local function forget_indexes(c)
  indexing_end(c, 'CANCELLED', '')
  local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection')
  for _, each in ipairs({f[1], f[2] or false}) do
    if each then forget_index(c, each) end
  end
  redis.call('DEL', reindex_of(c), P .. 'frozen:' .. c)
  redis.call('ZREM', P .. 'indexing', c)
end

-- Takes documents back from workers that show no sign of life; one that has lost too many is set aside.
local function reclaim_indexing(most, error)
  local reclaimed = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'indexing:leases', 0, NOW, 'LIMIT', 0, 1000)) do
    local c, collection, d = string.match(member, '^([^/]+)/([^/]+)/(.+)$')
    if let_go(c, collection, d) == 1 then
      reclaimed = reclaimed + 1
      local key = lacks(c, collection)
      if redis.call('HINCRBY', key .. ':losses', d, 1) >= most then
        set_aside(c, collection, d, error)
      else
        redis.call('ZADD', key, 'NX', NOW, d)
      end
    end
  end
  return reclaimed
end

-- How many documents wait to be written to an index.
local function waiting_to_be_indexed()
  local waiting = 0
  for _, c in ipairs(redis.call('ZRANGEBYSCORE', P .. 'indexing', 0, NOW)) do
    local f = redis.call('HMGET', reindex_of(c), 'serving', 'collection', 'operation')
    if f[1] then waiting = waiting + redis.call('ZCOUNT', lacks(c, f[1]), 0, NOW) end
    if f[2] and f[3] then waiting = waiting + 1 + redis.call('ZCOUNT', lacks(c, f[2]), 0, NOW) end
  end
  return waiting
end
"""
