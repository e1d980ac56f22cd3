"""Where in Redis something of a document lies, counted key by key. Reads the keys that `catalog_scripts.py` and `sources_lua.py` name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_locks import translated

RECORD = "record in the catalog"
INDEXES = "indexes of the catalog"
QUEUES = "queues, leases and locks"
SWEEPING = "bytes noted for sweeping"
OPERATIONS = "records of operations"
SOURCES = "memory of its source"


@dataclass(frozen=True)
class Traces:
    """Counts by place."""

    records: list[tuple[str, int]]
    names: list[tuple[str, int]]
    """Places that hold no more than its name."""


class RedisTraces:
    """Counts. Looks through whole key ranges: for audits, not for calls that have to be quick. Raises `CatalogUnavailable`."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis = redis
        self._prefix = prefix

    async def of_document(self, corpus: str, document: str) -> Traces:
        """What there is of one document."""
        async with translated():
            records = [
                (RECORD, int(await self._redis.exists(f"{self._prefix}doc:{corpus}:{document}"))),
                (INDEXES, await self._indexes(corpus, document)),
                (QUEUES, await self._queues(corpus, document)),
                (SWEEPING, await self._sweeping(corpus, document)),
            ]
            return Traces(
                records, [(OPERATIONS, await self._operations(corpus, document)), (SOURCES, await self._sources(corpus, document))]
            )

    async def _indexes(self, corpus: str, document: str) -> int:
        keys = [f"{self._prefix}docs:{corpus}"]
        for pattern in ("docs", "read"):
            keys += [key async for key in self._keys(f"{pattern}:{corpus}:*")]
        return sum(await self._scores([(key, document) for key in keys]))

    async def _queues(self, corpus: str, document: str) -> int:
        member = f"{corpus}/{document}"
        entries = [(f"{self._prefix}ready:{corpus}", document), *((self._prefix + key, member) for key in ("leases", "regranting"))]
        locked = int(await self._redis.exists(f"{self._prefix}lock:{corpus}:{document}"))
        return sum(await self._scores(entries)) + locked + await self._indexing(corpus, document)

    async def _indexing(self, corpus: str, document: str) -> int:
        """What indexes that lack it remember of it."""
        found = len([each async for each, _ in self._redis.zscan_iter(f"{self._prefix}indexing:leases", f"{corpus}/*/{document}", 1000)])
        async for key in self._keys(f"lacks:{corpus}:*"):
            if await self._redis.type(key) == "zset":
                found += sum(await self._scores([(key, document)]))
            else:
                found += int(await cast(Any, self._redis.hexists(key, document)))
        return found

    async def _sweeping(self, corpus: str, document: str) -> int:
        match = f"{corpus}/{document}/*"
        return len([entry async for entry in self._redis.zscan_iter(f"{self._prefix}staged", match=match, count=1000)])

    async def _operations(self, corpus: str, document: str) -> int:
        name, found = f"corpora/{corpus}/documents/{document}", 0
        async for key in self._keys("op:*:items"):
            found += int(await cast(Any, self._redis.hexists(key, f"{corpus}/{document}")))
        async for key in self._keys("op:*:failures"):
            found += len([text for text in await cast(Any, self._redis.lrange(key, 0, -1)) if json.loads(text)["name"] == name])
        return found

    async def _sources(self, corpus: str, document: str) -> int:
        found = 0
        async for key in self._keys(f"source:{corpus}:*:items"):
            found += len([text async for _, text in self._redis.hscan_iter(key, count=1000) if document in text])
        return found

    def _keys(self, pattern: str) -> AsyncIterator[str]:
        return self._redis.scan_iter(match=self._prefix + pattern, count=1000)

    async def _scores(self, entries: list[tuple[str, str]]) -> list[bool]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key, member in entries:
                pipe.zscore(key, member)
            return [score is not None for score in await pipe.execute()]
