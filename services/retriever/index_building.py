"""Writes to an index what it lacks, and switches to it when it lacks nothing: the worker's part of reindexing.py.

    claim ─ read, cut, embed (preparing.py) ─ lock ─ upsert with the access of this moment ─ delete older versions ─ noted as written
    nothing lacking: freeze (no ingestion begins) ─ nothing in hand, nothing lacking ─ the alias moves ─ noted ─ thawed when caches are over

The freeze makes the moment of the switch whole. It is not what correctness hangs on: should a worker sleep through it, what the index
lacks then is noted with it all the same and written at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from opentelemetry.context import Context

from services.chassis.errors import CorellaError, Unavailable
from services.chassis.steps import link, step
from services.chassis.telemetry import get_logger, meter
from services.retriever.domain import Corpus, CorpusNotFound, DocumentFailure, EmbeddingMode, ModelMismatch, ReindexIncomplete
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.ingestion import PASSING
from services.retriever.milvus_schema import index_in
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_name, fresh_id
from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.preparing import Prepared, Preparing
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.redis_indexing import Batch, Indexed, RedisIndexing
from services.retriever.reindexing import settled
from services.retriever.settings import WorkerSettings
from services.retriever.signs_of_life import signs_of_life

log = get_logger(__name__)

_LOCK_SECONDS = 15.0
_LOCK_WAIT_SECONDS = 20.0
_FREEZE_SECONDS = 10.0
_SWITCH_SECONDS = 3.0
"""After so long the alias is not asked to move any more. With the five seconds that the call may take less than the freeze lasts."""
_LOOK_AGAIN_SECONDS = 0.35
_MAKE_WAIT_SECONDS = 60.0

_documents = meter.create_counter("corella.reindex.documents", description="Documents written to another index, by how they ended.")


class IndexBuilding:
    """Completes indexes until none lacks anything. One per process."""

    def __init__(
        self,
        store: MilvusStore,
        catalog: RedisCatalog,
        blobs: FsspecBlobs,
        embedder: Embedders,
        indexing: RedisIndexing,
        *,
        sandbox: ParsingSandbox,
        settings: WorkerSettings,
        cache_seconds: float,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._indexing = indexing
        self._preparing = Preparing(store, blobs, embedder, sandbox=sandbox, embed_texts=settings.embed_texts)
        self._settings = settings
        self._cache_seconds = cache_seconds
        self._owner = fresh_id()

    async def work_once(self) -> bool:
        """Writes some documents to an index that lacks them, or switches. False when there was nothing to do."""
        settings = self._settings
        batch = await self._indexing.claim(self._owner, settings.lease_seconds, settings.batch_documents, settings.batch_max_bytes)
        if batch is None:
            return False
        # A trace for each batch: an operation may have thousands of them.
        links = link(batch.traceparent, "reindex.request")
        name = "index documents anew" if batch.documents else "switch index"
        with step(name, {"corella.documents": len(batch.documents)}, links=links, context=Context()):
            async with self._leased(batch) as lease:
                try:
                    await self._attempt(batch, lease)
                except PASSING as error:
                    await self._retry_later(batch, lease, error)
                except CorpusNotFound:
                    # Deleted, or the operation was cancelled: the documents are then nobody's.
                    log.info("index_gone", collection=batch.collection)
                    await self._retry_later(batch, lease, CorpusNotFound(batch.corpus))
                except asyncio.CancelledError:
                    await self._indexing.give_back(batch, self._owner, lease.open())
                    raise
                except CorellaError as error:
                    await self._break_off(batch, lease, error)
        return True

    async def _attempt(self, batch: Batch, lease: _Lease) -> None:
        corpus = await settled(self._store, self._indexing, batch.corpus, self._cache_seconds)
        if not batch.documents:
            if batch.collection != corpus.collection:
                await self._switch(batch)
            return
        await self._write_all(batch, corpus, corpus if batch.collection == corpus.collection else await self._made(batch), lease)

    async def _made(self, batch: Batch) -> Corpus:
        """The index being built; made now if it is not there. Raises `CorpusNotFound` when it is not wanted any more."""
        async with self._catalog.alone(f"index/{batch.corpus}", _MAKE_WAIT_SECONDS) as lock:
            if not lock.held:
                raise Unavailable("The index is being made by another worker.", reason="CORPUS_BUSY")
            noted = await self._indexing.get(batch.corpus)
            index = await self._store.index(batch.collection) if noted.made else None
            if index is None:
                if noted.collection != batch.collection or not noted.settings:
                    raise CorpusNotFound(batch.corpus)
                # One that was half made by a worker that was killed is made anew.
                index = index_in(noted.settings)
                await self._store.make_index(index)
                if not await lock.renewed():
                    # Whoever has it now drops what was made, and makes it anew.
                    raise Unavailable("The index is being made by another worker.", reason="CORPUS_BUSY")
                await self._indexing.made(batch)
        return index

    async def _write_all(self, batch: Batch, corpus: Corpus, target: Corpus, lease: _Lease) -> None:
        # The same model gives the same vectors for the same chunks, in whichever index they are.
        stored_in = [target, corpus] if target is not corpus and target.fingerprint == corpus.fingerprint else [target]
        prepared: list[tuple[Indexed, Prepared]] = []
        for document in batch.documents:
            lease.doing = f"reading {document.version.uri}"
            name = document_name(batch.corpus, document.id)
            try:
                prepared.append((document, await self._preparing.read(target, document.id, document.version, stored_in)))
            except PASSING:
                raise
            except CorellaError as error:
                await self._set_aside(batch, document, lease, error)
            except Exception as error:
                log.exception("reader_broke", document=name)
                text = f"The document could not be read: the reader failed with {type(error).__name__}."
                await self._set_aside(batch, document, lease, DocumentFailure(text, reason="DOCUMENT_UNREADABLE"))
        if target.mode is EmbeddingMode.EAGER:
            lease.doing = f"embedding {prepared[0][0].version.uri}" if prepared else ""
            await self._preparing.embed(target, [made for _, made in prepared])
        await self._write(batch, target, prepared, lease)

    async def _write(self, batch: Batch, target: Corpus, prepared: Sequence[tuple[Indexed, Prepared]], lease: _Lease) -> None:
        ids = [document.id for document, _ in prepared]
        async with self._catalog.locked(batch.corpus, ids, _LOCK_SECONDS, _LOCK_WAIT_SECONDS) as locks:
            await lease.renew()
            held = [document for document, _ in prepared if document.id in locks.held]
            grants = await self._indexing.grants(batch, self._owner, held)
            mine = [(document, made) for document, made in prepared if document.id in grants]
            chunks = [replace(chunk, access=grants[document.id]) for document, made in mine for chunk in made.chunks]
            for start in range(0, len(chunks), 1_000):
                # The lock outlives a call of the store, so nothing is written after someone else may have deleted the document.
                if not await locks.renewed():
                    raise Unavailable("The lock of a document was lost.", reason="DOCUMENT_BUSY")
                await self._store.upsert(target, chunks[start : start + 1_000])
            for document, made in mine:
                await self._store.delete_document(target, document.id, keep_generation=document.version.generation)
                await self._indexing.written(batch, self._owner, document, len(made.chunks), made.embedded)
                lease.done(document)
                _documents.add(1, {"corella.document.state": "ACTIVE"})
        # A newer version, or a lock that others have: looked at again.
        await self._indexing.give_back(batch, self._owner, lease.open())

    async def _switch(self, batch: Batch) -> None:
        begun = time.monotonic()
        outcome, aside = await self._indexing.freeze(batch, self._owner, _FREEZE_SECONDS)
        if outcome == "INCOMPLETE":
            await self._indexing.fail(batch, ReindexIncomplete(batch.corpus, aside))
        elif outcome in {"WAIT", "OTHER"}:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        elif outcome == "READY":
            await self._store.switch(await self._made(batch), begun + _SWITCH_SECONDS)
            await settled(self._store, self._indexing, batch.corpus, self._cache_seconds)
            log.info("index_switched", corpus=batch.corpus, collection=batch.collection)

    async def _set_aside(self, batch: Batch, document: Indexed, lease: _Lease, error: CorellaError) -> None:
        log.info("document_set_aside", document=document_name(batch.corpus, document.id), reason=error.reason)
        await self._indexing.set_aside(batch, self._owner, document, error)
        lease.done(document)
        _documents.add(1, {"corella.document.state": "FAILED"})

    async def _retry_later(self, batch: Batch, lease: _Lease, error: CorellaError) -> None:
        settings = self._settings
        waits = settings.retry_base_seconds, settings.retry_max_seconds
        seconds = await self._indexing.give_back(batch, self._owner, lease.open(), *waits)
        log.warning("index_waits", corpus=batch.corpus, reason=error.reason, seconds=seconds)

    async def _break_off(self, batch: Batch, lease: _Lease, error: CorellaError) -> None:
        if not batch.operation or not isinstance(error, ModelMismatch):
            await self._retry_later(batch, lease, error)
            return
        # No embedder has the model of this index; trying on does not bring it back.
        await self._indexing.give_back(batch, self._owner, lease.open())
        await self._indexing.fail(batch, error)

    @asynccontextmanager
    async def _leased(self, batch: Batch) -> AsyncIterator[_Lease]:
        lease = _Lease(self._indexing, batch, self._owner, self._settings.lease_seconds)
        async with signs_of_life(lease.renew, self._settings.lease_seconds):
            yield lease


class _Lease:
    """Shows signs of life for the documents in hand, and keeps a freeze that waits for them."""

    def __init__(self, indexing: RedisIndexing, batch: Batch, owner: str, seconds: float) -> None:
        self._indexing = indexing
        self._batch = batch
        self._owner = owner
        self._seconds = seconds
        self._in_hand = {document.id: document for document in batch.documents}
        self.doing = ""

    async def renew(self) -> None:
        batch = replace(self._batch, documents=tuple(self._in_hand.values()))
        await self._indexing.renew(batch, self._owner, self._seconds, self.doing, _FREEZE_SECONDS)

    def done(self, document: Indexed) -> None:
        self._in_hand.pop(document.id, None)

    def open(self) -> list[Indexed]:
        """Those whose end has not been recorded."""
        return list(self._in_hand.values())
