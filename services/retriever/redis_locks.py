"""Who may change a document's chunks in the store: locks in Redis that end by themselves when their holder is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.chassis.redis_spans import name_scripts
from services.retriever.domain import CatalogUnavailable
from services.retriever.names import fresh_id
from services.retriever.signs_of_life import signs_of_life

# prefix, token, ms, lock keys… -> keys that were taken
_LOCK = """
local taken = {}
for i = 4, #ARGV do
  if redis.call('SET', ARGV[i], ARGV[2], 'NX', 'PX', ARGV[3]) then table.insert(taken, ARGV[i]) end
end
return taken
"""

# prefix, token, ms, lock keys… -> how many are still held; the others are not touched
_RENEW = """
local held = 0
for i = 4, #ARGV do
  if redis.call('GET', ARGV[i]) == ARGV[2] then
    redis.call('PEXPIRE', ARGV[i], ARGV[3])
    held = held + 1
  end
end
return held
"""

# prefix, token, lock keys…
_UNLOCK = """
for i = 3, #ARGV do
  if redis.call('GET', ARGV[i]) == ARGV[2] then redis.call('DEL', ARGV[i]) end
end
return 'OK'
"""


class LockScripts:
    """The scripts, registered with one client."""

    def __init__(self, redis: Redis) -> None:
        self.lock = redis.register_script(_LOCK)
        self.renew = redis.register_script(_RENEW)
        self.unlock = redis.register_script(_UNLOCK)
        name_scripts({"LOCK": self.lock, "RENEW LOCK": self.renew, "UNLOCK": self.unlock})

    async def run(self, script: AsyncScript, prefix: str, *arguments: Any) -> Any:
        """Runs one. Raises `CatalogUnavailable`."""
        async with translated():
            return await script(keys=[prefix], args=[prefix, *arguments])


class Locks:
    """Locks on documents that one holder has taken together. They end by themselves when the holder is killed."""

    def __init__(self, scripts: LockScripts, prefix: str, corpus: str, seconds: float) -> None:
        self._scripts = scripts
        self._prefix = prefix
        self._stem = f"{prefix}lock:{corpus}:"
        self._milliseconds = round(seconds * 1000)
        self._token = fresh_id()
        self.held: set[str] = set()

    async def take(self, documents: Sequence[str], wait_seconds: float) -> None:
        """Takes what can be had, trying again until the time is over."""
        ends_at = time.monotonic() + wait_seconds
        missing = sorted(set(documents) - self.held)
        while missing:
            keys = [self._stem + document for document in missing]
            taken = await self._scripts.run(self._scripts.lock, self._prefix, self._token, self._milliseconds, *keys)
            self.held |= {key.removeprefix(self._stem) for key in taken}
            missing = sorted(set(missing) - self.held)
            if not missing or time.monotonic() >= ends_at:
                return
            await asyncio.sleep(0.05)

    async def renewed(self) -> bool:
        """Whether all that was taken is still held, from now on for the full time."""
        if not self.held:
            return True
        keys = [self._stem + document for document in self.held]
        return await self._scripts.run(self._scripts.renew, self._prefix, self._token, self._milliseconds, *keys) == len(keys)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renews what is held for as long as the work inside takes, so that locks can be short: a killed holder's are soon over."""
        async with signs_of_life(self.renewed, self._milliseconds / 1000, "lock"):
            yield

    async def release(self) -> None:
        """Gives all locks back."""
        if self.held:
            await self._scripts.run(self._scripts.unlock, self._prefix, self._token, *[self._stem + document for document in self.held])
            self.held = set()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Errors of the Redis client, in our words."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise CatalogUnavailable("The catalog of documents (Redis) cannot be reached.") from error
    except RedisError as error:
        if str(error).startswith(("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")):
            raise CatalogUnavailable("The catalog of documents (Redis) is not ready.") from error
        raise
