"""Calls of work that is in no hurry: refused ones are repeated after the time they were told to wait, and few run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from services.chassis.errors import CorellaError

AT_ONCE = 4
"""Calls side by side. Preparing shares the generator and the retriever with people who wait for answers."""
TRIES = 6
_MAX_WAIT_SECONDS = 10.0

Item = TypeVar("Item")
Result = TypeVar("Result")


async def patiently(call: Callable[[], Awaitable[Result]], tries: int = TRIES) -> Result:
    """The result of `call`, which may be made again. Raises its last error, and one that says nothing of waiting at once."""
    for attempt in range(1, tries + 1):
        try:
            return await call()
        except CorellaError as error:
            if error.retry_after_seconds is None or attempt == tries:
                raise
            await asyncio.sleep(min(_MAX_WAIT_SECONDS, error.retry_after_seconds * 2 ** (attempt - 1)))
    raise AssertionError("unreachable")


async def each(items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], at_once: int = AT_ONCE) -> list[Result]:
    """The results of `work` for all items, in their order. The first error cancels what has not ended."""
    free = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Result:
        async with free:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        # One of several calls failed: callers know its error, not that there were several.
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
