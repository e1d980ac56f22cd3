"""Memory of a conversation around one answer: recalled before it, extended after it.

With a conversation it lives in the store, with a token at the client. Before it is used, the retriever is asked once whether its owner
may still read all it stems from; what stems from anything else is taken out of the record. A store or a retriever that cannot be
reached degrades the memory and never stops the answer.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from services.chassis.errors import CorellaError
from services.chassis.steps import step
from services.chassis.telemetry import get_logger, meter
from services.generator.domain import (
    BASE,
    DONT_KNOW,
    ConversationBudget,
    FinishReason,
    GenerationOptions,
    MemoryState,
    MemoryUnavailable,
    Message,
    Recollection,
    Summary,
    Turn,
    Usage,
)
from services.generator.owning import Owner
from services.generator.ports import ConversationStore, Engine, Retriever, SummaryTokens, UsageStore
from services.generator.redacting import bounded, sources_of, union, without
from services.generator.settings import MemorySettings
from services.generator.summarizing import summary_messages, tidy
from services.generator.writing import Writing

log = get_logger(__name__)
_degraded = meter.create_counter("corella.generator.memory.degraded", unit="{answer}", description="Answers without their conversation.")
_redacted = meter.create_counter("corella.generator.memory.redacted", unit="{answer}", description="Answers whose memory lost a part.")
_SUMMARY_PROMPT_TOKENS = 512


class Remembering:
    """What is known of earlier turns, and what will be known of this one."""

    def __init__(
        self,
        engine: Engine,
        store: ConversationStore,
        tokens: SummaryTokens,
        settings: MemorySettings,
        usage: UsageStore,
        *,
        retriever: Retriever,
    ) -> None:
        self._engine = engine
        self._retriever = retriever
        self._store = store
        self._tokens = tokens
        self._settings = settings
        self._usage = usage
        self._being_summarised: set[tuple[Owner, str]] = set()

    async def recall(self, owner: Owner, conversation_id: str, token: bytes) -> Recollection:
        """Earlier turns that may be used, from the token or the store; empty without either. Raises the token's own errors only."""
        with step("recall") as span:
            found = await self._recall(owner, conversation_id, token)
            span.set_attribute("corella.memory.state", found.state.value)
            span.set_attribute("corella.memory.turns", len(found.turns))
            return found

    async def _recall(self, owner: Owner, conversation_id: str, token: bytes) -> Recollection:
        if token:
            return await self._permitted(owner, "", bounded(self._tokens.open(token, owner)))
        if not conversation_id:
            return Recollection()
        try:
            return await self._permitted(owner, conversation_id, bounded(await self._store.recall(owner, conversation_id)))
        except MemoryUnavailable:
            _degraded.add(1)
            return Recollection(state=MemoryState.DEGRADED)

    async def _permitted(self, owner: Owner, conversation_id: str, found: Recollection) -> Recollection:
        """What of a memory may be used. One call of the retriever at most, and none where nothing stems from documents."""
        sources = sources_of(found)
        if not sources:
            return found
        try:
            gone = sources - await self._retriever.readable(sources)
        except CorellaError as error:
            # Whoever cannot be asked has not said yes.
            log.warning("memory_not_checked", reason=error.reason)
            _degraded.add(1)
            return Recollection(state=MemoryState.DEGRADED)
        if not gone:
            return found
        if conversation_id:
            await self._store.redact(owner, conversation_id, gone)
        _redacted.add(1)
        return replace(without(found, gone), state=MemoryState.REDACTED)

    async def add(self, owner: Owner, conversation_id: str, before: Recollection, turn: Turn) -> Recollection:
        """What is remembered with this turn in it. Turns that others added meanwhile are there too."""
        after = replace(before, turns=(*before.turns, turn), turn_count=before.turn_count + 1)
        if not conversation_id:
            return after
        try:
            await self._store.append(owner, conversation_id, turn)
            if before.state is MemoryState.DEGRADED:
                # What is there has not been checked, so nothing is made of it now.
                return after
            now = bounded(await self._store.recall(owner, conversation_id))
            return replace(now, state=before.state) if before.state is MemoryState.REDACTED else now
        except MemoryUnavailable:
            return replace(after, state=MemoryState.DEGRADED)

    async def condense(self, owner: Owner, conversation_id: str, recollection: Recollection) -> Recollection:
        """Brings the summary up to date with the model. Where that fails, the summary stays as it was: turns are kept anyway."""
        being_summarised = (owner, conversation_id)
        if being_summarised in self._being_summarised:
            # Hundreds of turns at once need not be summarised hundreds of times.
            return recollection
        if conversation_id:
            self._being_summarised.add(being_summarised)
        try:
            with step("condense conversation"):
                return await self._condense(owner, conversation_id, recollection)
        finally:
            self._being_summarised.discard(being_summarised)

    async def _condense(self, owner: Owner, conversation_id: str, recollection: Recollection) -> Recollection:
        try:
            after = replace(recollection, summary=await self._summary(recollection))
        except CorellaError as error:
            log.warning("summary_failed", reason=error.reason)
            return recollection
        if not conversation_id or after.state is MemoryState.DEGRADED:
            return after
        try:
            await self._store.put_summary(owner, conversation_id, after.summary)
        except MemoryUnavailable:
            return replace(after, state=MemoryState.DEGRADED)
        return after

    def seal(self, owner: Owner, recollection: Recollection) -> tuple[bytes, datetime]:
        """The token for the client and when it expires."""
        return self._tokens.seal(recollection, owner)

    def budget(self, recollection: Recollection) -> ConversationBudget:
        """How full the conversation is."""
        settings = self._settings
        return ConversationBudget(recollection.turn_count, settings.max_turns, recollection.summary.tokens, settings.max_summary_tokens)

    async def summarize(self, previous: str, turns: tuple[Turn, ...], max_tokens: int) -> tuple[str, Usage]:
        """A summary of `turns` and the `previous` summary, and what it cost."""
        prompt_tokens = min(_SUMMARY_PROMPT_TOKENS + max_tokens, self._engine.context_tokens - max_tokens - 64)
        messages = summary_messages(previous, turns, prompt_tokens, self._engine.count_tokens)
        if not messages:
            return previous, Usage()
        return await self._write(messages, max_tokens)

    async def _summary(self, recollection: Recollection) -> Summary:
        before, turns = recollection.summary, recollection.turns
        new = turns[-min(len(turns), max(recollection.turn_count - before.turn_count, 1)) :]
        if all(turn.answer == DONT_KNOW for turn in new):
            return replace(before, turn_count=recollection.turn_count)
        text, _ = await self.summarize(before.text, new, self._settings.max_summary_tokens)
        sources = union(before.sources, *(turn.sources for turn in new))
        return Summary(text, self._engine.count_tokens(text), recollection.turn_count, sources)

    async def _write(self, messages: tuple[Message, ...], max_tokens: int) -> tuple[str, Usage]:
        # By the base model: adapters are judged by their answers, and must not change what is remembered.
        writing = Writing(self._engine, messages, GenerationOptions(max_tokens=max_tokens), "summary", BASE)
        async with aclosing(writing.pieces()) as pieces:  # type: ignore[type-var]
            async for _ in pieces:
                pass
        self._usage.add("summary", False, writing.usage)
        return tidy(writing.text, ended=writing.finish_reason is FinishReason.STOP), writing.usage
