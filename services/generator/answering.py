"""One question from beginning to end.

    recall      what is remembered of earlier turns
    stand alone the question as it can be searched for
    retrieve    passages; without the retriever there is no answer
    judge       do they hold an answer at all? If not, the model is not called
    compose     the prompt
    write       the text, streamed
    cite        every sentence against the passages
    remember    the turn, then the summary, which nobody waits for but the last event

Does not know about protobuf, Redis or vLLM.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.trace import Span

from services.chassis.steps import add_link, current_traceparent, step
from services.chassis.telemetry import captures_text, current_trace_id, get_logger
from services.generator import owning
from services.generator.adapting import Adapting
from services.generator.admission import Admission
from services.generator.answer_metrics import watching
from services.generator.citing import CitedAnswer, cite
from services.generator.composing import Composing
from services.generator.domain import (
    DONT_KNOW,
    Adapter,
    Answer,
    AnswerRecord,
    FinishReason,
    MemoryUnavailable,
    Passage,
    Recollection,
    RefusalReason,
    Turn,
    Usage,
)
from services.generator.events import Ask, Cited, Completed, Delta, Event, Found, Remembered, Started
from services.generator.owning import Owner
from services.generator.ports import AnswerStore, Engine, Retriever, SearchResult, UsageStore
from services.generator.prompting import Prompt
from services.generator.redacting import sources_of, union
from services.generator.refusal import answerability
from services.generator.remembering import Remembering
from services.generator.standalone import answered_question, search_query, standalone_question, topic_changed
from services.generator.writing import Writing

log = get_logger(__name__)


class Answering:
    """Answers questions."""

    def __init__(
        self,
        *,
        engine: Engine,
        retriever: Retriever,
        remembering: Remembering,
        answers: AnswerStore,
        admission: Admission,
        composing: Composing,
        usage: UsageStore,
        adapting: Adapting,
    ) -> None:
        self._engine = engine
        self._retriever = retriever
        self._remembering = remembering
        self._answers = answers
        self._admission = admission
        self._composing = composing
        self._usage = usage
        self._adapting = adapting

    async def ask(self, ask: Ask) -> AsyncIterator[Event]:
        """The events of one answer, in the contract's order. Closing or cancelling this stops the model.

        Raises `QueueFull` before anything is done, the token's errors, those of `Adapting.chosen`, the retriever's errors,
        `ContextTooLong`, `EngineUnavailable`.
        """
        with self._admission.slot(), watching() as watch:
            clock = time.perf_counter
            began = clock()
            answer_id = uuid.uuid4().hex
            owner = owning.owner()
            span, traceparent = trace.get_current_span(), current_traceparent()
            _introduce(span, ask, answer_id)
            await self._adapting.prepare(ask.adapter)
            before = await self._remembering.recall(owner, ask.conversation_id, ask.summary_token)
            standalone = standalone_question(ask.question, before.summary.text, before.turns)
            changed = topic_changed(ask.question, before.turns, before.summary.text)
            # What the memory stems from, the answer may stem from too, unless nothing of it is used.
            leaned_on = () if changed and standalone == ask.question else tuple(sorted(sources_of(before)))
            recall_seconds = clock() - began
            yield Started(answer_id, ask.conversation_id, standalone, before.state, current_trace_id())

            found = await self._search(ask, search_query(ask.question, standalone))
            retrieval_seconds = clock() - began - recall_seconds
            watch.retrieved(retrieval_seconds)
            with step("judge"):
                probability = await asyncio.to_thread(answerability, standalone, found.passages, found.evidence)
            span.set_attribute("corella.answer.answerability", probability)
            reason = self._reason_to_refuse(ask, found, probability)
            if reason is None:
                asked = answered_question(ask.question, standalone)
                prompt = self._compose(ask, asked, found.passages, Recollection() if changed else before)
                yield Found(prompt.passages, probability, found.evidence)
                async with self._adapting.chosen(ask.adapter) as adapter:
                    watch.adapter = adapter
                    _name_writer(span, adapter)
                    writing = Writing(self._engine, prompt.messages, ask.options, "answer", adapter)
                    async with aclosing(writing.pieces()) as pieces:  # type: ignore[type-var]
                        async for piece in pieces:
                            yield Delta(piece)
                with step("cite", {"corella.passages": len(prompt.passages)}):
                    cited = await asyncio.to_thread(cite, writing.text, prompt.passages, asked)
                passages, usage, finish = prompt.passages, writing.usage, writing.finish_reason
                sources = union((each.name for each in passages), leaned_on)
            else:
                yield Found(found.passages, probability, found.evidence)
                yield Delta(DONT_KNOW)
                cited = CitedAnswer(DONT_KNOW, (), reason, 0, 0)
                async with self._adapting.chosen(ask.adapter) as adapter:
                    _name_writer(span, adapter)  # nobody writes; it is told which one would have
                passages, usage, finish = found.passages, Usage(), FinishReason.REFUSED
                sources = leaned_on

            answer = Answer(answer_id, cited.text, cited.citations, cited.refusal_reason)
            _describe(span, answer)
            yield Cited(answer, cited.dropped_citation_count, cited.dropped_sentence_count)
            seen = tuple(each.name for each in passages)
            record = AnswerRecord(
                answer, ask.question, standalone, seen, ask.corpus, adapter.name, current_trace_id(), sources, traceparent
            )
            turn = Turn(ask.question, answer.text, standalone, datetime.now(UTC), sources)
            with step("remember"):
                await self._keep(owner.tenant, record)
                after = await self._remembering.add(owner, ask.conversation_id, before, turn)
            watch.answered(cited, adapter)
            usage = replace(usage, recall_seconds=recall_seconds, retrieval_seconds=retrieval_seconds, total_seconds=clock() - began)
            self._usage.add("answer", bool(adapter.name), usage)
            yield Completed(usage, finish, self._engine.display_name, adapter.name)
            yield await self._remember(owner, ask, after, changed)

    async def _search(self, ask: Ask, query: str) -> SearchResult:
        # Names and attributes: OpenTelemetry's semantic conventions for retrieval in generative AI.
        attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": ask.corpus, "corella.search.mode": ask.retrieval.mode}
        if captures_text():
            attributes["gen_ai.retrieval.query.text"] = query
        with step("search", attributes) as span:
            found = await self._retriever.search(ask.corpus, query, ask.retrieval)
            span.set_attribute("corella.passages", len(found.passages))
            return found

    def _reason_to_refuse(self, ask: Ask, found: SearchResult, probability: float) -> RefusalReason | None:
        if not found.passages:
            return RefusalReason.NO_PASSAGES
        threshold = self._composing.refusal_threshold if ask.retrieval.refusal_threshold is None else ask.retrieval.refusal_threshold
        return RefusalReason.WEAK_EVIDENCE if probability < threshold else None

    def _compose(self, ask: Ask, asked: str, passages: tuple[Passage, ...], before: Recollection) -> Prompt:
        with step("compose", {"corella.passages": len(passages)}):
            return self._composing.compose(asked, passages, style=ask.style, max_tokens=ask.options.max_tokens, summary=before.summary.text)

    async def _keep(self, tenant: str, record: AnswerRecord) -> None:
        try:
            await self._answers.put(tenant, record)
        except MemoryUnavailable:
            log.warning("answer_not_kept", answer=record.answer.id)

    async def _remember(self, owner: Owner, ask: Ask, after: Recollection, changed: bool) -> Remembered:
        token = expires = None
        if not ask.skip_memory:
            after = await self._remembering.condense(owner, ask.conversation_id, after)
            token, expires = self._remembering.seal(owner, after)
        return Remembered(token, expires, after.state, changed, self._remembering.budget(after))


def _introduce(span: Span, ask: Ask, answer_id: str) -> None:
    """Puts on the span of the call what is known of it from the beginning."""
    span.set_attribute("corella.answer.id", answer_id)
    span.set_attribute("gen_ai.data_source.id", ask.corpus)
    if ask.conversation_id:
        span.set_attribute("gen_ai.conversation.id", ask.conversation_id)
    if captures_text():
        span.set_attribute("corella.answer.question", ask.question)


def _name_writer(span: Span, adapter: Adapter) -> None:
    """Puts on the span of the call who writes: an adapter leads to the run that trained it."""
    span.set_attribute("corella.adapter.name", adapter.name)
    span.set_attribute("corella.adapter.job", adapter.job)
    add_link(span, adapter.traceparent, "adapter.training")


def _describe(span: Span, answer: Answer) -> None:
    """Puts on the span of the call what has become of the question."""
    span.set_attribute("corella.answer.outcome", "answered" if answer.refusal_reason is None else "refused")
    span.set_attribute("corella.answer.citation_count", len(answer.citations))
    if answer.refusal_reason is not None:
        span.set_attribute("corella.answer.refusal_reason", answer.refusal_reason.value)
    if captures_text():
        span.set_attribute("corella.answer.text", answer.text)
