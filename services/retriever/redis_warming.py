"""Which lazy corpora still have chunks to embed, and the operations that show it, in Redis."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from redis.asyncio import Redis

from services.chassis.errors import CorellaError
from services.chassis.redis_spans import name_scripts
from services.retriever.catalog_scripts import COMMON
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_locks import translated

# prefix, lease ms -> {} or {corpus, mark}
_CLAIM = (
    COMMON
    + """
local due = redis.call('ZRANGEBYSCORE', P .. 'warming', 0, NOW, 'LIMIT', 0, 1)
if #due == 0 then return {} end
redis.call('ZADD', P .. 'warming', NOW + ARGV[2], due[1])
return {due[1], redis.call('GET', P .. 'warming:mark:' .. due[1]) or '0'}
"""
)

# prefix, corpus, remaining, embedded in all, new operation's id, ms for which it stays in hand
_PROGRESS = (
    COMMON
    + """
local c, remaining = ARGV[2], tonumber(ARGV[3])
if not redis.call('ZSCORE', P .. 'warming', c) then return 'GONE' end
local id = redis.call('GET', P .. 'warming:operation:' .. c)
if not id then
  id = ARGV[5]
  op_create(id, 'WARM_CORPUS', 'corpora/' .. c, remaining)
  redis.call('SET', P .. 'warming:operation:' .. c, id)
end
local op = P .. 'op:' .. id
op_alive(id, '')
local total = tonumber(redis.call('HGET', op, 'total'))
-- Counted from what remains, so that work done twice does not count twice. Documents that came since make the total larger.
local done = math.max(total - remaining, tonumber(redis.call('HGET', op, 'succeeded')))
redis.call('HSET', op, 'succeeded', done, 'total', done + remaining, 'embedded_chunk_count', ARGV[4])
redis.call('ZADD', P .. 'warming', 'XX', NOW + ARGV[6], c)
return 'OK'
"""
)

# prefix, corpus, delay ms
_PAUSE = (
    COMMON
    + """
local c = ARGV[2]
redis.call('ZADD', P .. 'warming', 'XX', NOW + ARGV[3], c)
local id = redis.call('GET', P .. 'warming:operation:' .. c)
if id then op_retry(id, NOW + ARGV[3]) end
return 'OK'
"""
)

# prefix, corpus, mark, state, error
_END = (
    COMMON
    + """
local c = ARGV[2]
if ARGV[4] == 'SUCCEEDED' and (redis.call('GET', P .. 'warming:mark:' .. c) or '0') ~= ARGV[3] then
  redis.call('ZADD', P .. 'warming', 'XX', NOW, c)
  return 'MORE'
end
local id = redis.call('GET', P .. 'warming:operation:' .. c)
if id then
  if ARGV[5] ~= '' then redis.call('HSET', P .. 'op:' .. id, 'error', ARGV[5]) end
  if ARGV[4] == 'SUCCEEDED' then redis.call('HSET', P .. 'op:' .. id, 'succeeded', redis.call('HGET', P .. 'op:' .. id, 'total')) end
  op_end(id, ARGV[4])
end
redis.call('ZREM', P .. 'warming', c)
redis.call('DEL', P .. 'warming:operation:' .. c)
return 'OK'
"""
)


@dataclass(frozen=True)
class Warming:
    """A corpus in hand."""

    corpus: str
    mark: str


class RedisWarming:
    """Claims of lazy corpora. Raises `CatalogUnavailable`."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._claim = redis.register_script(_CLAIM)
        self._progress = redis.register_script(_PROGRESS)
        self._pause = redis.register_script(_PAUSE)
        self._end = redis.register_script(_END)
        name_scripts(
            {"warming CLAIM": self._claim, "warming PROGRESS": self._progress, "warming PAUSE": self._pause, "warming END": self._end}
        )

    async def claim(self, lease_seconds: float) -> Warming | None:
        """Takes a corpus that has chunks to embed; for others it is taken until the lease ends."""
        async with translated():
            found = await self._claim(keys=[self._prefix], args=[self._prefix, round(lease_seconds * 1000)])
        return Warming(*found) if found else None

    async def progress(self, warming: Warming, remaining: int, embedded: int, operation: str, hold_seconds: float) -> bool:
        """Says how much remains, and keeps the corpus in hand for so long. False when the work was cancelled.

        `operation` is the id of the operation that shows the work, if there is none yet.
        """
        arguments: list[str | int] = [self._prefix, warming.corpus, remaining, embedded, operation, round(hold_seconds * 1000)]
        async with translated():
            return bool(await self._progress(keys=[self._prefix], args=arguments) == "OK")

    async def pause(self, warming: Warming, seconds: float) -> None:
        """Gives the corpus back, to be taken after so long."""
        async with translated():
            await self._pause(keys=[self._prefix], args=[self._prefix, warming.corpus, round(seconds * 1000)])

    async def succeed(self, warming: Warming) -> None:
        """Nothing remains, unless documents came in the meantime."""
        async with translated():
            await self._end(keys=[self._prefix], args=[self._prefix, warming.corpus, warming.mark, "SUCCEEDED", ""])

    async def fail(self, warming: Warming, error: CorellaError) -> None:
        """The rest cannot be embedded."""
        packed = base64.b64encode(error.to_status().SerializeToString()).decode()
        async with translated():
            await self._end(keys=[self._prefix], args=[self._prefix, warming.corpus, warming.mark, "FAILED", packed])
