"""Repeats a call of a service that is full or away, for as long as a long job can wait: a generator that restarts loads for a minute."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.chassis import deadline
from services.chassis.errors import CorellaError, ResourceExhausted, Unavailable
from services.chassis.telemetry import get_logger

log = get_logger(__name__)

DEFAULT_SECONDS = 120.0
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 10.0

_T = TypeVar("_T")


class Repeating:
    """Waits at most `seconds` in all for one call to be taken. 0: every failure is raised at once."""

    def __init__(self, seconds: float = DEFAULT_SECONDS) -> None:
        self._seconds = seconds

    async def run(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What `call` returns. `call` is made again after `Unavailable` and `ResourceExhausted`, so it must be safe to repeat.

        The delay doubles from half a second to ten, and is never shorter than the server asks for. Raises the last failure when there
        is no time left for another try, in the patience or in the deadline of the call being served.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._seconds
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                return await call()
            except (Unavailable, ResourceExhausted) as error:
                # A share of chance, so that those who failed together do not all come back together.
                wait = max(delay, error.retry_after_seconds or 0.0) * random.uniform(1.0, 1.25)  # noqa: S311 no secret
                if wait >= _left(ends_at - loop.time()):
                    raise
                log.info("call_repeated", reason=error.reason, seconds=round(wait, 2))
            await asyncio.sleep(wait)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)


def _left(of_patience: float) -> float:
    try:
        return deadline.remaining(of_patience)
    except CorellaError:
        return 0.0
