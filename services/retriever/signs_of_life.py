"""Signs of life: what Redis keeps for whoever works, a lease or a lock, is renewed for as long as the work goes on.

What is not renewed ends by itself, so that the work of a killed process is soon somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.chassis.errors import CorellaError
from services.chassis.telemetry import attached, get_logger

log = get_logger(__name__)

_STOP_SECONDS = 3.0
"""Enough for what has to be put in order after a cancellation."""


@asynccontextmanager
async def signs_of_life(renew: Callable[[], Awaitable[object]], seconds: float, what: str = "lease") -> AsyncIterator[None]:
    """Calls `renew` four times in `seconds`, which is how long what it renews lasts, and no longer once the block is left.

    What goes wrong is logged as `<what>_not_renewed`, and tried again.
    """
    # They are no part of a trace: they would fill that of what takes long.
    with attached({}):
        beating = asyncio.create_task(_beat(renew, seconds, what))
    try:
        yield
    finally:
        # A renewal that is on its way must not outrun what comes next, which may be the release.
        await stopped({beating})


async def _beat(renew: Callable[[], Awaitable[object]], seconds: float, what: str) -> None:
    while True:
        await asyncio.sleep(seconds / 4)
        try:
            await renew()
        except CorellaError as error:
            log.warning(f"{what}_not_renewed", reason=error.reason)


async def stopped(tasks: set[asyncio.Task[None]]) -> None:
    """Cancels tasks and returns when all have ended.

    Cancels again what goes on: `asyncio.wait_for`, which the Redis client waits with, loses a cancellation that comes together with the
    answer (until Python 3.12).
    """
    waiting = tasks
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_STOP_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
