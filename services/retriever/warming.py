"""Computes in the background what lazy corpora still lack: a vector for every chunk."""

from __future__ import annotations

from services.chassis.errors import CorellaError
from services.chassis.steps import step
from services.chassis.telemetry import get_logger
from services.retriever.domain import CorpusNotFound
from services.retriever.embedders import Embedders
from services.retriever.ingestion import PASSING
from services.retriever.lazy import with_vectors, write_back
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.redis_warming import RedisWarming

log = get_logger(__name__)

_BATCH = 128
_LEASE_SECONDS = 20.0
_PAUSE_SECONDS = 2.0
"""Wait when others hold the documents, or something cannot be reached."""


class Warmer:
    """Embeds one batch at a time, so that documents that wait to be indexed come first."""

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, warming: RedisWarming, embedder: Embedders) -> None:
        self._store = store
        self._catalog = catalog
        self._warming = warming
        self._embedder = embedder

    async def work_once(self) -> bool:
        """Embeds some chunks of some lazy corpus. False when there was nothing to do."""
        taken = await self._warming.claim(_LEASE_SECONDS)
        if taken is None:
            return False
        with step("warm corpus", {"corella.corpus": taken.corpus}):
            try:
                # As it is now: of an index that has just begun to answer nothing may be embedded yet.
                corpus = await self._store.get(taken.corpus, now=True)
                chunks, embedded = await self._store.count(corpus)
                remaining = chunks - embedded
                missing = await self._store.without_vector(corpus, _BATCH) if remaining else []
                if not missing:
                    await self._warming.succeed(taken)
                    return True
                if not await self._warming.progress(taken, remaining, embedded, fresh_id(), _LEASE_SECONDS):
                    return True
                written = await write_back(self._store, self._catalog, corpus, await with_vectors(self._embedder, corpus, missing))
                await self._warming.progress(taken, remaining - written, embedded + written, fresh_id(), 0.0)
                if not written:
                    await self._warming.pause(taken, _PAUSE_SECONDS)
            except PASSING as error:
                log.warning("warming_waits", corpus=taken.corpus, reason=error.reason)
                await self._warming.pause(taken, _PAUSE_SECONDS)
            except CorpusNotFound:
                log.info("corpus_gone", corpus=taken.corpus)
            except CorellaError as error:
                await self._warming.fail(taken, error)
        return True
