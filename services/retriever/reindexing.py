"""A corpus's second index: having it built, going back to the former one, cancelling, and showing both. Building is in index_building.py.

    SERVING    what the corpus's alias points to: searches read it, documents handed in are written to it
    other      BUILDING until it holds every document, then the alias moves and the one before stays as PREVIOUS; one of the two at most

Whatever changes while there are two holds for both. A document that is deleted, or gets other readers, is changed in both under its lock
before the call is answered. A document that is written to one index is noted as lacking in the other in the same step; a build writes what
is noted, and so does a roll-back. It is noted with the index that lacks it, so it stays true whoever is killed and wherever the alias
points.
"""

from __future__ import annotations

from services.chassis.errors import CorellaError
from services.chassis.identity import Caller
from services.chassis.telemetry import get_logger
from services.retriever.celery_queue import CeleryQueue
from services.retriever.domain import Corpus, CorpusNotFound, Index, IndexState, IndexWish, ReindexNotNeeded
from services.retriever.embedders import Embedders
from services.retriever.idempotency import Request
from services.retriever.index_plan import alike, planned
from services.retriever.milvus_schema import index_in, settings_text
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id
from services.retriever.ports import Readers
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.redis_indexing import RedisIndexing

log = get_logger(__name__)

_WAKE = 8


async def settled(store: MilvusStore, indexing: RedisIndexing, corpus_id: str, cache_seconds: float) -> Corpus:
    """The corpus with the index that answers at this moment. A switch whose maker was killed before it was noted is noted.

    Raises `CorpusNotFound`.
    """
    corpus = await store.get(corpus_id, now=True)
    noted = await indexing.get(corpus_id)
    if noted.collection == corpus.collection and noted.serving:
        lazy = corpus.mode.value == "LAZY"
        await indexing.switched(corpus_id, corpus.collection, noted.serving, lazy=lazy, cache_seconds=cache_seconds)
    return corpus


class Reindexing:
    """The use cases. `cache_seconds`: how long searches remember which index answers."""

    def __init__(
        self,
        store: MilvusStore,
        catalog: RedisCatalog,
        indexing: RedisIndexing,
        embedder: Embedders,
        *,
        queue: CeleryQueue,
        readers: Readers,
        cache_seconds: float,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._indexing = indexing
        self._embedder = embedder
        self._queue = queue
        self._readers = readers
        self._cache_seconds = cache_seconds

    async def reindex(self, corpus_id: str, wish: IndexWish, *, force: bool, request_id: str) -> str:
        """Has another index built, by the present model, and switched to. Returns the operation's id.

        One that was begun in the same way and could not be completed is gone on with. Raises `CorpusNotFound`, `ReindexNotNeeded`,
        `ReindexUnderWay`, `InvalidArgument`.
        """
        request = Request("ReindexCorpus", request_id, f"{corpus_id} {wish} {force}")
        if (before := await self._catalog.answered(request)) is not None:
            return before
        corpus = await settled(self._store, self._indexing, corpus_id, self._cache_seconds)
        made = planned(corpus, await self._embedder.model(), wish)
        if alike(made, corpus) and not force:
            raise ReindexNotNeeded(corpus_id)
        noted = await self._indexing.get(corpus_id)
        if noted.state is IndexState.BUILDING and noted.settings and alike(begun := index_in(noted.settings), made):
            made = begun
        operation = await self._indexing.begin(
            corpus_id,
            fresh_id(),
            request,
            force=force,
            serving=corpus.collection,
            collection=made.collection,
            settings=settings_text(made),
        )
        log.info("reindexing", corpus=corpus_id, operation=operation, model=made.fingerprint)
        await self.drop_discarded()
        await self._queue.wake(_WAKE)
        return operation

    async def roll_back(self, corpus_id: str, *, force: bool, request_id: str) -> str:
        """Has the former index completed and switched to. Returns the operation's id.

        Raises `CorpusNotFound`, `NoFormerIndex`, `ReindexUnderWay`.
        """
        request = Request("RollBackCorpus", request_id, f"{corpus_id} {force}")
        await settled(self._store, self._indexing, corpus_id, self._cache_seconds)
        operation = await self._indexing.roll_back(corpus_id, fresh_id(), request, force=force)
        log.info("rolling_back", corpus=corpus_id, operation=operation)
        await self._queue.wake(_WAKE)
        return operation

    async def cancel(self, corpus_id: str, operation: str) -> None:
        """Ends an operation of these, unless the switch is being made or was, and drops what it was building."""
        await settled(self._store, self._indexing, corpus_id, self._cache_seconds)
        if await self._indexing.cancel(operation):
            await self.drop_discarded()

    async def indexes(self, caller: Caller, corpus: Corpus) -> list[Index]:
        """The indexes of a corpus, the one that answers first, with what the caller may know of them."""
        noted = await self._indexing.get(corpus.id)
        readable = await self._readers.readable(corpus.id, caller)
        where = "" if readable.sees_all else readable.expression
        made = [(corpus, IndexState.SERVING)]
        other = next((name for name in (noted.collection, noted.serving) if name and name != corpus.collection), "")
        if other and (index := await self._store.index(other)) is not None:
            made.append((index, noted.state or IndexState.PREVIOUS))
        elif other == noted.collection and noted.settings:
            made.append((index_in(noted.settings), IndexState.BUILDING))
        lacking = dict(zip((noted.serving, noted.collection), noted.lacking, strict=True))
        found = []
        for index, state in made:
            try:
                chunks, embedded = await self._store.count(index, where)
            except CorpusNotFound:
                chunks, embedded = 0, 0  # not there yet, or not any more
            found.append(Index(index, state, chunks, embedded, lacking.get(index.collection, 0) if readable.sees_all else 0))
        return found

    async def drop_discarded(self) -> None:
        """Drops indexes that are not needed any more. What cannot be dropped now stays noted, and the upkeep tries again."""
        for corpus_id, collection in await self._indexing.discarded():
            try:
                await self._drop(corpus_id, collection)
            except CorellaError as error:
                log.warning("index_not_dropped", collection=collection, reason=error.reason)

    async def _drop(self, corpus_id: str, collection: str) -> None:
        try:
            answers = (await self._store.get(corpus_id, now=True)).collection == collection
        except CorpusNotFound:
            answers = False
        if answers:
            log.error("index_in_use_not_dropped", collection=collection)
        else:
            await self._store.drop_index(collection)
        await self._indexing.dropped(corpus_id, collection)
