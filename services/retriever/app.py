"""Wires the retriever: the one place that knows which class meets which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.chassis.channel import Remote
from services.chassis.operations_redis import RedisOperations
from services.chassis.server import Lifecycle
from services.retriever.celery_queue import CeleryQueue, make_celery
from services.retriever.chunks import Chunks
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.intake import Intake
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_catalog import PREFIX, RedisCatalog, open_redis
from services.retriever.remote_embedder import RemoteEmbedder
from services.retriever.retrieval import Retrieval
from services.retriever.servicer import RetrieverServicer
from services.retriever.settings import RetrieverSettings
from services.retriever.upkeep import sweep, watch_queue


@asynccontextmanager
async def build(settings: RetrieverSettings, _lifecycle: Lifecycle) -> AsyncIterator[RetrieverServicer]:
    """The servicer. Nothing needs to be up yet: each store is connected to when it is first needed, and says so when it is away."""
    async with AsyncExitStack() as stack:
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        search = settings.search
        store = MilvusStore(
            settings.milvus_uri,
            settings.milvus_token_file,
            settings.milvus_timeout_seconds,
            consistency_level=search.consistency_level,
            cache_seconds=search.corpus_cache_seconds,
        )
        stack.push_async_callback(store.close)
        remote = Remote("embedder", settings.embedder)
        stack.push_async_callback(remote.close)
        catalog, blobs, embedder = RedisCatalog(redis), FsspecBlobs(settings.blob_url), RemoteEmbedder(remote)
        queue = CeleryQueue(make_celery(settings.redis_url), redis)
        documents = Documents(store, catalog, blobs, queue)
        corpora = Corpora(store, catalog, blobs, embedder)
        retrieval = Retrieval(store, embedder, catalog, search)
        stack.push_async_callback(retrieval.close)
        for work in (watch_queue(catalog, queue, settings.worker.max_losses), sweep(catalog, store, documents, corpora)):
            task = asyncio.create_task(work)
            stack.callback(task.cancel)
        yield RetrieverServicer(
            corpora=corpora,
            documents=documents,
            chunks=Chunks(store, catalog),
            intake=Intake(store, documents, settings.limits, settings.import_roots),
            retrieval=retrieval,
            operations=RedisOperations(redis, PREFIX, settings.stall_seconds),
            catalog=catalog,
        )
