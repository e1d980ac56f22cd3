"""The catalog of documents in Redis, with the queue of those that wait for a worker. See `catalog_scripts.py` for the keys."""

from __future__ import annotations

import base64
import heapq
import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from services.chassis.errors import CorellaError
from services.chassis.redis_spans import TracedRedis, name_scripts
from services.retriever import catalog_scripts as scripts
from services.retriever.access import EVERYONE, EVERYONE_ID, NOBODY, NOBODY_ID, UNRESTRICTED, Access, Readable, access_of
from services.retriever.domain import (
    Claimed,
    CorpusNotFound,
    Document,
    DocumentFailure,
    DocumentState,
    Version,
)
from services.retriever.idempotency import Request
from services.retriever.redis_locks import Locks, LockScripts, translated

PREFIX = "{corella:retriever}:"
"""The hash tag keeps all keys in one slot of a Redis Cluster, which the scripts need."""

_WORK_LOCK_SECONDS = 8.0
"""How long a killed holder keeps others from its work. Renewed four times as often, so an event loop may be busy for six seconds."""

_REPLACED = DocumentFailure("A newer version of the document was handed in before this one was indexed.", reason="DOCUMENT_REPLACED")
_DELETED = DocumentFailure("The document was deleted before it was indexed.", reason="DOCUMENT_DELETED")
_KEPT = DocumentFailure("A source keeps this document current; change it there.", reason="DOCUMENT_BELONGS_TO_A_SOURCE")
_LEAVING = DocumentFailure("The document is being deleted; hand it in again afterwards.", reason="DOCUMENT_BEING_DELETED")


def open_redis(url: str) -> Redis:
    """A client with a pool of its own. Nothing is connected yet."""
    return TracedRedis.from_url(
        url,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=2),
        retry_on_error=[RedisConnectionError],
    )


