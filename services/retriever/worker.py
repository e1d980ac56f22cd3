"""The ingestion worker: `python -m services.retriever.worker`, configured by `CORELLA_RETRIEVER_…` like the retriever.

A Celery worker whose main task takes documents, and syncs of sources, from the catalog until none is waiting; a second one, which the beat
calls, begins the syncs that are due. It works in child processes, so a document that
breaks its process (a crash in a parser, too much memory) costs that process alone: the parent starts another one, and the catalog hands
the document out again, at most three times.

    parent   Celery, the watch over the queue, the children's metrics    never opens a gRPC channel, which would not survive the fork
    child    one event loop in a thread of its own, one connection to Milvus, Redis and the embedder each
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown, worker_shutting_down

from services.chassis.channel import Remote, files_refused
from services.chassis.errors import CorellaError
from services.chassis.message_spans import processing
from services.chassis.metrics_children import ChildrenMetrics
from services.chassis.telemetry import get_logger, setup_logging, setup_telemetry
from services.retriever.celery_queue import DRAIN, QUEUE, SYNC_DUE, CeleryQueue, make_celery
from services.retriever.documents import Documents
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.index_building import IndexBuilding
from services.retriever.ingestion import Ingestion
from services.retriever.milvus_store import MilvusStore
from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.redis_catalog import RedisCatalog, open_redis
from services.retriever.redis_indexing import RedisIndexing
from services.retriever.redis_readers import RedisReaders
from services.retriever.redis_sources import RedisSources
from services.retriever.redis_warming import RedisWarming
from services.retriever.remote_embedder import RemoteEmbedder
from services.retriever.settings import RetrieverSettings
from services.retriever.source_places import Places
from services.retriever.sync_visit import SyncTools
from services.retriever.syncing import Syncing
from services.retriever.upkeep import watch_queue
from services.retriever.warming import Warmer

log = get_logger(__name__)

SERVICE = "retriever-worker"
DRAIN_SECONDS = 25.0
"""Then the task ends and another one goes on: a message stays unacknowledged for less than the broker's visibility timeout."""
BUILD_EVERY = 8
"""While documents wait to be ingested, every so many batches of them are followed by one for an index that is being built."""
STORE_TIMEOUT_SECONDS = 10.0
"""Shorter than a document's lock lives, so that no write arrives after the lock is over."""


