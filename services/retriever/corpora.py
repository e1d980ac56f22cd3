"""Making, showing and deleting corpora. Ids are inner ids (tenancy.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from services.chassis.errors import Unavailable
from services.chassis.identity import Caller
from services.chassis.telemetry import get_logger
from services.retriever.documents import MADE_BY
from services.retriever.domain import (
    Corpus,
    CorpusCounts,
    CorpusExists,
    CorpusNeedsReindex,
    CorpusNotEmpty,
    CorpusNotFound,
    CorpusWish,
    RequestIdReused,
)
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.idempotency import Request
from services.retriever.index_plan import chunking
from services.retriever.milvus_schema import collection_of
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id
from services.retriever.ports import Readers
from services.retriever.redis_catalog import RedisCatalog

log = get_logger(__name__)

_CREATE_WAIT_SECONDS = 10.0


class Corpora:
    """The use cases of corpora."""

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, blobs: FsspecBlobs, embedder: Embedders, readers: Readers) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs
        self._embedder = embedder
        self._readers = readers

    async def create(self, wish: CorpusWish, request_id: str) -> Corpus:
        """An empty corpus, bound to the model that serves now."""
        corpus_id = wish.id
        if corpus_id in await self._catalog.leaving():
            await self.delete(corpus_id, force=True, request_id="")
        model = await self._embedder.model()
        max_tokens, overlap_tokens = chunking(model, wish.max_tokens, wish.overlap_tokens, "corpus.chunking")
        corpus = Corpus(
            id=corpus_id,
            display_name=wish.display_name,
            max_tokens=max_tokens,
            overlap_tokens=overlap_tokens,
            metric=wish.metric,
            mode=wish.mode,
            fingerprint=model.fingerprint,
            dimensions=model.dimensions,
            create_time=time.time(),
            collection=collection_of(corpus_id, model.fingerprint, fresh_id()),
            request_id=request_id,
            default_access=wish.default_access,
            made_by=MADE_BY,
        )
        # Two creations at the same time would make two collections for one alias.
        async with self._catalog.alone(f"create/{corpus_id}", _CREATE_WAIT_SECONDS) as locks:
            if not locks.held:
                raise Unavailable("The corpus is being created by another call; try again.", reason="CORPUS_BUSY")
            try:
                await self._store.create(corpus)
            except CorpusExists:
                existing = await self._store.get(corpus_id)
                if not request_id or existing.request_id != request_id:
                    raise
                _same_or_reused(existing, corpus)
                return existing
            await self._store.drop_unreferenced(corpus_id)
        log.info("corpus_created", corpus=corpus_id, model=model.fingerprint, mode=wish.mode.value)
        return corpus

    async def get(self, caller: Caller, corpus_id: str) -> tuple[Corpus, CorpusCounts]:
        """One corpus, and how much of it exists for the caller."""
        corpus = await self._store.get(corpus_id)
        readable = await self._readers.readable(corpus_id, caller)
        where = "" if readable.sees_all else readable.expression
        counting = self._catalog.count(corpus_id, readable), self._store.count(corpus, where)
        documents, (chunks, embedded) = await asyncio.gather(*counting)
        return corpus, CorpusCounts(documents, chunks, embedded)

    async def list_corpora(self, caller: Caller, size: int, after: str) -> tuple[Sequence[tuple[Corpus, CorpusCounts]], str]:
        """The corpora of the caller's tenant by id, and where the next page begins."""
        corpora = [corpus for corpus in await self._store.list_corpora(caller.tenant) if corpus.id > after]
        page = []
        for corpus in corpora[:size]:
            try:
                page.append(await self.get(caller, corpus.id))
            except CorpusNotFound:  # deleted at this moment
                continue
        return page, corpora[size - 1].id if len(corpora) > size else ""

    async def delete(self, corpus_id: str, *, force: bool, request_id: str) -> None:
        """Deletes a corpus with everything in it. A deletion that was interrupted is completed by repeating it."""
        request = Request("DeleteCorpus", request_id, f"{corpus_id} {force}")
        if await self._catalog.answered(request) is not None:
            return
        if corpus_id not in await self._catalog.leaving():
            with suppress(CorpusNeedsReindex):
                await self._store.get(corpus_id)
            if await self._catalog.count(corpus_id) and not force:
                raise CorpusNotEmpty(corpus_id)
            await self._catalog.begin_forgetting(corpus_id)
        after = ""
        while True:
            # Workers lose their documents, and operations learn of it.
            documents_page, after, _ = await self._catalog.list_documents(corpus_id, None, 500, after)
            for document in documents_page:
                await self._catalog.begin_delete(corpus_id, document.id)
            if not after:
                break
        await self._store.drop(corpus_id)
        await self._store.drop_unreferenced(corpus_id)
        await self._blobs.delete_corpus(corpus_id)
        await self._catalog.forget_corpus(corpus_id, request)
        log.info("corpus_deleted", corpus=corpus_id)


def _same_or_reused(existing: Corpus, asked: Corpus) -> None:
    for field in ("display_name", "max_tokens", "overlap_tokens", "metric", "mode", "default_access"):
        if getattr(existing, field) != getattr(asked, field):
            raise RequestIdReused(asked.request_id)
