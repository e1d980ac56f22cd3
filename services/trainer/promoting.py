"""Which version serves: promotion and the way back, both one write of one object that all generators follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from services.chassis.telemetry import get_logger
from services.trainer.domain import (
    AdapterNotAccepted,
    AdapterNotFound,
    AdapterVersion,
    NothingToRollBack,
    PastServing,
    RecordsUnavailable,
    Serving,
)
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.owning import of_caller
from services.trainer.redis_records import RedisRecords

log = get_logger(__name__)
_MAX_HISTORY = 20
_MAX_REQUESTS = 50
_LOCK = "serving"
_LOCK_WAIT_SECONDS = 10.0


class Promoting:
    """Changes what serves. Two at the same time come one after the other."""

    def __init__(self, shelf: FsspecShelf, records: RedisRecords) -> None:
        self._shelf = shelf
        self._records = records

    async def promote(self, name: str, request_id: str = "") -> AdapterVersion:
        """Makes a version serve. Raises `AdapterNotFound`, `AdapterNotAccepted`. Promoting what serves changes nothing."""
        version = await self._records.version(name)
        if not of_caller(version.tenant):
            raise AdapterNotFound(name)
        if not version.accepted:
            raise AdapterNotAccepted(f"The gate did not accept `{name}`; the report of `jobs/{version.job_id}` says why.", adapter=name)

        def change(now: Serving) -> Serving:
            return now if now.adapter == name else promoted(now, name, version.digest)

        await self._change(change, request_id)
        return replace(version, serving=True)

    async def roll_back(self, request_id: str) -> AdapterVersion | None:
        """Makes the version that served before serve again; None when that is the base model. Raises `NothingToRollBack`."""
        serving = await self._change(rolled_back, request_id)
        return replace(await self._records.version(serving.adapter), serving=True) if serving.adapter else None

    async def _change(self, change: Callable[[Serving], Serving], request_id: str) -> Serving:
        ends_at = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            async with self._records.lock(_LOCK) as held:
                if held:
                    now = await self._shelf.serving()
                    if request_id and request_id in now.request_ids:
                        return now
                    after = change(now)
                    if request_id:
                        after = replace(after, request_ids=(request_id, *after.request_ids)[:_MAX_REQUESTS])
                    if after != now:
                        await self._shelf.put_serving(after)
                        log.info("serving_changed", adapter=after.adapter, before=now.adapter, generation=after.generation)
                    return after
            if time.monotonic() > ends_at:
                raise RecordsUnavailable("Somebody else is changing what serves; try again.")
            await asyncio.sleep(0.1)


def promoted(now: Serving, adapter: str, digest: str) -> Serving:
    """What is to serve after a promotion."""
    history = (PastServing(now.adapter, now.digest), *now.history)[:_MAX_HISTORY]
    return Serving(adapter, digest, now.generation + 1, time.time(), history, now.request_ids)


def rolled_back(now: Serving) -> Serving:
    """What is to serve after a roll-back. Raises `NothingToRollBack`."""
    if not now.history:
        raise NothingToRollBack("Nothing served before.")
    before, *older = now.history
    return Serving(before.adapter, before.digest, now.generation + 1, time.time(), tuple(older), now.request_ids)
