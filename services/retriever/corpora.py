"""Making, showing and deleting corpora."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from services.chassis.errors import InvalidArgument, Unavailable
from services.chassis.telemetry import get_logger
from services.retriever.domain import Corpus, CorpusCounts, CorpusExists, CorpusNotEmpty, CorpusNotFound, CorpusWish, RequestIdReused
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.idempotency import Request
from services.retriever.milvus_schema import collection_of
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.remote_embedder import RemoteEmbedder

log = get_logger(__name__)

DEFAULT_MAX_TOKENS = 200
DEFAULT_OVERLAP_TOKENS = 32
MIN_MAX_TOKENS = 32
SPECIAL_TOKENS = 2
"""What encoders put around a text, such as [CLS] and [SEP]."""


class Corpora:
    """The use cases of corpora."""

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, blobs: FsspecBlobs, embedder: RemoteEmbedder) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs
        self._embedder = embedder

    async def create(self, wish: CorpusWish, request_id: str) -> Corpus:
        """An empty corpus, bound to the model that serves now."""
        corpus_id, max_tokens, overlap_tokens = wish.id, wish.max_tokens, wish.overlap_tokens
        if corpus_id in await self._catalog.leaving():
            await self.delete(corpus_id, force=True, request_id="")
        model = await self._embedder.model()
        largest = model.max_tokens - SPECIAL_TOKENS
        max_tokens = max_tokens or min(DEFAULT_MAX_TOKENS, largest)
        if not MIN_MAX_TOKENS <= max_tokens <= largest:
            text = f"must be {MIN_MAX_TOKENS} to {largest}: the embedding model takes {model.max_tokens} tokens with its special ones"
            raise InvalidArgument.of([("corpus.chunking.max_tokens", text)])
        overlap_tokens = min(DEFAULT_OVERLAP_TOKENS, max_tokens // 2) if overlap_tokens == 0 else max(0, overlap_tokens)
        if overlap_tokens > max_tokens // 2:
            raise InvalidArgument.of([("corpus.chunking.overlap_tokens", f"must be at most half of max_tokens ({max_tokens})")])
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
        )
        # Two creations at the same time would make two collections for one alias.
        async with self._catalog.locked("", [f"create/{corpus_id}"], 60.0, 10.0) as locks:
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

    async def get(self, corpus_id: str) -> tuple[Corpus, CorpusCounts]:
        """One corpus with its counts."""
        corpus = await self._store.get(corpus_id)
        documents, (chunks, embedded) = await asyncio.gather(self._catalog.count(corpus_id), self._store.count(corpus))
        return corpus, CorpusCounts(documents, chunks, embedded)

    async def list_corpora(self, size: int, after: str) -> tuple[Sequence[tuple[Corpus, CorpusCounts]], str]:
        """Corpora by id, and where the next page begins."""
        corpora = [corpus for corpus in await self._store.list_corpora() if corpus.id > after]
        page = []
        for corpus in corpora[:size]:
            try:
                page.append(await self.get(corpus.id))
            except CorpusNotFound:  # deleted at this moment
                continue
        return page, corpora[size - 1].id if len(corpora) > size else ""

    async def delete(self, corpus_id: str, *, force: bool, request_id: str) -> None:
        """Deletes a corpus with everything in it. A deletion that was interrupted is completed by repeating it."""
        request = Request("DeleteCorpus", request_id, f"{corpus_id} {force}")
        if await self._catalog.answered(request) is not None:
            return
        if corpus_id not in await self._catalog.leaving():
            await self._store.get(corpus_id)
            documents = await self._catalog.count(corpus_id)
            if documents and not force:
                raise CorpusNotEmpty(corpus_id, documents)
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
        await self._blobs.delete_corpus(corpus_id)
        await self._catalog.forget_corpus(corpus_id, request)
        log.info("corpus_deleted", corpus=corpus_id)


def _same_or_reused(existing: Corpus, asked: Corpus) -> None:
    for field in ("display_name", "max_tokens", "overlap_tokens", "metric", "mode"):
        if getattr(existing, field) != getattr(asked, field):
            raise RequestIdReused(asked.request_id)
