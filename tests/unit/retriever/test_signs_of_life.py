"""Signs of life begin with the work, go on over what goes wrong, and end with it, also where a cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from services.retriever import signs_of_life as module
from services.retriever.domain import CatalogUnavailable
from services.retriever.signs_of_life import signs_of_life


async def test_they_go_on_over_failures_and_end_with_the_work() -> None:
    renewed = 0

    async def renew() -> None:
        nonlocal renewed
        renewed += 1
        if renewed == 1:
            raise CatalogUnavailable("away")

    async with signs_of_life(renew, 0.04):
        async with asyncio.timeout(10):
            while renewed < 3:
                await asyncio.sleep(0.01)
    at_the_end = renewed
    await asyncio.sleep(0.1)
    assert renewed == at_the_end


async def test_a_lost_cancellation_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` loses one that comes together with an answer."""
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.05)
    begun = asyncio.Event()
    lost = 0

    async def renew() -> None:
        nonlocal lost
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if lost:
                raise
            lost += 1

    async with asyncio.timeout(10):
        async with signs_of_life(renew, 0.04):
            await begun.wait()
    assert lost == 1
