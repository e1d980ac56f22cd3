"""What the indexes of a corpus lack, who writes it, and which one answers, in Redis. See `reindex_lua.py` for the keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from services.chassis.errors import CorellaError
from services.chassis.redis_spans import name_scripts
from services.chassis.steps import current_traceparent
from services.retriever import reindex_scripts as scripts
from services.retriever.domain import CorpusNotFound, IndexState, NoFormerIndex, ReindexUnderWay, Version
from services.retriever.idempotency import Request
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_locks import translated


@dataclass(frozen=True)
class Indexed:
    """A document in hand, to be written to an index as it answers now."""

    id: str
    version: Version
    losses: int


@dataclass(frozen=True)
class Batch:
    """Documents in hand that an index lacks; without documents: it lacks none. `operation` is empty when there is none."""

    corpus: str
    collection: str
    operation: str
    documents: tuple[Indexed, ...]
    traceparent: str = ""
    """The call that asked for the operation, in W3C's form."""


@dataclass(frozen=True)
class Indexes:
    """What is noted of a corpus's indexes. Empty texts and None: there is no other one."""

    serving: str = ""
    collection: str = ""
    state: IndexState | None = None
    settings: str = ""
    made: bool = False
    operation: str = ""
    lacking: tuple[int, int] = (0, 0)
    """Documents whose present version is not in the one that serves, and in the other one."""


