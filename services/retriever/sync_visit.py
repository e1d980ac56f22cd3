"""One visit of a source's place: compares what is there with what is known, records it in batches, and removes what is gone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from corella.v1 import retriever_pb2
from services.chassis.errors import CorellaError, FailedPrecondition, InvalidArgument
from services.chassis.telemetry import get_logger
from services.retriever import requests
from services.retriever.access import Access
from services.retriever.celery_queue import CeleryQueue
from services.retriever.connectors.connector import Connector, Found, Seen, Unchanged, Unreadable, Visit
from services.retriever.documents import Documents, Incoming, digest_of
from services.retriever.domain import Corpus
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_id, document_name
from services.retriever.redis_catalog import document_entry
from services.retriever.redis_sources import RedisSources, packed
from services.retriever.settings import SyncSettings, WorkerSettings
from services.retriever.source_domain import ClaimedSync, Item
from services.retriever.sync_rules import MOVED, asks_first, cursor_for

log = get_logger(__name__)

_BATCH_BYTES = 8 << 20
_BATCH_SECONDS = 1.0
_DELETIONS_AT_ONCE = 8


class SyncLost(Exception):
    """The sync was paused, cancelled, deleted, or taken over by another worker."""


class UriTwice(FailedPrecondition):
    """Two things at one place have the same URI."""

    reason = "DOCUMENT_URI_TWICE"


@dataclass(frozen=True)
class SyncTools:
    """What syncs are done with."""

    sources: RedisSources
    store: MilvusStore
    documents: Documents
    queue: CeleryQueue
    worker: WorkerSettings
    sync: SyncSettings
    max_bytes: int
    """Largest document taken."""


class SyncVisit:
    """Sees one visit through."""

    def __init__(self, tools: SyncTools, sync: ClaimedSync, owner: str, corpus: Corpus, connector: Connector) -> None:
        self._sync = sync
        self._owner = owner
        self._corpus = corpus
        self._connector = connector
        self._sources = tools.sources
        self._documents = tools.documents
        self._queue = tools.queue
        self._batch_documents = tools.sync.batch_documents
        self._lease_seconds = tools.worker.lease_seconds
        self._max_bytes = tools.max_bytes
        self.doing = ""
        self._items: dict[str, Item] = {}
        self._seen: set[str] = set()
        self._keeper: dict[str, str] = {}
        """Key of each document seen."""
        self._entries: list[dict[str, Any]] = []
        self._bytes = 0
        self._flushed_at = time.monotonic()
        self._failed = False

    async def run(self) -> None:
        """Everything up to the point from which only documents have to end. Raises `SyncLost`, `PlaceUnreachable`, `PlaceRefused`."""
        self._items = await self._sources.items(self._sync.corpus, self._sync.source)
        known = {key: item.version for key, item in self._items.items() if item.current and not key.startswith(MOVED)}
        visit = Visit(known=known, cursor=cursor_for(self._sync.cursor, self._items), full=self._sync.full)
        try:
            async with aclosing(self._connector.seen(visit)) as found:
                async for each in found:
                    if each.key in self._seen:
                        continue
                    self._seen.add(each.key)
                    await self._take(each)
                    await self._flush(visit.expected or 0, only_full=True)
        finally:
            # What was read so far is kept, also when the place breaks off; a worker that is told to stop goes at once.
            if not asyncio.current_task() or not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                await self._flush(visit.expected or 0)
        withheld = await self._remove(complete=visit.complete)
        # A place that is asked for what changed since the last visit must be asked again for what could not be read.
        cursor = self._sync.cursor if self._failed else visit.next_cursor
        if not await self._sources.close(self._sync, self._owner, cursor, withheld):
            raise SyncLost

    async def _take(self, seen: Seen) -> None:
        item = self._items.get(seen.key)
        if isinstance(seen, Unchanged):
            await self._hold(item, seen.access)
            if item is not None and item.present:
                self._keeper.setdefault(item.document, seen.key)
                self._entries.append({"kind": "same", "key": seen.key, "version": item.version, "document": item.document})
            return
        self.doing = f"reading {seen.uri}"
        if isinstance(seen, Unreadable):
            await self._hold(item, seen.access)
            self._fail(seen.key, seen.uri, seen.error)
            return
        try:
            await self._take_found(seen, item)
        except (InvalidArgument, UriTwice) as error:
            await self._hold(item, self._access(seen))
            self._fail(seen.key, seen.uri, error)

    async def _take_found(self, found: Found, item: Item | None) -> None:
        access = self._access(found)
        incoming = replace(_incoming(found), access=access)
        document = document_id(incoming.uri)
        keeper = self._keeper.setdefault(document, found.key)
        if keeper != found.key:
            raise UriTwice(f"`{found.key}` has the same URI as `{keeper}`.")
        if item is not None and item.present and item.document != document:
            self._items[MOVED + item.document] = Item("", item.document, "", current=False)
        digest = digest_of(self._corpus, incoming, hashlib.sha256(found.content).hexdigest())
        again = item is not None and item.failed and self._sync.full
        same = item is not None and item.current and (item.document, item.access, item.digest) == (document, access.id, digest)
        if same and not again:
            self._entries.append({"kind": "same", "key": found.key, "version": found.version, "document": document})
            return
        _, version = await self._documents.receive(self._corpus, incoming, _whole(found.content), self._max_bytes)
        entry = document_entry(document, version, self._corpus.default_access)
        self._entries.append({"kind": "found", "key": found.key, "version": found.version, "document": entry})
        self._bytes += len(found.content)

    def _access(self, found: Found) -> Access:
        return found.access or self._sync.spec.default_access or self._corpus.default_access

    async def _hold(self, item: Item | None, access: Access | None) -> None:
        """Whoever may not read a document any more loses it, also when what is in it now could not be taken."""
        if item is not None and item.present and access is not None and item.access != access.id:
            await self._documents.hold_to(self._corpus, item.document, access)

    def _fail(self, key: str, uri: str, error: CorellaError) -> None:
        self._failed = True
        item = self._items.get(key)
        name = document_name(self._sync.corpus, item.document) if item else self._sync.name
        document = item.document if item else ""
        self._entries.append({"kind": "failed", "key": key, "name": name, "uri": uri, "error": packed(error), "document": document})

    async def _flush(self, expected: int, *, only_full: bool = False) -> None:
        """Records what has come together. With `only_full` only if it is worth a step: by number, by bytes, or by time."""
        waited = time.monotonic() - self._flushed_at
        full = len(self._entries) >= self._batch_documents or self._bytes >= _BATCH_BYTES or waited >= _BATCH_SECONDS
        if not self._entries or (only_full and not full):
            return
        entries, self._entries, self._bytes = self._entries, [], 0
        handed_in = [entry["document"]["id"] for entry in entries if entry["kind"] == "found"]
        blobs = await self._sources.record(self._sync, self._owner, max(expected, len(self._seen)), entries)
        if blobs is None:
            raise SyncLost
        await self._documents.drop_blobs(blobs)
        if handed_in:
            await self._queue.wake(len(handed_in))
            # Whoever may not read a document any more does not find it from here on.
            await self._documents.regrant_waiting(self._corpus, handed_in)
        self._flushed_at = time.monotonic()

    async def _remove(self, *, complete: bool) -> int:
        """Deletes what is gone. Returns how many documents were kept because somebody has to be asked."""
        if not complete:
            return 0
        gone = {key: item for key, item in self._items.items() if key not in self._seen}
        mine = {key for key, item in gone.items() if item.present and item.document not in self._keeper}
        lost = {key for key in mine if not key.startswith(MOVED)}
        known = sum(item.present for key, item in self._items.items() if not key.startswith(MOVED))
        withheld = 0
        if asks_first(len(lost), known, self._sync.spec.loss_limit) and not await self._sources.confirmed(self._sync):
            withheld = len(lost)
            log.warning("removals_withheld", source=self._sync.name, gone=withheld, known=known)
            gone = {key: item for key, item in gone.items() if key not in lost}
        waiting = list(gone.items())
        if waiting:
            self.doing = f"removing {len(waiting):,} documents that are gone"
        for start in range(0, len(waiting), _DELETIONS_AT_ONCE):
            # Whoever goes on in our place may have seen them again.
            if not await self._sources.renew(self._sync, self._owner, self._lease_seconds, self.doing):
                raise SyncLost
            part = waiting[start : start + _DELETIONS_AT_ONCE]
            await asyncio.gather(*(self._remove_one(key, item, delete=key in mine) for key, item in part))
        return withheld

    async def _remove_one(self, key: str, item: Item, *, delete: bool) -> None:
        if delete:
            await self._documents.delete(self._corpus.id, item.document, allow_missing=True, request_id="")
        counted = item.document if delete else ""
        if not await self._sources.removed(self._sync, self._owner, key, counted):
            raise SyncLost


def _incoming(found: Found) -> Incoming:
    """What the place says about a document, checked as if a caller had handed it in. Raises `InvalidArgument`."""
    title = found.title[: requests.MAX_TITLE_CHARS]
    metadata = {key: value[:1000] for key, value in found.metadata.items()}
    message = retriever_pb2.Document(uri=found.uri, title=title, mime_type=found.mime_type, metadata=metadata)
    return requests.incoming(message, found.key)


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
