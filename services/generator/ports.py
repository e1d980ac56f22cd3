"""What the generator needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.generator.domain import (
    AnswerRecord,
    Conversation,
    Evidence,
    Feedback,
    GenerationOptions,
    Message,
    Passage,
    Recollection,
    Summary,
    TextChunk,
    Turn,
)
from services.generator.events import Retrieval


class Engine(Protocol):
    """Writes text."""

    kind: str
    """`vllm` or `openai`."""
    display_name: str
    """Name of the base model."""
    context_tokens: int
    """Longest prompt and answer together."""
    adapter: str
    """`adapters/{adapter}/versions/{version}` that writes now; empty: the base model alone."""
    special_tokens: tuple[str, ...]
    """The model's control tokens, as text."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's own tokenizer."""
        ...

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a chat with everything its template adds."""
        ...

    def generate(self, messages: Sequence[Message], options: GenerationOptions) -> AsyncIterator[TextChunk]:
        """The text piece by piece. Closing or cancelling it stops the engine's work on it.

        Text of the messages is data: it cannot become a control token. Raises `ContextTooLong`, `QueueFull`, `EngineUnavailable`.
        """
        ...


@dataclass(frozen=True)
class SearchResult:
    """What a search found, best first."""

    passages: tuple[Passage, ...]
    evidence: Evidence


class Retriever(Protocol):
    """Finds passages."""

    async def search(self, corpus: str, query: str, retrieval: Retrieval) -> SearchResult:
        """At most `retrieval.passage_limit` passages. Raises the retriever's own error; `Unavailable` when it cannot be reached."""
        ...


class ConversationStore(Protocol):
    """Remembers conversations. Every method raises `MemoryUnavailable` when the store cannot be reached."""

    async def recall(self, conversation_id: str) -> Recollection:
        """What is remembered: the summary and the latest turns. Empty for a conversation that does not exist."""
        ...

    async def append(self, conversation_id: str, turn: Turn) -> None:
        """Adds a turn and renews the expiry. Any number of calls at once lose nothing."""
        ...

    async def put_summary(self, conversation_id: str, summary: Summary) -> bool:
        """Replaces the summary if the new one covers more turns; tells whether it did."""
        ...

    async def get(self, conversation_id: str) -> Conversation:
        """The conversation with all turns kept. Raises `ConversationNotFound`."""
        ...

    async def page(self, page_size: int, after: str) -> tuple[list[Conversation], str]:
        """A page, the most recently used first, without turns, and the position after it (empty: the last page)."""
        ...

    async def delete(self, conversation_id: str) -> bool:
        """Forgets it; tells whether there was one."""
        ...


class AnswerStore(Protocol):
    """Keeps answers for a while, and feedback on them. Raises `MemoryUnavailable` when the store cannot be reached."""

    async def put(self, record: AnswerRecord) -> None:
        """Keeps an answer."""
        ...

    async def put_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback together with its answer, in place of earlier feedback on it. Raises `AnswerNotFound`."""
        ...

    async def list_feedback(self, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        """A page, oldest first, and the position after it (empty: the last page)."""
        ...


class SummaryTokens(Protocol):
    """Turns what is remembered into a token a client can keep, and back."""

    def seal(self, recollection: Recollection) -> tuple[bytes, datetime]:
        """The token and when it expires."""
        ...

    def open(self, token: bytes) -> Recollection:
        """What the token holds. Raises `SummaryTokenInvalid` or `SummaryTokenExpired`."""
        ...
