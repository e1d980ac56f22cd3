"""A generator that waits for what is to serve can still be told to end."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.server import Lifecycle
from services.generator.app import _unless_ended


@pytest.mark.parametrize(("failure", "status"), [(None, 0), ("the engine's process ended", 1)])
async def test_the_end_comes_at_once(failure: str | None, status: int) -> None:
    lifecycle = Lifecycle()
    asyncio.get_running_loop().call_later(0.05, lifecycle.fail if failure else lifecycle.stop, *([failure] if failure else []))
    async with asyncio.timeout(2):
        with pytest.raises(SystemExit) as caught:
            await _unless_ended(asyncio.sleep(60), lifecycle)
    assert caught.value.code == status


async def test_it_goes_on_when_what_is_to_serve_serves() -> None:
    await _unless_ended(asyncio.sleep(0), Lifecycle())


async def test_a_bug_in_the_start_is_not_hidden() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _unless_ended(broken(), Lifecycle())
