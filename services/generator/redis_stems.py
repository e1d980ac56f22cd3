"""Which records stem from which chunks, in Redis: the way from a document to every conversation and answer that holds something of it.

    stems                        sorted set of `tenant/chunk name`, all chunks that anything stems from, by name
    stems:{tenant}/{chunk name}  sorted set of records: `conversation:{owner}:{id}`, `answer:{id}`, `feedback:{id}`
    stems:walk                   where the walk over `stems` is, and when it began; one for all replicas

A record is noted by the script that writes it, so there is none that is not noted. A record's score is when it will have expired unless
it was used again meanwhile: only then it is looked after, and taken out if it is gone.
"""

from __future__ import annotations

from services.chassis.identity import DEFAULT_TENANT
from services.chassis.redis_spans import name_scripts
from services.generator.domain import Stem
from services.generator.redis_gate import PREFIX, RedisGate

_ALL = f"{PREFIX}stems"
_WALK = f"{PREFIX}stems:walk"
_LOOKED_AFTER = 50

# For the scripts that write records. Keys are made from names here, which a Redis Cluster allows since all have one hash tag.
NOTING = f"""
local function note(tenant, record, expires, names)
  for _, name in ipairs(names or {{}}) do
    redis.call('ZADD', '{_ALL}:' .. tenant .. '/' .. name, expires, record)
    redis.call('ZADD', '{_ALL}', 0, tenant .. '/' .. name)
  end
end
"""
# For the scripts that take records out. What is gone is named by chunk, or by document for all its chunks.
STEMMING = f"""
local gone = {{}}
local function going(names)
  for _, name in ipairs(cjson.decode(names)) do gone[name] = true end
end
local function stems(names)
  for _, name in ipairs(names or {{}}) do
    if gone[name] or gone[string.match(name, '^(.*)/chunks/[^/]*$') or ''] then return true end
  end
  return false
end
local function unnote(tenant, record)
  for name, _ in pairs(gone) do
    local key = '{_ALL}:' .. tenant .. '/' .. name
    if redis.call('ZREM', key, record) == 1 and redis.call('EXISTS', key) == 0 then
      redis.call('ZREM', '{_ALL}', tenant .. '/' .. name)
    end
  end
end
"""
# KEYS: stems, walk. ARGV: how many, seconds from the beginning of one walk to that of the next. The first of the answer is where to put the
# walk back to, the second where it went on.
_CLAIM = """
local now = tonumber(redis.call('TIME')[1])
local from = redis.call('HGET', KEYS[2], 'from') or ''
if from == '' then
  if now < tonumber(redis.call('HGET', KEYS[2], 'began') or '0') + tonumber(ARGV[2]) then return {'', ''} end
  redis.call('HSET', KEYS[2], 'began', now)
end
local count = tonumber(ARGV[1])
local found = redis.call('ZRANGEBYLEX', KEYS[1], from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, count)
local upto = #found == count and found[count] or ''
redis.call('HSET', KEYS[2], 'from', upto)
return {from, upto, unpack(found)}
"""
# KEYS: walk. ARGV: as `_CLAIM` returned them.
_PUT_BACK = """
if redis.call('HGET', KEYS[1], 'from') == ARGV[2] then redis.call('HSET', KEYS[1], 'from', ARGV[1], 'began', 0) end
return 1
"""
# KEYS: stems. ARGV: now in seconds, how many records of each chunk, then for each chunk `tenant/name` and the tenant's prefix.
_LOOK_AFTER = f"""
for i = 3, #ARGV, 2 do
  local key = '{_ALL}:' .. ARGV[i]
  for _, record in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
    local kept = string.sub(record, 1, 13) == 'conversation:' and '{PREFIX}' or ARGV[i + 1]
    local left = redis.call('PTTL', kept .. record)
    if left > 0 then
      redis.call('ZADD', key, string.format('%.0f', tonumber(ARGV[1]) + math.ceil(left / 1000)), record)
    else
      redis.call('ZREM', key, record)
    end
  end
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 1
"""


def tenant_prefix(tenant: str) -> str:
    """Before the keys of a tenant's answers. The default tenant's are those of versions that knew no tenants: its feedback stays."""
    return PREFIX if tenant == DEFAULT_TENANT else f"{PREFIX}tenant:{tenant}:"


class RedisStems:
    """The index."""

    def __init__(self, gate: RedisGate) -> None:
        self._gate = gate
        self._claim = gate.client.register_script(_CLAIM)
        self._put_back = gate.client.register_script(_PUT_BACK)
        self._look_after = gate.client.register_script(_LOOK_AFTER)
        name_scripts({"claim stems": self._claim, "put stems back": self._put_back, "look after stems": self._look_after})

    async def chunks(self, tenant: str, document: str, after: str, limit: int) -> list[str]:
        # All names that begin with the document's chunks; `0` is the character after `/`.
        low = f"({tenant}/{after}" if after else f"[{tenant}/{document}/chunks/"
        high = f"({tenant}/{document}/chunks0"
        found = await self._gate.run(lambda redis: redis.zrangebylex(_ALL, low, high, 0, limit))
        return [each.partition("/")[2] for each in found]

    async def records(self, tenant: str, chunk: str, first: int, limit: int) -> list[str]:
        return list(await self._gate.run(lambda redis: redis.zrange(f"{_ALL}:{tenant}/{chunk}", first, first + limit - 1)))

    async def claim(self, limit: int, every_seconds: float) -> tuple[list[Stem], tuple[str, str]]:
        start, end, *found = await self._gate.run(lambda _: self._claim(keys=[_ALL, _WALK], args=[limit, every_seconds]))
        return [Stem(*each.split("/", 1)) for each in found], (start, end)

    async def put_back(self, walked: tuple[str, str]) -> None:
        await self._gate.run(lambda _: self._put_back(keys=[_WALK], args=list(walked)))

    async def look_after(self, stems: list[Stem], now: float) -> None:
        values: list[str | int] = [int(now), _LOOKED_AFTER]
        for each in stems:
            values += [f"{each.tenant}/{each.chunk}", tenant_prefix(each.tenant)]
        await self._gate.run(lambda _: self._look_after(keys=[_ALL], args=values))
