"""Wires the retriever: the one place that knows which class meets which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio

from corella.v1.retriever_pb2_grpc import add_RetrieverServiceServicer_to_server
from corella.v1.source_pb2_grpc import add_SourceServiceServicer_to_server
from services.chassis.channel import Remote
from services.chassis.operations_redis import RedisOperations
from services.chassis.server import Lifecycle
from services.retriever.audit import Audit
from services.retriever.celery_queue import CeleryQueue, make_celery
from services.retriever.chunks import Chunks
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.intake import Intake
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_catalog import PREFIX, RedisCatalog, open_redis
from services.retriever.redis_indexing import RedisIndexing
from services.retriever.redis_readers import RedisReaders
from services.retriever.redis_sources import RedisSources
from services.retriever.redis_traces import RedisTraces
from services.retriever.reindexing import Reindexing
from services.retriever.remote_embedder import RemoteEmbedder
from services.retriever.retrieval import Retrieval
from services.retriever.servicer import RetrieverServicer
from services.retriever.settings import RetrieverSettings
from services.retriever.source_places import Places
from services.retriever.source_servicer import SourceServicer
from services.retriever.sources import Sources
from services.retriever.upkeep import complete_regrants, complete_source_deletions, drop_discarded, sweep, watch_queue


@dataclass(frozen=True)
class Servicers:
    """What one process answers with."""

    retriever: RetrieverServicer
    sources: SourceServicer


@asynccontextmanager
async def build(settings: RetrieverSettings, _lifecycle: Lifecycle) -> AsyncIterator[Servicers]:
    """The servicers. Nothing needs to be up yet: each store is connected to when it is first needed, and says so when it is away."""
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
        remotes = [Remote("embedder", each) for each in (settings.embedder, *settings.former_embedders)]
        for remote in remotes:
            stack.push_async_callback(remote.close)
        present, *former = (RemoteEmbedder(remote) for remote in remotes)
        catalog, blobs, embedder = RedisCatalog(redis), FsspecBlobs(settings.blob_url), Embedders(present, former)
        queue = CeleryQueue(make_celery(settings.redis_url), redis)
        readers = RedisReaders(redis)
        documents = Documents(store, catalog, blobs, queue, readers)
        corpora = Corpora(store, catalog, blobs, embedder, readers)
        indexing, seconds = RedisIndexing(redis), search.corpus_cache_seconds
        reindexing = Reindexing(store, catalog, indexing, embedder, queue=queue, readers=readers, cache_seconds=seconds)
        retrieval = Retrieval(store, embedder, catalog, readers, search)
        stack.push_async_callback(retrieval.close)
        upkeep = (
            watch_queue(catalog, queue, settings.worker.max_losses),
            complete_regrants(catalog, documents),
            sweep(catalog, store, documents, corpora),
            drop_discarded(reindexing),
        )
        sources = Sources(store, RedisSources(redis), documents, queue, Places(settings))
        for work in (*upkeep, complete_source_deletions(sources)):
            task = asyncio.create_task(work)
            stack.callback(task.cancel)
        operations = RedisOperations(redis, PREFIX, settings.stall_seconds)
        retriever = RetrieverServicer(
            corpora=corpora,
            documents=documents,
            chunks=Chunks(store, catalog, readers),
            intake=Intake(store, documents, settings.limits, settings.import_roots),
            retrieval=retrieval,
            reindexing=reindexing,
            operations=operations,
            catalog=catalog,
            audit=Audit(store, RedisTraces(redis), blobs),
        )
        yield Servicers(retriever, SourceServicer(sources, operations))


def add_servicers(servicers: Servicers, server: grpc.aio.Server) -> None:
    """Has a server answer for both services."""
    add_RetrieverServiceServicer_to_server(servicers.retriever, server)
    add_SourceServiceServicer_to_server(servicers.sources, server)
