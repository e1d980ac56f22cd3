"""Looking at what is remembered, forgetting it, and hearing what people thought of answers.

Everybody sees their own conversations, and of those what they may still read; feedback is the tenant's.
"""

from __future__ import annotations

from opentelemetry import trace

from services.chassis import identity
from services.chassis.steps import add_link
from services.chassis.telemetry import meter
from services.generator import owning
from services.generator.domain import AnswerRecord, Conversation, ConversationBudget, ConversationNotFound, Feedback, Recollection
from services.generator.ports import AnswerStore, ConversationStore, Retriever
from services.generator.redacting import sources_of, without
from services.generator.remembering import Remembering

_feedback = meter.create_counter("corella.generator.feedback", unit="{feedback}", description="Feedback given, by rating.")


class Conversing:
    """Conversations and feedback. Every method raises `MemoryUnavailable` when the store cannot be reached; those that return text raise
    the retriever's errors too: without it nobody knows what may be read."""

    def __init__(self, conversations: ConversationStore, answers: AnswerStore, remembering: Remembering, retriever: Retriever) -> None:
        self._conversations = conversations
        self._answers = answers
        self._remembering = remembering
        self._retriever = retriever

    async def get(self, conversation_id: str) -> tuple[Conversation, ConversationBudget]:
        """The conversation and how full it is. Raises `ConversationNotFound`."""
        (found,) = await self._permitted([await self._conversations.get(owning.owner(), conversation_id)])
        return found, self._budget(found)

    async def page(self, page_size: int, after: str) -> tuple[list[tuple[Conversation, ConversationBudget]], str]:
        """A page, the most recently used first, and the position after it."""
        found, position = await self._conversations.page(owning.owner(), page_size, after)
        return [(each, self._budget(each)) for each in await self._permitted(found)], position

    async def delete(self, conversation_id: str, allow_missing: bool) -> None:
        """Forgets it. Raises `ConversationNotFound` unless `allow_missing`."""
        if not await self._conversations.delete(owning.owner(), conversation_id) and not allow_missing:
            raise ConversationNotFound(conversation_id)

    async def give_feedback(self, feedback: Feedback) -> Feedback:
        """Keeps it. Raises `AnswerNotFound`. The span of its call leads to that of the answer."""
        span = trace.get_current_span()
        span.set_attribute("corella.answer.id", feedback.answer_id)
        span.set_attribute("corella.feedback.rating", feedback.rating.value)
        add_link(span, await self._answers.put_feedback(identity.current().tenant, feedback), "answer")
        _feedback.add(1, {"corella.feedback.rating": feedback.rating.value})
        return feedback

    async def list_feedback(self, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        """A page, oldest first, and the position after it. What stems from documents the caller may not read is left out of the page."""
        found, position = await self._answers.list_feedback(identity.current().tenant, page_size, after)
        stems = [frozenset((*record.passages, *record.sources)) for _, record in found]
        gone = await self._gone(frozenset[str]().union(*stems))
        return [each for each, names in zip(found, stems, strict=True) if gone.isdisjoint(names)], position

    async def _permitted(self, conversations: list[Conversation]) -> list[Conversation]:
        """The conversations without what may no longer be read, which is taken out of the store as well."""
        gone = await self._gone(frozenset[str]().union(*(sources_of(each) for each in conversations)))
        kept: list[Conversation] = []
        for each in conversations:
            lost = gone & sources_of(each)
            if lost:
                await self._conversations.redact(owning.owner(), each.id, lost)
            kept.append(without(each, lost) if lost else each)
        return kept

    async def _gone(self, names: frozenset[str]) -> frozenset[str]:
        return names - await self._retriever.readable(names) if names else frozenset()

    def _budget(self, found: Conversation) -> ConversationBudget:
        return self._remembering.budget(Recollection(summary=found.summary, turn_count=found.turn_count))
