"""Forgetting what stems from documents that are gone: at once for one that is named, and bit by bit for all others.

The walk is for documents that a source's sync removed, for those whose chunks have changed, and for what was being written while a document
was forgotten. It asks the retriever; of a retriever that does not answer nothing is concluded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection

from services.chassis import identity
from services.chassis.errors import CorellaError, DeadlineExceeded, Unavailable
from services.chassis.identity import Caller
from services.chassis.roles import Role
from services.chassis.steps import step
from services.chassis.telemetry import get_logger, meter
from services.generator.domain import Stem, Traces
from services.generator.ports import AnswerStore, ConversationStore, Keeper, Retriever, StemIndex
from services.generator.settings import ForgettingSettings

log = get_logger(__name__)
_forgotten = meter.create_counter("corella.generator.memory.forgotten", unit="{entry}", description="Entries forgotten, by place.")
_CHUNKS_AT_ONCE = 100
_RECORDS_AT_ONCE = 32
_ASKED_AT_ONCE = 500


class Forgetting:
    """Forgets, and tells what is left. Every method raises `MemoryUnavailable` when the store cannot be reached."""

    def __init__(
        self,
        stems: StemIndex,
        conversations: ConversationStore,
        answers: AnswerStore,
        retriever: Retriever,
        settings: ForgettingSettings,
    ) -> None:
        self._stems = stems
        self._conversations = conversations
        self._answers = answers
        self._retriever = retriever
        self._settings = settings

    async def forget(self, document: str) -> Traces:
        """Forgets all that stems from a document of the caller's tenant, and tells how much that was. Safe to repeat."""
        tenant, total = identity.current().tenant, Traces()
        async for chunks in self._chunks(tenant, document):
            total += await self._forget(tenant, chunks)
        _measure(total)
        log.info("document_forgotten", document=document, entries=total.total)
        return total

    async def audit(self, document: str) -> Traces:
        """How much stems from a document of the caller's tenant."""
        tenant = identity.current().tenant
        records: set[str] = set()
        async for chunks in self._chunks(tenant, document):
            for chunk in chunks:
                first = 0
                while found := await self._stems.records(tenant, chunk, first, _CHUNKS_AT_ONCE):
                    records.update(found)
                    first += len(found)
        total = Traces()
        for record in sorted(records):
            total += await self._keeper(record).count(tenant, record, [document])
        return total

    async def run(self) -> None:
        """Walks for ever, a round each `sweep_seconds`. What fails is tried again in the next round."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self.walk()
            except CorellaError as error:
                log.warning("forgetting_interrupted", reason=error.reason)
            except Exception:
                # A fault in one round must not end all others.
                log.exception("forgetting_failed")

    async def walk(self) -> Traces:
        """One round: at most `chunks_per_round` chunks that something stems from. Forgets what stems from those that are gone."""
        await self._answers.note_older()
        total, left = Traces(), self._settings.chunks_per_round
        while left > 0:
            stems, walked = await self._stems.claim(min(left, _ASKED_AT_ONCE), self._settings.sweep_seconds * 0.9)
            if not stems:
                break
            left -= len(stems)
            with step("forget", {"corella.chunks": len(stems)}):
                total += await self._look_at(stems, walked)
            if not walked[1]:
                break
        _measure(total)
        if total.total:
            log.info("forgotten", turns=total.turns, summaries=total.summaries, answers=total.answers, feedback=total.feedback)
        return total

    async def _look_at(self, stems: list[Stem], walked: tuple[str, str]) -> Traces:
        for start in range(0, len(stems), _CHUNKS_AT_ONCE):
            await self._stems.look_after(stems[start : start + _CHUNKS_AT_ONCE], time.time())
        total = Traces()
        try:
            for tenant in sorted({each.tenant for each in stems}):
                total += await self._drop(tenant, [each.chunk for each in stems if each.tenant == tenant])
        except (Unavailable, DeadlineExceeded, asyncio.CancelledError):
            await self._stems.put_back(walked)
            raise
        return total

    async def _drop(self, tenant: str, chunks: list[str]) -> Traces:
        """Forgets what stems from those of the chunks that are gone."""
        with identity.acting_for(Caller("generator", tenant, roles=frozenset({Role.ADMIN}), reads_everything=True)):
            try:
                missing = frozenset(chunks) - await self._retriever.readable(chunks)
                if not missing:
                    return Traces()
                # What nobody may read now may be somebody's again tomorrow; until then it is not shown to anybody.
                closed = await self._retriever.closed({_document(each) for each in missing})
            except (Unavailable, DeadlineExceeded):
                raise
            except CorellaError as error:
                log.warning("forgetting_not_told", tenant=tenant, reason=error.reason)
                return Traces()
        gone = sorted(each for each in missing if _document(each) not in closed)
        total = Traces()
        for start in range(0, len(gone), _CHUNKS_AT_ONCE):
            total += await self._forget(tenant, gone[start : start + _CHUNKS_AT_ONCE])
        return total

    async def _chunks(self, tenant: str, document: str) -> AsyncIterator[list[str]]:
        after = ""
        while found := await self._stems.chunks(tenant, document, after, _CHUNKS_AT_ONCE):
            yield found
            after = found[-1]

    async def _forget(self, tenant: str, chunks: Collection[str]) -> Traces:
        total = Traces()
        for chunk in chunks:
            # Whatever is forgotten is no longer among a chunk's records, so that the next ones are the first.
            while records := await self._stems.records(tenant, chunk, 0, _RECORDS_AT_ONCE):
                for each in await asyncio.gather(*(self._keeper(record).forget(tenant, record, chunks) for record in records)):
                    total += each
        return total

    def _keeper(self, record: str) -> Keeper:
        return self._conversations if record.startswith("conversation:") else self._answers


def _document(chunk: str) -> str:
    return chunk.partition("/chunks/")[0]


def _measure(total: Traces) -> None:
    for place in ("turns", "summaries", "answers", "feedback"):
        if count := getattr(total, place):
            _forgotten.add(count, {"place": place})
