"""Looking at what is remembered, forgetting it, and hearing what people thought of answers."""

from __future__ import annotations

from services.generator.domain import AnswerRecord, Conversation, ConversationBudget, ConversationNotFound, Feedback, Recollection
from services.generator.ports import AnswerStore, ConversationStore
from services.generator.remembering import Remembering


class Conversing:
    """Conversations and feedback. Every method raises `MemoryUnavailable` when the store cannot be reached."""

    def __init__(self, conversations: ConversationStore, answers: AnswerStore, remembering: Remembering) -> None:
        self._conversations = conversations
        self._answers = answers
        self._remembering = remembering

    async def get(self, conversation_id: str) -> tuple[Conversation, ConversationBudget]:
        """The conversation and how full it is. Raises `ConversationNotFound`."""
        found = await self._conversations.get(conversation_id)
        return found, self._budget(found)

    async def page(self, page_size: int, after: str) -> tuple[list[tuple[Conversation, ConversationBudget]], str]:
        """A page, the most recently used first, and the position after it."""
        found, position = await self._conversations.page(page_size, after)
        return [(each, self._budget(each)) for each in found], position

    async def delete(self, conversation_id: str, allow_missing: bool) -> None:
        """Forgets it. Raises `ConversationNotFound` unless `allow_missing`."""
        if not await self._conversations.delete(conversation_id) and not allow_missing:
            raise ConversationNotFound(conversation_id)

    async def give_feedback(self, feedback: Feedback) -> Feedback:
        """Keeps it. Raises `AnswerNotFound`."""
        await self._answers.put_feedback(feedback)
        return feedback

    async def list_feedback(self, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        """A page, oldest first, and the position after it."""
        return await self._answers.list_feedback(page_size, after)

    def _budget(self, found: Conversation) -> ConversationBudget:
        return self._remembering.budget(Recollection(summary=found.summary, turn_count=found.turn_count))
