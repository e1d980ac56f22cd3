"""Totals of what texts have cost, in one hash in Redis, added to by every replica.

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

from services.generator.domain import MemoryUnavailable, Usage, UsageTotal, UsageTotals
from services.generator.redis_gate import PREFIX, RedisGate

_KEY = f"{PREFIX}usage"
_COUNTS = ("count", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
_SECONDS = ("retrieval_seconds", "engine_seconds")
_CLOSE_SECONDS = 2.0


class RedisUsage:
    """The totals."""

    def __init__(self, gate: RedisGate) -> None:
        self._gate = gate
        self._writing: set[asyncio.Task[None]] = set()

    def add(self, purpose: str, adapted: bool, usage: Usage) -> None:
        """Adds one text. Returns at once; it is written beside whatever the caller does next."""
        task = asyncio.create_task(self._write(f"{purpose}:{'adapted' if adapted else 'base'}", usage))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def totals(self) -> UsageTotals:
        """All totals, with everything this replica has added. Raises `MemoryUnavailable`."""
        await self._settled()
        fields: Mapping[str, str] = await self._gate.run(lambda redis: redis.hgetall(_KEY))
        kinds = sorted({tuple(name.split(":")[:2]) for name in fields if name.count(":") == 2})
        since = datetime.fromtimestamp(float(fields["since"]), UTC) if "since" in fields else None
        return UsageTotals(tuple(_total(fields, purpose, kind) for purpose, kind in kinds), since)

    async def close(self) -> None:
        """Waits a moment for what is being written."""
        await self._settled()

    async def _settled(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing, timeout=_CLOSE_SECONDS)

    async def _write(self, kind: str, usage: Usage) -> None:
        counts = (1, usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens)
        seconds = (usage.retrieval_seconds, usage.generation_seconds)

        async def add(redis: Redis) -> None:
            # One round trip, and all or nothing.
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hsetnx(_KEY, "since", repr(time.time()))
                for name, number in zip(_COUNTS, counts, strict=True):
                    pipeline.hincrby(_KEY, f"{kind}:{name}", number)
                for name, amount in zip(_SECONDS, seconds, strict=True):
                    pipeline.hincrbyfloat(_KEY, f"{kind}:{name}", amount)
                await pipeline.execute()

        try:
            await self._gate.run(add)
        except MemoryUnavailable:
            # The gate has logged it, once for all that fails while it is closed.
            return


def _total(fields: Mapping[str, str], purpose: str, kind: str) -> UsageTotal:
    counts = [int(fields.get(f"{purpose}:{kind}:{name}", 0)) for name in _COUNTS]
    seconds = [float(fields.get(f"{purpose}:{kind}:{name}", 0)) for name in _SECONDS]
    return UsageTotal(purpose, kind == "adapted", *counts, *seconds)  # type: ignore[arg-type]
