"""Locks for work that must not be done twice at once, on a real Valkey: kept as long as it takes, soon over when the holder is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.retriever import redis_catalog
from services.retriever.redis_catalog import RedisCatalog, open_redis

PREFIX = "{locks}:"
KEY = f"{PREFIX}lock::make"


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    made = open_redis(valkey_url)
    await made.delete(KEY)
    yield made
    await made.aclose()


async def test_it_is_kept_for_longer_than_it_lives(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_catalog, "_WORK_LOCK_SECONDS", 1.0)
    catalog = RedisCatalog(redis, PREFIX)
    async with catalog.alone("make", 0.0) as mine:
        for _ in range(8):
            await asyncio.sleep(0.3)
            async with catalog.alone("make", 0.0) as others:
                assert not others.held
        assert await mine.renewed()
    async with catalog.alone("make", 0.0) as next_one:
        assert next_one.held, "given back at once"


async def test_of_a_killed_holder_it_is_over_within_seconds(redis: Redis) -> None:
    """Once it was a minute, in which an operation whose worker had been killed stood still."""
    async with RedisCatalog(redis, PREFIX).alone("make", 0.0) as mine:
        assert mine.held
        assert 0 < await redis.pttl(KEY) <= 8_000


async def test_work_that_fails_gives_it_back(redis: Redis) -> None:
    catalog = RedisCatalog(redis, PREFIX)
    with pytest.raises(ZeroDivisionError):
        async with catalog.alone("make", 0.0):
            raise ZeroDivisionError
    async with catalog.alone("make", 0.0) as next_one:
        assert next_one.held


async def test_whoever_lost_it_is_told(redis: Redis) -> None:
    """After a pause of the machine, say, for longer than it lives."""
    async with RedisCatalog(redis, PREFIX).alone("make", 0.0) as mine:
        await redis.set(KEY, "another holder's token")
        assert not await mine.renewed()
    assert await redis.get(KEY) == "another holder's token"
    await redis.delete(KEY)