class RedisIndexing:
    """The records. Raises `CatalogUnavailable`."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis = redis
        self._prefix = prefix
        self._scripts = {
            name: redis.register_script(getattr(scripts, name))
            for name in (
                "BEGIN", "ROLL_BACK", "CLAIM", "RENEW", "GRANTS", "WRITTEN", "SET_ASIDE", "GIVE_BACK", "FREEZE", "SWITCHED", "FAIL",
                "CANCEL",
            )
        }  # fmt: skip
        name_scripts({f"index {name}": script for name, script in self._scripts.items()})

    # Calls

    async def begin(
        self, corpus: str, operation: str, request: Request, *, force: bool, serving: str, collection: str, settings: str
    ) -> str:
        """Notes that a corpus gets another index, which lacks every document; one of this collection is gone on with.

        Returns the operation's id. Raises `CorpusNotFound`, `ReindexUnderWay`.
        """
        arguments = [operation, request.key(self._prefix), request.record(operation), int(force), serving, collection, settings]
        arguments.append(current_traceparent())
        return self._begun(corpus, operation, request, await self._run("BEGIN", corpus, *arguments))

    async def roll_back(self, corpus: str, operation: str, request: Request, *, force: bool) -> str:
        """Notes that the former index is to be completed and to answer again. Returns the operation's id.

        Raises `CorpusNotFound`, `ReindexUnderWay`, `NoFormerIndex`.
        """
        arguments = [operation, request.key(self._prefix), request.record(operation), int(force), current_traceparent()]
        return self._begun(corpus, operation, request, await self._run("ROLL_BACK", corpus, *arguments))

    @staticmethod
    def _begun(corpus: str, operation: str, request: Request, answer: Sequence[str]) -> str:
        match answer:
            case ["REPEATED", record]:
                return request.answer(record)
            case ["BUSY", other]:
                raise ReindexUnderWay(corpus, other)
            case ["NONE"]:
                raise NoFormerIndex(corpus)
            case ["GONE"]:
                raise CorpusNotFound(corpus)
        return operation

    async def cancel(self, operation: str) -> bool:
        """Ends the operation, and discards what it was building. False when it is too late: the switch is being made, or was."""
        return bool(await self._run("CANCEL", operation) == "OK")

    async def get(self, corpus: str) -> Indexes:
        """What is noted of a corpus's indexes."""
        async with translated():
            noted = await cast(Any, self._redis.hgetall(f"{self._prefix}reindex:{corpus}"))
            if not noted:
                return Indexes()
            serving, collection = noted["serving"], noted.get("collection", "")
            async with self._redis.pipeline(transaction=False) as pipe:
                for each in (serving, collection):
                    pipe.zcard(f"{self._prefix}lacks:{corpus}:{each}")
                    pipe.hlen(f"{self._prefix}lacks:{corpus}:{each}:owners")
                    pipe.hlen(f"{self._prefix}lacks:{corpus}:{each}:aside")
                counts = await pipe.execute()
        return Indexes(
            serving=serving,
            collection=collection,
            state=IndexState(noted["state"]) if collection else None,
            settings=noted.get("settings", ""),
            made=noted.get("made") == "1",
            operation=noted.get("operation", ""),
            lacking=(sum(counts[:3]), sum(counts[3:])),
        )

    # Working

    async def claim(self, owner: str, lease_seconds: float, documents: int, max_bytes: int) -> Batch | None:
        """Takes documents in hand that an index of some corpus lacks. None when there is nothing to do."""
        found = await self._run("CLAIM", owner, round(lease_seconds * 1000), documents, max_bytes)
        if not found:
            return None
        corpus, collection, operation, traceparent, *fields = found
        triples = zip(*[iter(fields)] * 3, strict=True)
        taken = tuple(Indexed(d, Version(**json.loads(version)), int(losses)) for d, version, losses in triples)
        return Batch(corpus, collection, operation, taken, traceparent)

    async def renew(self, batch: Batch, owner: str, lease_seconds: float, doing: str, freeze_seconds: float) -> set[str]:
        """Shows a sign of life. Returns the ids of documents that are no longer this owner's."""
        ids = [document.id for document in batch.documents]
        milliseconds = round(lease_seconds * 1000), round(freeze_seconds * 1000)
        return set(await self._run("RENEW", batch.corpus, batch.collection, owner, milliseconds[0], doing, milliseconds[1], *ids))

    async def grants(self, batch: Batch, owner: str, documents: Sequence[Indexed]) -> dict[str, int]:
        """Who may read each document's chunks now, by id; those that are not to be written any more, or not as they were, are left out.

        As with `RedisCatalog.grants`, whoever holds the documents' locks writes with this and with nothing that was read before.
        """
        if not documents:
            return {}
        pairs = [value for document in documents for value in (document.id, document.version.generation)]
        found = await self._run("GRANTS", batch.corpus, batch.collection, owner, *pairs)
        return {document.id: int(access) for document, access in zip(documents, found, strict=True) if access}

    async def written(self, batch: Batch, owner: str, document: Indexed, chunks: int, embedded: int) -> None:
        """The index has this version of the document; if it is not the present one any more, the document waits again."""
        await self._run("WRITTEN", batch.corpus, batch.collection, owner, document.id, document.version.generation, chunks, embedded)

    async def set_aside(self, batch: Batch, owner: str, document: Indexed, error: CorellaError) -> None:
        """The document cannot be written."""
        await self._run("SET_ASIDE", batch.corpus, batch.collection, owner, document.id, document.version.generation, packed(error))

    async def give_back(
        self, batch: Batch, owner: str, documents: Sequence[Indexed], wait_seconds: float = 0.0, longest_seconds: float = 0.0
    ) -> float:
        """Puts documents back. With a wait the whole corpus is left alone for it, longer each time; returns how long, in seconds."""
        ids = [document.id for document in documents]
        waits = round(wait_seconds * 1000), round(longest_seconds * 1000)
        return float(await self._run("GIVE_BACK", batch.corpus, batch.collection, owner, *waits, *ids)) / 1000

    async def made(self, batch: Batch) -> None:
        """The collection is there, with its fields and its indexes."""
        async with translated():
            await cast(Any, self._redis.hset(f"{self._prefix}reindex:{batch.corpus}", "made", 1))

    # Switching

    async def freeze(self, batch: Batch, owner: str, seconds: float) -> tuple[str, int]:
        """Keeps workers from beginning with documents of the corpus, for a while.

        READY: nothing is in hand or missing, and the switch may be made within that time. Else WAIT, OTHER, GONE, or INCOMPLETE with the
        number of documents that were set aside.
        """
        outcome, *rest = await self._run("FREEZE", batch.corpus, batch.collection, owner, round(seconds * 1000))
        return outcome, int(rest[0]) if rest else 0

    async def switched(self, corpus: str, now: str, before: str, *, lazy: bool, cache_seconds: float) -> bool:
        """Notes which collection answers now, and ends the operation. False when that was noted already."""
        return bool(await self._run("SWITCHED", corpus, now, before, int(lazy), round(cache_seconds * 1000)) == "OK")

    async def fail(self, batch: Batch, error: CorellaError) -> None:
        """Ends the operation; what was built stays."""
        await self._run("FAIL", batch.corpus, batch.operation, packed(error))

    # Indexes to be dropped

    async def discarded(self) -> list[tuple[str, str]]:
        """Corpus and collection of indexes that are to be dropped."""
        async with translated():
            found = await cast(Any, self._redis.smembers(f"{self._prefix}discarded"))
        return [(corpus, collection) for corpus, _, collection in (member.partition("/") for member in found)]

    async def dropped(self, corpus: str, collection: str) -> None:
        """The index is gone."""
        async with translated():
            await cast(Any, self._redis.srem(f"{self._prefix}discarded", f"{corpus}/{collection}"))

    async def _run(self, script: str, *arguments: Any) -> Any:
        async with translated():
            return await self._scripts[script](keys=[self._prefix], args=[self._prefix, *arguments])


def packed(error: CorellaError) -> str:
    """An error as records keep it."""
    return base64.b64encode(error.to_status().SerializeToString()).decode()
