"""What has to happen again and again so that nothing is lost: every replica of the retriever and every worker does it, safely at once.

Takes documents back from dead workers, calls workers when documents wait, completes deletions that were interrupted, and sweeps away
bytes that no document points to.
"""

from __future__ import annotations

import asyncio

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.celery_queue import CeleryQueue
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.domain import DocumentState
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_catalog import RedisCatalog

log = get_logger(__name__)

INTERVAL_SECONDS = 2.0
_SWEEP_EVERY = 30
"""Rounds between sweeps: once a minute."""
_STAGED_SECONDS = 3600.0
_DELETION_SECONDS = 60.0
"""A deletion that has taken longer was interrupted."""


async def watch_queue(catalog: RedisCatalog, queue: CeleryQueue, max_losses: int) -> None:
    """Takes documents back from dead workers and calls workers, until cancelled."""
    while True:
        try:
            ready, reclaimed = await catalog.reclaim(max_losses)
            if reclaimed:
                log.warning("documents_taken_back", count=reclaimed)
            if ready:
                await queue.wake(1)
        except CorellaError as error:
            log.warning("queue_not_watched", reason=error.reason)
        await asyncio.sleep(INTERVAL_SECONDS)


async def sweep(catalog: RedisCatalog, store: MilvusStore, documents: Documents, corpora: Corpora) -> None:
    """Completes what was interrupted, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS * _SWEEP_EVERY)
        try:
            await documents.drop_blobs(await catalog.staged_before(_STAGED_SECONDS))
            for corpus_id in await catalog.leaving():
                await corpora.delete(corpus_id, force=True, request_id="")
            for corpus in await store.list_corpora():
                deleting, _, _ = await catalog.list_documents(corpus.id, DocumentState.DELETING, 100, "")
                for document in deleting:
                    if await catalog.age_seconds(document) > _DELETION_SECONDS:
                        await documents.delete(corpus.id, document.id, allow_missing=True, request_id="")
        except CorellaError as error:
            log.warning("sweep_failed", reason=error.reason)