class RedisCatalog:
    """Documents, queue, leases and locks. Raises `CatalogUnavailable` whenever Redis cannot be reached."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis = redis
        self._prefix = prefix
        self._locks = LockScripts(redis)
        self._scripts = {
            name: redis.register_script(getattr(scripts, name))
            for name in (
                "COMMIT", "CLAIM", "RENEW", "GRANTS", "FINISH", "FAIL", "GIVE_BACK", "RECLAIM", "BEGIN_DELETE", "END_DELETE", "CANCEL",
                "FORGET_CORPUS", "UPDATE_ACCESS", "REGRANTED", "RETRY",
            )
        }  # fmt: skip
        name_scripts({f"document {name}": script for name, script in self._scripts.items()})

    # Handing in

    async def stage(self, blob: str) -> None:
        """Notes a blob that is about to be written, so that it is swept away if nothing ever points to it."""
        async with translated():
            await self._redis.zadd(f"{self._prefix}staged", {blob: time.time()})

    async def staged_before(self, age_seconds: float) -> list[str]:
        """Blobs begun so long ago that nothing will come of them."""
        async with translated():
            return await cast(Any, self._redis.zrangebyscore(f"{self._prefix}staged", 0, time.time() - age_seconds, start=0, num=1000))

    async def unstage(self, blobs: Sequence[str]) -> None:
        """Forgets blobs that are gone."""
        if blobs:
            async with translated():
                await self._redis.zrem(f"{self._prefix}staged", *blobs)

    async def commit(
        self, corpus: str, operation: str, documents: Sequence[tuple[str, Version]], request: Request, default_access: Access
    ) -> tuple[str, Sequence[str]]:
        """Makes the documents known, queues those that differ from what is there, and creates the operation: all at once.

        Returns the operation's id (an earlier one's, when the request was answered before) and the blobs that nothing points to.
        `default_access` is for new documents that bring none.
        """
        entries = [document_entry(document_id, version, default_access) for document_id, version in documents]
        record = request.record(operation)
        errors = [_packed(error) for error in (_REPLACED, _LEAVING, _KEPT)]
        arguments = [corpus, operation, request.key(self._prefix), record, *errors[:2], json.dumps(entries), errors[2]]
        outcome, *rest = await self._run("COMMIT", *arguments)
        if outcome == "GONE":
            raise CorpusNotFound(corpus)
        if outcome == "REPEATED":
            return request.answer(rest[0]), [version.blob for _, version in documents]
        return operation, rest

    async def answered(self, request: Request) -> str | None:
        """What the request was answered with before; None if it is new. Raises `RequestIdReused`."""
        if not request.id:
            return None
        async with translated():
            record = await cast(Awaitable[str | None], self._redis.get(request.key(self._prefix)))
        return None if record is None else request.answer(record)

    # Working

    async def claim(self, owner: str, lease_seconds: float, documents: int, max_bytes: int) -> list[Claimed]:
        """Takes waiting documents of one corpus in hand, the corpus least recently served first."""
        corpus, *fields = await self._run("CLAIM", owner, round(lease_seconds * 1000), documents, max_bytes) or [""]
        return [
            Claimed(corpus, d, _version(version), tuple(operations.split()), int(losses), int(retries), untouched == "1")
            for d, version, operations, losses, retries, untouched in zip(*[iter(fields)] * 6, strict=True)
        ]

    async def renew(self, owner: str, lease_seconds: float, doing: str, documents: Sequence[Claimed]) -> set[str]:
        """Shows a sign of life. Returns the ids of documents that are no longer this owner's."""
        pairs = [value for document in documents for value in (document.id, document.version.generation)]
        return set(await self._run("RENEW", documents[0].corpus, owner, round(lease_seconds * 1000), doing, *pairs))

    async def grants(self, owner: str, documents: Sequence[Claimed]) -> dict[str, int]:
        """Who may read each document now, by id; those that are no longer this owner's are left out.

        Whoever holds a document's lock writes its chunks with this and with nothing that was read before: a change of access that comes
        later finds the lock taken, and rewrites them afterwards.
        """
        pairs = [value for document in documents for value in (document.id, document.version.generation)]
        found = await self._run("GRANTS", documents[0].corpus, owner, *pairs) if documents else []
        return {document.id: int(access) for document, access in zip(documents, found, strict=True) if access}

    async def finish(  # noqa: PLR0917 each is a different thing
        self, document: Claimed, owner: str, chunks: int, embedded: int, title: str, collection: str = ""
    ) -> list[str] | None:
        """The document is ACTIVE in this collection; the corpus's other index, if there is one, lacks it from now on.

        Returns blobs no longer needed; None when the document was no longer this owner's.
        """
        arguments = [document.corpus, document.id, document.version.generation, owner, chunks, embedded, title, collection]
        outcome, *blobs = await self._run("FINISH", *arguments)
        return None if outcome == "LOST" else blobs

    async def fail(self, document: Claimed, owner: str, error: CorellaError) -> None:
        """The document is FAILED, for good."""
        await self._run("FAIL", document.corpus, document.id, document.version.generation, owner, _packed(error))

    async def give_back(self, document: Claimed, owner: str, delay_seconds: float) -> None:
        """Puts the document back into the queue, to be taken after the delay."""
        arguments = [document.corpus, document.id, document.version.generation, owner, round(delay_seconds * 1000)]
        await self._run("GIVE_BACK", *arguments)

    async def reclaim(self, max_losses: int) -> tuple[int, int]:
        """Takes work back from workers that show no sign of life. Returns how much is ready and how much was taken back."""
        lost = DocumentFailure(f"{max_losses} workers were lost while they worked on the document.", reason="WORKER_LOST")
        lost_sync = DocumentFailure(f"{max_losses} workers were lost while they read the source.", reason="WORKER_LOST")
        ready, reclaimed = await self._run("RECLAIM", max_losses, _packed(lost), _packed(lost_sync))
        return ready, reclaimed

    # Deleting and cancelling

    async def begin_delete(self, corpus: str, document: str) -> list[str] | None:
        """From now on no worker finishes the document. Returns its blobs; None when there is no such document."""
        outcome, *blobs = await self._run("BEGIN_DELETE", corpus, document, _packed(_DELETED))
        return None if outcome == "MISSING" else blobs

    async def end_delete(self, corpus: str, document: str, request: Request) -> None:
        """Forgets the document, and remembers the request as answered."""
        await self._run("END_DELETE", corpus, document, request.key(self._prefix), request.record(""))

    async def cancel(self, operation: str) -> list[str]:
        """Takes the operation's waiting documents out of the queue. Returns blobs no longer needed."""
        return await self._run("CANCEL", operation)

    async def begin_forgetting(self, corpus: str) -> None:
        """From now on nothing is handed in to the corpus."""
        async with translated():
            await self._redis.sadd(f"{self._prefix}leaving", corpus)

    async def leaving(self) -> set[str]:
        """Corpora whose deletion has begun and not ended."""
        async with translated():
            return await cast(Any, self._redis.smembers(f"{self._prefix}leaving"))

    async def forget_corpus(self, corpus: str, request: Request) -> None:
        """Forgets the corpus and all of its documents, and remembers the request as answered."""
        await self._run("FORGET_CORPUS", corpus, request.key(self._prefix), request.record(""))

    # Access

    async def update_access(self, corpus: str, document: str, access: Access) -> bool:
        """Sets who may read the document, and notes that its chunks have to follow. False when there is no such document."""
        return bool(await self._run("UPDATE_ACCESS", corpus, document, access.text) == "OK")

    async def row_access(self, corpus: str, document: str) -> int | None:
        """What the document's chunks are to have; None when there is no such document."""
        async with translated():
            found = await cast(Awaitable[str | None], self._redis.hget(f"{self._prefix}doc:{corpus}:{document}", "row_access"))
        return None if found is None else int(found)

    async def regranted(self, corpus: str, document: str, access: int, request: Request | None = None) -> None:
        """The document's chunks have this access now; remembers the request as answered."""
        key, record = (request.key(self._prefix), request.record("")) if request else ("", "")
        await self._run("REGRANTED", corpus, document, access, key, record)

    async def regranting(self, corpus: str, documents: Sequence[str]) -> list[str]:
        """Those of these documents whose chunks may not have their access yet."""
        if not documents:
            return []
        async with translated():
            members = [f"{corpus}/{document}" for document in documents]
            found = await cast(Any, self._redis.zmscore(f"{self._prefix}regranting", members))
        return [document for document, since in zip(documents, found, strict=True) if since is not None]

    async def regranting_before(self, age_seconds: float) -> list[tuple[str, str]]:
        """Corpus and id of documents whose chunks have waited longer for their access: whoever changed it was killed."""
        async with translated():
            before = time.time() - age_seconds
            found = await cast(Any, self._redis.zrangebyscore(f"{self._prefix}regranting", 0, before, start=0, num=1000))
        return [(corpus, document) for corpus, _, document in (member.partition("/") for member in found)]

    async def retry(self, corpus: str, operation: str, documents: Sequence[str], request: Request) -> tuple[str, int]:
        """Queues those of these documents that failed. Returns the operation's id and how many were queued now."""
        outcome, answer = [
            *await self._run("RETRY", corpus, operation, request.key(self._prefix), request.record(operation), *documents),
            "",
        ][:2]
        if outcome == "GONE":
            raise CorpusNotFound(corpus)
        return (request.answer(answer), 0) if outcome == "REPEATED" else (operation, int(answer))

    # Reading

    async def get(self, corpus: str, document: str) -> Document | None:
        """One document."""
        return next(iter(await self._read(corpus, [document])), None)

    async def list_documents(
        self, corpus: str, state: DocumentState | None, size: int, after: str, readable: Readable = UNRESTRICTED
    ) -> tuple[list[Document], str, int]:
        """Documents by id that are shown to the caller, where the next page begins, and how many there are in all."""
        indexes = await self._indexes(corpus, state, readable)
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            for index in indexes:
                pipe.zrangebylex(index, f"({after}" if after else "-", "+", start=0, num=size + 1)
                pipe.zcard(index)
            answers = await pipe.execute()
        ids = list(heapq.merge(*answers[::2]))
        documents = await self._read(corpus, ids[:size])
        return documents, ids[size - 1] if len(ids) > size else "", sum(answers[1::2])

    async def count(self, corpus: str, readable: Readable = UNRESTRICTED) -> int:
        """Documents in a corpus that are shown to the caller, in every state."""
        indexes = await self._indexes(corpus, None, readable)
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            for index in indexes:
                pipe.zcard(index)
            return sum(await pipe.execute())

    async def _indexes(self, corpus: str, state: DocumentState | None, readable: Readable) -> list[str]:
        """The indexes that together hold what the caller is shown, each document in one of them."""
        suffix = f":{state.value}" if state else ""
        if readable.sees_all:
            return [f"{self._prefix}docs:{corpus}{suffix}"]
        ids = readable.ids
        if ids is None:
            async with translated():
                known = await cast(Awaitable[list[str]], self._redis.hkeys(f"{self._prefix}access:{corpus}"))
            ids = frozenset({EVERYONE_ID, *map(int, known)})
        return [f"{self._prefix}read:{corpus}:{each}{suffix}" for each in sorted(ids)]

    async def age_seconds(self, document: Document) -> float:
        """How long ago the document last changed, by the clock that says so."""
        async with translated():
            seconds, microseconds = await cast(Any, self._redis.time())
        return float(seconds + microseconds / 1e6 - document.update_time)

    async def _read(self, corpus: str, ids: Sequence[str]) -> list[Document]:
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            for document_id in ids:
                pipe.hgetall(f"{self._prefix}doc:{corpus}:{document_id}")
            found = await pipe.execute()
            for fields in found:
                pipe.hget(f"{self._prefix}access:{corpus}", fields.get("access", ""))
            pipe.hget(f"{self._prefix}reindex:{corpus}", "slot")
            *texts, slot = await pipe.execute() if found else [None]
        entries = zip(ids, found, texts, strict=True)
        return [_document(corpus, document_id, fields, text, f"chunk_count{slot or ''}") for document_id, fields, text in entries if fields]

    # Locks

    @asynccontextmanager
    async def locked(self, corpus: str, documents: Sequence[str], seconds: float, wait_seconds: float) -> AsyncIterator[Locks]:
        """Holds the right to change these documents' chunks in the store, as far as it can be had within `wait_seconds`."""
        locks = Locks(self._locks, self._prefix, corpus, seconds)
        try:
            await locks.take(documents, wait_seconds)
            yield locks
        finally:
            await locks.release()

    @asynccontextmanager
    async def alone(self, work: str, wait_seconds: float) -> AsyncIterator[Locks]:
        """Holds the right to do what must not be done twice at once, for as long as it takes, if it can be had within `wait_seconds`."""
        async with self.locked("", [work], _WORK_LOCK_SECONDS, wait_seconds) as locks, locks.renewing():
            yield locks

    async def _run(self, script: str, *arguments: Any) -> Any:
        async with translated():
            return await self._scripts[script](keys=[self._prefix], args=[self._prefix, *arguments])


