"""Syncs: a source's place is read, what changed is handed to the workers that index, and what is gone is deleted.

    claim ─ what is known ─ visit the place ─ record in batches ─ remove what is gone ─ wait until the documents have ended ─ the end

A sync is taken up again by another worker when this one shows no sign of life. It then visits the place anew, but what was recorded is
known by its version and its content, and counted once: nothing that was finished is done again. A place is read in a task of its own beside
the indexing, because most of that time is waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from opentelemetry.trace import SpanKind, StatusCode

from services.chassis.errors import CorellaError
from services.chassis.steps import kept_context, step
from services.chassis.telemetry import attached, get_logger, meter
from services.retriever.connectors.connector import Connector, PlaceUnreachable
from services.retriever.domain import CorpusNotFound, DocumentFailure
from services.retriever.ingestion import PASSING
from services.retriever.names import fresh_id
from services.retriever.signs_of_life import stopped
from services.retriever.source_domain import ClaimedSync, Phase, PlaceRecord
from services.retriever.sync_rules import retry_seconds
from services.retriever.sync_visit import SyncLost, SyncTools, SyncVisit
from services.retriever.tenancy import tenant_of

log = get_logger(__name__)

OpenConnector = Callable[[PlaceRecord, str], Connector]
"""Opens what reads a place of a tenant. Raises `CorellaError` when it cannot: a secret that is missing, a directory that is not allowed."""
_SETTLE_SECONDS = 0.3

_syncs = meter.create_counter("corella.syncs", description="Syncs that a worker let go of, by how.")


class Syncing:
    """Works on syncs that wait, some at a time. One per process; belongs to one event loop."""

    def __init__(self, tools: SyncTools, open_connector: OpenConnector) -> None:
        self._tools = tools
        self._sources = tools.sources
        self._open_connector = open_connector
        self._running: set[asyncio.Task[None]] = set()
        self._reading: set[ClaimedSync] = set()

    async def take_up(self) -> int:
        """Takes syncs that wait in hand and begins to work on them. Returns how many. Raises `CatalogUnavailable`."""
        begun = 0
        # Those that only wait for their documents cost nothing and hold up nobody.
        while len(self._reading) < self._tools.sync.at_once:
            owner = fresh_id()
            sync = await self._sources.claim(owner, self._tools.worker.lease_seconds)
            if sync is None:
                break
            self._reading.add(sync)
            task = asyncio.create_task(self._see_through(sync, owner))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            # One that is stopped before its first step could not give its sync back.
            await asyncio.sleep(0)
            begun += 1
        return begun

    async def begin_due(self) -> int:
        """Begins the syncs that are due. Returns how many."""
        begun = await self._sources.begin_due()
        if begun:
            log.info("syncs_due", count=begun)
        return begun

    async def idle(self) -> None:
        """Waits until nothing is in hand."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Gives everything in hand back, for other workers to go on with."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _see_through(self, sync: ClaimedSync, owner: str) -> None:
        attributes: dict[str, str | int] = {
            "corella.source": sync.name,
            "corella.operation": sync.operation,
            "corella.sync.retries": sync.retries,
        }
        # In the trace of the call that began it; one of the schedule's begins its own. Not in that of whoever happened to wake this worker.
        with step("sync source", attributes, kind=SpanKind.CONSUMER, context=kept_context(sync.traceparent)) as span:
            try:
                ended = await self._attempt(sync, owner)
                _syncs.add(1, {"corella.sync.ended": ended})
                span.set_attribute("corella.sync.ended", ended)
                if ended in {"failed", "retry"}:
                    span.set_status(StatusCode.ERROR, ended)
            except CorellaError as error:
                # Redis is away; the lease runs out, and whoever sees Redis first goes on.
                log.warning("sync_interrupted", source=sync.name, reason=error.reason)
            finally:
                self._reading.discard(sync)

    async def _attempt(self, sync: ClaimedSync, owner: str) -> str:
        """One attempt, whatever comes of it. Returns how it ended."""
        work = _Work(self._tools, self._open_connector, sync, owner, read=lambda: self._reading.discard(sync))
        try:
            await work.run()
        except SyncLost:
            log.info("sync_lost", source=sync.name)
            return "lost"
        except asyncio.CancelledError:
            with suppress(CorellaError):
                await asyncio.shield(self._sources.give_back(sync, owner))
            raise
        except PASSING as error:
            return await self._retry(sync, owner, error)
        except CorpusNotFound:
            log.info("corpus_gone", corpus=sync.corpus)
            return "gone"
        except CorellaError as error:
            log.warning("sync_failed", source=sync.name, reason=error.reason)
            await self._sources.fail(sync, owner, error)
            return "failed"
        except Exception as error:
            log.exception("sync_broke", source=sync.name)
            text = f"The source could not be read: its connector failed with {type(error).__name__}."
            await self._sources.fail(sync, owner, DocumentFailure(text, reason="SOURCE_BROKEN"))
            return "failed"
        log.info("synced", source=sync.name, operation=sync.operation)
        return "done"

    async def _retry(self, sync: ClaimedSync, owner: str, error: CorellaError) -> str:
        # A place that is away is given up for this time; what is our own is waited for.
        attempts = self._tools.sync.attempts if isinstance(error, PlaceUnreachable) else 0
        settings = self._tools.worker
        delay = retry_seconds(sync.retries, settings.retry_base_seconds, settings.retry_max_seconds, error.retry_after_seconds)
        outcome = await self._sources.retry(sync, owner, delay, attempts, error)
        log.warning("sync_waits" if outcome == "RETRY" else "sync_failed", source=sync.name, reason=error.reason, seconds=delay)
        return outcome.lower()


class _Work:
    """One attempt at a sync, with its lease."""

    def __init__(self, tools: SyncTools, open_connector: OpenConnector, sync: ClaimedSync, owner: str, *, read: Callable[[], None]) -> None:
        self._tools = tools
        self._open_connector = open_connector
        self._sync = sync
        self._owner = owner
        self._read = read
        self._lease_seconds = tools.worker.lease_seconds
        self._visit: SyncVisit | None = None

    async def run(self) -> None:
        """Sees the sync through. Raises `SyncLost` as soon as it is no longer ours."""
        work = asyncio.create_task(self._work())
        # Signs of life are no part of a trace.
        with attached({}):
            beating = asyncio.create_task(self._beat())
        try:
            await asyncio.wait({work, beating}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return
            raise SyncLost
        finally:
            # What the work has open is closed before anybody else goes on.
            await stopped({work, beating})

    async def _work(self) -> None:
        tools, sync = self._tools, self._sync
        corpus = await tools.store.get(sync.corpus)
        if sync.phase is Phase.READING:
            connector = await asyncio.to_thread(self._open_connector, sync.spec.place, tenant_of(sync.corpus))
            try:
                self._visit = SyncVisit(tools, sync, self._owner, corpus, connector)
                await self._visit.run()
            finally:
                await connector.close()
        self._read()
        while True:
            with attached({}):
                outcome = await tools.sources.settle(sync, self._owner, self._lease_seconds)
            if outcome == "DONE":
                return
            if outcome == "LOST":
                raise SyncLost
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _beat(self) -> None:
        """Ends when the sync is lost."""
        seconds = self._lease_seconds
        held_until = time.monotonic() + seconds
        while time.monotonic() < held_until:
            await asyncio.sleep(seconds / 4)
            doing = self._visit.doing if self._visit else ""
            try:
                if not await self._tools.sources.renew(self._sync, self._owner, seconds, doing):
                    return
                held_until = time.monotonic() + seconds
            except CorellaError as error:
                log.warning("lease_not_renewed", reason=error.reason)
