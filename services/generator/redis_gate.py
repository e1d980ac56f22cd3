"""The way to Redis: one client, short waits, and no waiting at all for a while after a failure.

An answer must not wait for a store that is down. The first call that fails closes the gate: every other call fails at once, except one
in each `retry_seconds`, which tries. When it succeeds the gate is open again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.chassis.redis_spans import TracedRedis
from services.chassis.telemetry import get_logger, meter
from services.generator.domain import MemoryUnavailable
from services.generator.settings import MemorySettings

log = get_logger(__name__)
_failures = meter.create_counter("corella.generator.memory.failures", unit="{call}", description="Calls of the store that failed.")
_up = meter.create_gauge("corella.generator.memory.up", description="Whether the store answered the last call: 1 or 0.")

# One hash tag for all keys, so that scripts that touch several of them also run on a Redis Cluster.
PREFIX = "{corella}:"


class RedisGate:
    """Runs commands. `client` must not be used past it."""

    def __init__(self, url: str, settings: MemorySettings) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=settings.connect_timeout_seconds,
            socket_timeout=settings.timeout_seconds,
            # Hundreds of calls at once share these; they wait for one another instead of failing.
            max_connections=64,
            timeout=settings.timeout_seconds,
            health_check_interval=5,
            # A command that was repeated because its reply was lost could add a turn twice.
            retry=Retry(NoBackoff(), 0),
        )
        self.client: Redis = TracedRedis.from_pool(pool)
        self._retry_seconds = settings.retry_seconds
        self._closed = False
        self._next_try = 0.0

    async def run(self, command: Callable[[Redis], Awaitable[Any]]) -> Any:
        """The command's result. Raises `MemoryUnavailable`, at once while the gate is closed."""
        if self._closed:
            if time.monotonic() < self._next_try:
                raise MemoryUnavailable("The conversation store cannot be reached.", retry_after_seconds=self._retry_seconds)
            self._next_try = time.monotonic() + self._retry_seconds
        try:
            result = await command(self.client)
        except (RedisError, OSError, TimeoutError) as error:
            self._closed, self._next_try = True, time.monotonic() + self._retry_seconds
            _failures.add(1)
            _up.set(0)
            log.warning("memory_unavailable", error=type(error).__name__, detail=str(error), retry_seconds=self._retry_seconds)
            raise MemoryUnavailable("The conversation store cannot be reached.", retry_after_seconds=self._retry_seconds) from error
        self._closed = False
        _up.set(1)
        return result

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.aclose()