def _packed(error: CorellaError) -> str:
    return base64.b64encode(error.to_status().SerializeToString()).decode()


def _version(text: str) -> Version:
    return Version(**json.loads(text))


def document_entry(document_id: str, version: Version, default_access: Access) -> dict[str, str | int]:
    """A document as the scripts take it in."""
    return {
        "id": document_id,
        "version": json.dumps({name: value for name, value in asdict(version).items() if name != "access"}),
        "generation": version.generation,
        "digest": version.digest,
        "size": version.size,
        "uri": version.uri,
        "blob": version.blob,
        "access": version.access,
        "default_access": default_access.text,
    }


def _document(corpus: str, document_id: str, fields: Mapping[str, str], access_text: str | None, count_field: str) -> Document:
    version = _version(fields["version"])
    number = int(fields.get("access", NOBODY_ID))
    access = EVERYONE if number == EVERYONE_ID else access_of(access_text or NOBODY.text)
    return Document(
        corpus=corpus,
        id=document_id,
        state=DocumentState(fields["state"]),
        version=version,
        title=version.title or fields.get("title", ""),
        chunk_count=int(fields.get(count_field, 0)),
        error=base64.b64decode(fields.get("error", "")),
        create_time=int(fields["create_time"]) / 1000,
        update_time=int(fields["update_time"]) / 1000,
        # A list that is not known any more admits nobody.
        access=access,
        access_id=access.id,
        source=fields.get("source", ""),
    )
