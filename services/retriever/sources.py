"""Making, changing, syncing and deleting sources. Reading them is the worker's: see syncing.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.chassis.telemetry import get_logger
from services.retriever.celery_queue import CeleryQueue
from services.retriever.documents import Documents
from services.retriever.idempotency import Request
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_sources import RedisSources
from services.retriever.source_domain import Source, SourceBusy, SourceSpec, SourceState
from services.retriever.source_places import Places
from services.retriever.source_records import spec_text
from services.retriever.tenancy import tenant_of

log = get_logger(__name__)

_DELETIONS_AT_ONCE = 8


class Sources:
    """The use cases of sources. Corpora are named by their inner ids."""

    def __init__(self, store: MilvusStore, records: RedisSources, documents: Documents, queue: CeleryQueue, places: Places) -> None:
        self._store = store
        self._records = records
        self._documents = documents
        self._queue = queue
        self._places = places

    async def create(self, corpus_id: str, source_id: str, spec: SourceSpec, *, paused: bool, request_id: str) -> Source:
        """A new source, whose first sync begins at once unless it is paused."""
        await self._store.get(corpus_id)
        await asyncio.to_thread(self._places.check, spec.place, tenant_of(corpus_id))
        request = Request("CreateSource", request_id, f"{corpus_id} {source_id} {spec_text(spec)} {paused}")
        if not await self._records.create(corpus_id, source_id, spec, paused=paused, request=request):
            # One of that id was being deleted when whoever did so was killed.
            await self._finish_deletion(corpus_id, source_id, Request("", "", ""))
            if not await self._records.create(corpus_id, source_id, spec, paused=paused, request=request):
                raise SourceBusy("A source of that id is being deleted; try again.")
        await self._queue.wake(1)
        log.info("source_created", corpus=corpus_id, source=source_id, kind=spec.place.kind)
        return await self._records.get(corpus_id, source_id)

    async def get(self, corpus_id: str, source_id: str) -> Source:
        """One source. Raises `CorpusNotFound`, `SourceNotFound`."""
        await self._store.get(corpus_id)
        return await self._records.get(corpus_id, source_id)

    async def list_sources(self, corpus_id: str, size: int, after: str) -> tuple[list[Source], str]:
        """Sources by id, and where the next page begins."""
        await self._store.get(corpus_id)
        return await self._records.list_sources(corpus_id, size, after)

    async def update(self, corpus_id: str, source_id: str, changed: SourceSpec, fields: frozenset[str], request_id: str) -> Source:
        """Takes the fields named from `changed`. Who may read what is settled at once, by a sync that compares everything."""
        before = (await self.get(corpus_id, source_id)).spec
        spec = replace(before, **{field: getattr(changed, field) for field in fields})
        if spec.place != before.place:
            await asyncio.to_thread(self._places.check, spec.place, tenant_of(corpus_id))
        request = Request("UpdateSource", request_id, f"{corpus_id} {source_id} {sorted(fields)} {spec_text(changed)}")
        regranting = spec.default_access != before.default_access
        await self._records.update(corpus_id, source_id, spec, compare=regranting or spec.place != before.place, request=request)
        after = await self._records.get(corpus_id, source_id)
        if regranting and after.state is not SourceState.PAUSED:
            await self._records.begin(corpus_id, source_id, full=True, confirm=False)
            after = await self._records.get(corpus_id, source_id)
        await self._queue.wake(1)
        return after

    async def sync(self, corpus_id: str, source_id: str, *, full: bool, confirm: bool) -> str:
        """Begins a sync, or joins the one that goes on. Returns the id of its operation."""
        await self._store.get(corpus_id)
        operation = await self._records.begin(corpus_id, source_id, full=full, confirm=confirm)
        await self._queue.wake(1)
        return operation

    async def pause(self, corpus_id: str, source_id: str) -> Source:
        """Stops what goes on and what would come."""
        await self._store.get(corpus_id)
        await self._documents.drop_blobs(await self._records.pause(corpus_id, source_id))
        return await self._records.get(corpus_id, source_id)

    async def resume(self, corpus_id: str, source_id: str) -> Source:
        """Takes scheduled syncs up again."""
        await self._store.get(corpus_id)
        await self._records.resume(corpus_id, source_id)
        return await self._records.get(corpus_id, source_id)

    async def delete(self, corpus_id: str, source_id: str, *, documents: bool, request_id: str) -> int:
        """Deletes a source, and on request its documents. Returns how many these were.

        A deletion that was interrupted is completed by repeating it; the upkeep repeats it too.
        """
        request = Request("DeleteSource", request_id, f"{corpus_id} {source_id} {documents}")
        answer = await self._records.answered(request)
        if answer is not None:
            return int(answer or 0)
        await self._store.get(corpus_id)
        return await self._finish_deletion(corpus_id, source_id, request, documents=documents)

    async def complete_deletions(self) -> None:
        """Completes deletions that were interrupted."""
        for corpus_id, source_id in await self._records.leaving():
            await self._finish_deletion(corpus_id, source_id, Request("", "", ""))

    async def _finish_deletion(self, corpus_id: str, source_id: str, request: Request, *, documents: bool = False) -> int:
        with_documents, blobs = await self._records.begin_delete(corpus_id, source_id, documents=documents)
        await self._documents.drop_blobs(blobs)
        deleted = 0
        if with_documents is not None:
            items = await self._records.items(corpus_id, source_id)
            ids = sorted({item.document for item in items.values() if item.present})
            for start in range(0, len(ids), _DELETIONS_AT_ONCE):
                part = ids[start : start + _DELETIONS_AT_ONCE]
                await asyncio.gather(*(self._documents.delete(corpus_id, each, allow_missing=True, request_id="") for each in part))
                deleted += len(part)
        await self._records.end_delete(corpus_id, source_id, request, str(deleted))
        log.info("source_deleted", corpus=corpus_id, source=source_id, documents=deleted)
        return deleted
