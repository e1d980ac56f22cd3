"""Indexes documents that were handed in: claims some, reads, cuts, embeds and stores them, and says how each ended.

    claim ─ read (child process) ─ cut (thread) ─ reuse vectors of unchanged chunks ─ embed the others, of all documents together ─ lock ─
    upsert ─ delete what the old version left ─ ACTIVE

A document may be claimed again by another worker at any moment when this one shows no sign of life; every step may be repeated and
gives the same outcome.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from services.chassis.errors import CorellaError, DeadlineExceeded, ResourceExhausted, Unavailable
from services.chassis.steps import step
from services.chassis.telemetry import SECONDS, get_logger, meter
from services.retriever.document_spans import DocumentSpans, SharedStep
from services.retriever.domain import Claimed, Corpus, CorpusNotFound, DocumentFailure, EmbeddingMode
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_name, fresh_id
from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.preparing import Prepared, Preparing
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.settings import WorkerSettings
from services.retriever.signs_of_life import signs_of_life

log = get_logger(__name__)

PASSING = (Unavailable, ResourceExhausted, DeadlineExceeded)
"""Failures of something else, not of the document: tried again later."""
_LOCK_SECONDS = 15.0
_LOCK_WAIT_SECONDS = 20.0

_documents = meter.create_counter("corella.ingest.documents", description="Documents worked on, by how they ended.")
_duration = meter.create_histogram(
    "corella.ingest.document.duration",
    unit="s",
    description="From a worker's taking a document up until it is ACTIVE or FAILED.",
    explicit_bucket_boundaries_advisory=SECONDS,
)


@dataclass(frozen=True)
class _Prepared:
    """A document with its chunks."""

    document: Claimed
    made: Prepared


class Ingestion:
    """Works on documents until none is waiting. One per process."""

    def __init__(
        self,
        store: MilvusStore,
        catalog: RedisCatalog,
        blobs: FsspecBlobs,
        embedder: Embedders,
        *,
        sandbox: ParsingSandbox,
        settings: WorkerSettings,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs
        self._preparing = Preparing(store, blobs, embedder, sandbox=sandbox, embed_texts=settings.embed_texts)
        self._settings = settings
        self._owner = fresh_id()

    async def work_once(self) -> str:
        """Takes some documents and works on them. Returns the corpus they belong to; empty when none was waiting."""
        settings = self._settings
        claimed = await self._catalog.claim(self._owner, settings.lease_seconds, settings.batch_documents, settings.batch_max_bytes)
        if not claimed:
            return ""
        spans = DocumentSpans(claimed)
        with step("ingest documents", {"corella.documents": len(claimed)}, links=spans.links()) as batch:
            spans.link_to(batch)
            async with self._leased(claimed, spans) as lease:
                try:
                    # Looked up after the claim: while a document of the corpus is in hand, no other index begins to answer.
                    corpus = await self._store.get(claimed[0].corpus, now=True)
                    await self._work(corpus, claimed, lease)
                except PASSING as error:
                    await self._retry_later(claimed, lease, error)
                except CorpusNotFound as error:
                    # Deleted: its documents are no longer anyone's. If it was made anew a moment ago, they are tried again.
                    log.info("corpus_gone", corpus=claimed[0].corpus)
                    await self._retry_later(claimed, lease, error)
                except asyncio.CancelledError:
                    await self._give_back(claimed, lease)
                    raise
                except CorellaError as error:
                    for document in lease.open(claimed):
                        await self._fail(document, lease, error)
        return claimed[0].corpus

    async def _work(self, corpus: Corpus, claimed: Sequence[Claimed], lease: _Lease) -> None:
        prepared = []
        for document in claimed:
            lease.doing = f"reading {document.version.uri}"
            with lease.spans.inside(document):
                try:
                    stored_in = [] if document.untouched else [corpus]
                    prepared.append(_Prepared(document, await self._preparing.read(corpus, document.id, document.version, stored_in)))
                except PASSING:
                    raise
                except CorellaError as error:
                    await self._fail(document, lease, error)
                except Exception as error:
                    # A reader that breaks on one document must not hold up the others, or be tried for ever.
                    log.exception("reader_broke", document=document_name(corpus.id, document.id))
                    text = f"The document could not be read: the reader failed with {type(error).__name__}."
                    await self._fail(document, lease, DocumentFailure(text, reason="DOCUMENT_UNREADABLE"))
        if corpus.mode is EmbeddingMode.EAGER:
            lease.doing = f"embedding {prepared[0].document.version.uri}" if prepared else ""
            await self._preparing.embed(corpus, [each.made for each in prepared])
        await self._write(corpus, prepared, lease)

    async def _write(self, corpus: Corpus, prepared: Sequence[_Prepared], lease: _Lease) -> None:
        ids = [each.document.id for each in prepared]
        async with self._catalog.locked(corpus.id, ids, _LOCK_SECONDS, _LOCK_WAIT_SECONDS) as locks:
            await lease.renew()
            grants = await self._catalog.grants(self._owner, [each.document for each in prepared if each.document.id in locks.held])
            mine = [each for each in prepared if each.document.id in grants]
            counts = [{"corella.chunks": len(each.made.chunks)} for each in mine]
            with SharedStep("upsert", [lease.spans.context(each.document) for each in mine], counts) as upserts:
                rows = [
                    (place, replace(chunk, access=grants[each.document.id]))
                    for place, each in enumerate(mine)
                    for chunk in each.made.chunks
                ]
                for start in range(0, len(rows), 1_000):
                    # The lock outlives a call of the store, so nothing is written after someone else may have deleted the document.
                    if not await locks.renewed():
                        raise Unavailable("The lock of a document was lost.", reason="DOCUMENT_BUSY")
                    part = rows[start : start + 1_000]
                    with upserts.serving(*(place for place, _ in part)):
                        await self._store.upsert(corpus, [chunk for _, chunk in part])
                for place, each in enumerate(mine):
                    if not each.document.untouched:
                        with upserts.serving(place):
                            await self._store.delete_document(corpus, each.document.id, keep_generation=each.document.version.generation)
            for each in mine:
                await self._finish(each, corpus, lease)
        for each in prepared:
            if each not in mine:
                await self._give_back([each.document], lease)

    async def _finish(self, each: _Prepared, corpus: Corpus, lease: _Lease) -> None:
        made = each.made
        with lease.spans.inside(each.document):
            unused = await self._catalog.finish(
                each.document, self._owner, len(made.chunks), made.embedded, made.title, corpus.collection
            )  # fmt: skip
            lease.ended(each.document, "ACTIVE")
        if unused:
            await self._blobs.delete(unused)
            await self._catalog.unstage(unused)

    async def _fail(self, document: Claimed, lease: _Lease, error: CorellaError) -> None:
        log.info("document_failed", document=document_name(document.corpus, document.id), reason=error.reason)
        with lease.spans.inside(document):
            await self._catalog.fail(document, self._owner, error)
            lease.ended(document, "FAILED", error.reason)

    async def _retry_later(self, claimed: Sequence[Claimed], lease: _Lease, error: CorellaError) -> None:
        for document in lease.open(claimed):
            delay = min(self._settings.retry_max_seconds, self._settings.retry_base_seconds * 2**document.retries)
            log.warning("document_waits", document=document.id, reason=error.reason, seconds=delay)
            await self._catalog.give_back(document, self._owner, delay)
            lease.returned(document, error.reason)

    async def _give_back(self, claimed: Sequence[Claimed], lease: _Lease) -> None:
        for document in lease.open(claimed):
            await self._catalog.give_back(document, self._owner, 0.0)
            lease.returned(document)

    @asynccontextmanager
    async def _leased(self, claimed: Sequence[Claimed], spans: DocumentSpans) -> AsyncIterator[_Lease]:
        lease = _Lease(self._catalog, self._owner, self._settings.lease_seconds, claimed, spans)
        async with signs_of_life(lease.renew, self._settings.lease_seconds):
            try:
                yield lease
            finally:
                spans.end_all()


class _Lease:
    """Shows signs of life for the documents in hand."""

    def __init__(self, catalog: RedisCatalog, owner: str, seconds: float, claimed: Sequence[Claimed], spans: DocumentSpans) -> None:
        self._catalog = catalog
        self.spans = spans
        self._taken_at = time.monotonic()
        self._owner = owner
        self._seconds = seconds
        self._in_hand = {document.id: document for document in claimed}
        self.lost: set[str] = set()
        self.doing = ""

    async def renew(self) -> None:
        documents = list(self._in_hand.values())
        if documents:
            self.lost |= await self._catalog.renew(self._owner, self._seconds, self.doing, documents)

    def ended(self, document: Claimed, state: str, reason: str = "") -> None:
        """The document is ACTIVE or FAILED."""
        self._in_hand.pop(document.id, None)
        outcome = {"corella.document.state": state}
        _documents.add(1, outcome)
        _duration.record(time.monotonic() - self._taken_at, outcome)
        self.spans.end(document, state, reason)

    def returned(self, document: Claimed, reason: str = "") -> None:
        """The document waits again, for this worker or another one."""
        self._in_hand.pop(document.id, None)
        self.spans.end(document, "PENDING", reason)

    def open(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Those whose end has not been recorded."""
        return [document for document in claimed if document.id in self._in_hand]
