"""What has to happen again and again so that nothing is lost: every replica of the retriever and every worker does it, safely at once.

Takes documents back from dead workers, calls workers when documents wait, completes deletions that were interrupted, and sweeps away
bytes that no document points to.
"""

from __future__ import annotations

import asyncio

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.access import NOBODY_ID
from services.retriever.celery_queue import CeleryQueue
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.domain import CorpusNotFound, DocumentState
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.reindexing import Reindexing
from services.retriever.sources import Sources

log = get_logger(__name__)

INTERVAL_SECONDS = 2.0
_SWEEP_EVERY = 30
"""Rounds between sweeps: once a minute."""
_STAGED_SECONDS = 3600.0
_DELETION_SECONDS = 60.0
"""A deletion that has taken longer was interrupted."""
_REGRANT_SECONDS = 5.0
"""So has a change of access. Doing it again beside a slow one does no harm."""


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


async def complete_regrants(catalog: RedisCatalog, documents: Documents) -> None:
    """Has the chunks of documents follow changes of access whose caller was killed, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            for corpus_id, document in await catalog.regranting_before(_REGRANT_SECONDS):
                try:
                    await documents.complete_regrant(corpus_id, document)
                except CorpusNotFound:
                    await catalog.regranted(corpus_id, document, NOBODY_ID)
                except CorellaError as error:
                    log.warning("regrant_waits", document=document, reason=error.reason)
        except CorellaError as error:
            log.warning("regrants_not_completed", reason=error.reason)


async def complete_source_deletions(sources: Sources) -> None:
    """Completes deletions of sources that were interrupted, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS * _SWEEP_EVERY)
        try:
            await sources.complete_deletions()
        except CorellaError as error:
            log.warning("sources_not_deleted", reason=error.reason)


async def drop_discarded(reindexing: Reindexing) -> None:
    """Drops indexes that whoever discarded them did not drop, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS * _SWEEP_EVERY)
        try:
            await reindexing.drop_discarded()
        except CorellaError as error:
            log.warning("indexes_not_dropped", reason=error.reason)


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