class Workshop:
    """What a child process keeps open: an event loop that runs in a thread, and the connections that live on it."""

    def __init__(self, settings: RetrieverSettings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True).start()
        self._stack = AsyncExitStack()
        self._run(self._open())

    async def _open(self) -> None:
        settings = self._settings
        redis = open_redis(settings.redis_url)
        self._stack.push_async_callback(redis.aclose)
        catalog = RedisCatalog(redis)
        timeout = min(settings.milvus_timeout_seconds, STORE_TIMEOUT_SECONDS)
        self._store = MilvusStore(settings.milvus_uri, settings.milvus_token_file, timeout)
        self._stack.push_async_callback(self._store.close)
        patient = settings.embedder.model_copy(update={"timeout_seconds": settings.worker.embed_timeout_seconds})
        remotes = [Remote("embedder", patient)]
        for former in settings.former_embedders:
            remotes.append(Remote("embedder", former.model_copy(update={"timeout_seconds": settings.worker.embed_timeout_seconds})))
        for remote in remotes:
            self._stack.push_async_callback(remote.close)
        present, *others = (RemoteEmbedder(remote) for remote in remotes)
        embedder = Embedders(present, others)
        blobs = FsspecBlobs(settings.blob_url)
        self._queue = CeleryQueue(make_celery(settings.redis_url), redis)
        sandbox = ParsingSandbox(settings.parsing)
        self._stack.push_async_callback(sandbox.close)
        self._preparing = asyncio.create_task(sandbox.prepare())  # while the rest connects
        self._ingestion = Ingestion(self._store, catalog, blobs, embedder, sandbox=sandbox, settings=settings.worker)
        seconds = settings.search.corpus_cache_seconds
        self._building = IndexBuilding(
            self._store, catalog, blobs, embedder, RedisIndexing(redis), sandbox=sandbox, settings=settings.worker, cache_seconds=seconds
        )
        self._warmer = Warmer(self._store, catalog, RedisWarming(redis), embedder)
        documents = Documents(self._store, catalog, blobs, self._queue, RedisReaders(redis))
        most = settings.limits.document_max_bytes
        tools = SyncTools(RedisSources(redis), self._store, documents, self._queue, settings.worker, settings.sync, most)
        self._syncing = Syncing(tools, Places(settings).open)
        self._stack.push_async_callback(self._syncing.stop)

    def drain(self, stopping: Callable[[], bool]) -> None:
        """Works until nothing is waiting, the worker is told to stop, or `DRAIN_SECONDS` are over."""
        self._run(self._drain(stopping))

    def sync_due(self) -> None:
        """Begins the syncs that are due, and takes up what it can of them."""
        self._run(self._sync_due())

    def close(self) -> None:
        """Gives back what is in hand, and closes the connections."""
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _drain(self, stopping: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + DRAIN_SECONDS
        changed: set[str] = set()
        more, turns = True, 0
        try:
            while more and time.monotonic() < ends_at and not stopping():
                # A sync goes on in a task of its own, also after this drain.
                await self._syncing.take_up()
                corpus = await self._ingestion.work_once()
                changed |= {corpus} - {""}
                # What was handed in comes first, but does not keep an index from ever being completed.
                turns += 1
                more = bool(corpus)
                if not corpus or turns % BUILD_EVERY == 0:
                    more = await self._building.work_once() or more
                if not more:
                    more = await self._warmer.work_once()
        except CorellaError as error:
            # Redis is away. The watch over the queue calls again when it is back.
            log.warning("drain_interrupted", reason=error.reason)
            return
        if more:
            await self._queue.wake(1)
        for corpus_id in changed:
            await self._settle(corpus_id)

    async def _sync_due(self) -> None:
        try:
            await self._syncing.begin_due()
            await self._syncing.take_up()
        except CorellaError as error:
            log.warning("sources_not_checked", reason=error.reason)

    async def _settle(self, corpus_id: str) -> None:
        try:
            await self._store.settle(await self._store.get(corpus_id))
        except CorellaError as error:
            log.info("not_settled", corpus=corpus_id, reason=error.reason)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


def make_worker(settings: RetrieverSettings) -> Celery:
    """The Celery application with its task and what its processes do at their start and end."""
    app = make_celery(settings.redis_url)
    here: dict[str, Any] = {}
    # Shared with the children, which are forked from this process.
    stopping = multiprocessing.get_context("fork").Event()
    children = ChildrenMetrics(settings.telemetry)

    def workshop() -> Workshop:
        if "workshop" not in here:
            here["workshop"] = Workshop(settings)
        made: Workshop = here["workshop"]
        return made

    @app.task(name=DRAIN, bind=True)
    def drain(task: Any) -> None:
        with processing(QUEUE, DRAIN, getattr(task.request, "headers", None)):
            workshop().drain(stopping.is_set)

    @app.task(name=SYNC_DUE)
    def sync_due() -> None:
        workshop().sync_due()

    @worker_process_init.connect(weak=False)
    def begin(**_: Any) -> None:
        here["telemetry"] = setup_telemetry(SERVICE, settings.telemetry, children=children)

    @worker_process_shutdown.connect(weak=False)
    def end(**_: Any) -> None:
        if "workshop" in here:
            here.pop("workshop").close()
        if "telemetry" in here:
            here.pop("telemetry")()

    @worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        stopping.set()

    @worker_ready.connect(weak=False)
    def watch(**_: Any) -> None:
        children.serve()
        threading.Thread(target=lambda: asyncio.run(_watch(settings)), name="watch", daemon=True).start()

    @worker_shutdown.connect(weak=False)
    def close(**_: Any) -> None:
        children.close()

    return app


async def _watch(settings: RetrieverSettings) -> None:
    redis = open_redis(settings.redis_url)
    await watch_queue(RedisCatalog(redis), CeleryQueue(make_celery(settings.redis_url), redis), settings.worker.max_losses)


def main() -> int:
    """Works until told to stop. Returns the exit status."""
    settings = RetrieverSettings()
    # Parsing and analysis are single-threaded; native libraries must not take the embedder's cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.nice(settings.worker.niceness)
    setup_logging(SERVICE, settings.telemetry)
    if files_refused((settings.embedder, *settings.former_embedders)):
        return 1
    app = make_worker(settings)
    level = settings.telemetry.log_level.upper()
    app.worker_main(
        [
            "--quiet", "worker", f"--concurrency={settings.worker.processes}", "--pool=prefork", f"--queues={QUEUE}", f"--loglevel={level}",
            "--without-gossip", "--without-mingle", "--without-heartbeat", f"--hostname=retriever-{os.getpid()}@%h",
        ]
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
