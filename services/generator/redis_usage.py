"""Totals of what texts have cost, in one hash in Redis for each tenant, added to by every replica.

    since                                    when counting began, seconds since 1970
    {purpose}:{adapted|base}:{quantity}      the sum

Counting never delays an answer and never fails one: what cannot be written is not counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from redis.asyncio import Redis

from services.chassis import identity
from services.chassis.identity import DEFAULT_TENANT
from services.generator.domain import MemoryUnavailable, Usage, UsageTotal, UsageTotals
from services.generator.redis_gate import PREFIX, RedisGate

_COUNTS = ("count", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
_SECONDS = ("retrieval_seconds", "engine_seconds")
_CLOSE_SECONDS = 2.0


class RedisUsage:
    """The totals."""

    def __init__(self, gate: RedisGate) -> None:
        self._gate = gate
        self._writing: set[asyncio.Task[None]] = set()

    def add(self, purpose: str, adapted: bool, usage: Usage) -> None:
        """Adds one text, for the tenant of the current call. Returns at once; it is written beside whatever the caller does next."""
        task = asyncio.create_task(self._write(_key(), f"{purpose}:{'adapted' if adapted else 'base'}", usage))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def totals(self) -> UsageTotals:
        """All totals of the tenant of the current call, with everything this replica has added. Raises `MemoryUnavailable`."""
        await self._settled()
        key = _key()
        fields: Mapping[str, str] = await self._gate.run(lambda redis: redis.hgetall(key))
        kinds = sorted({tuple(name.split(":")[:2]) for name in fields if name.count(":") == 2})
        since = datetime.fromtimestamp(float(fields["since"]), UTC) if "since" in fields else None
        return UsageTotals(tuple(_total(fields, purpose, kind) for purpose, kind in kinds), since)

    async def close(self) -> None:
        """Waits a moment for what is being written."""
        await self._settled()

    async def _settled(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing, timeout=_CLOSE_SECONDS)

    async def _write(self, key: str, kind: str, usage: Usage) -> None:
        counts = (1, usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens)
        seconds = (usage.retrieval_seconds, usage.generation_seconds)

        async def add(redis: Redis) -> None:
            # One round trip, and all or nothing.
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hsetnx(key, "since", repr(time.time()))
                for name, number in zip(_COUNTS, counts, strict=True):
                    pipeline.hincrby(key, f"{kind}:{name}", number)
                for name, amount in zip(_SECONDS, seconds, strict=True):
                    pipeline.hincrbyfloat(key, f"{kind}:{name}", amount)
                await pipeline.execute()

        try:
            await self._gate.run(add)
        except MemoryUnavailable:
            # The gate has logged it, once for all that fails while it is closed.
            return


def _key() -> str:
    caller = identity.current_or_none()
    tenant = DEFAULT_TENANT if caller is None else caller.tenant
    return f"{PREFIX}usage" if tenant == DEFAULT_TENANT else f"{PREFIX}tenant:{tenant}:usage"


def _total(fields: Mapping[str, str], purpose: str, kind: str) -> UsageTotal:
    counts = [int(fields.get(f"{purpose}:{kind}:{name}", 0)) for name in _COUNTS]
    seconds = [float(fields.get(f"{purpose}:{kind}:{name}", 0)) for name in _SECONDS]
    return UsageTotal(purpose, kind == "adapted", *counts, *seconds)  # type: ignore[arg-type]
