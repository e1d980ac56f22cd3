"""What the trainer needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.trainer.domain import Message, Passage


@dataclass(frozen=True)
class ServedModel:
    """What the generator says of the model it serves. `fingerprint` empty: not known."""

    display_name: str
    fingerprint: str
    adapter: str
    max_adapter_rank: int
    context_tokens: int


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt as it is served. `token_ids` end where the model is to write."""

    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    passage_count: int = 0
    answerability: float = 0.0
    refusal_threshold: float = 0.0


@dataclass(frozen=True)
class CitedText:
    """A text as the generator would let it count: with markers, or refused. `citations` are (number from 1, URI, name of the chunk)."""

    text: str
    refused: bool
    citations: tuple[tuple[int, str, str], ...] = ()


@dataclass(frozen=True)
class Written:
    """A text the model wrote, and what it cost. Seconds are the engine's, prompt included."""

    text: str
    adapter: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_seconds: float = 0.0
    engine_seconds: float = 0.0


@dataclass(frozen=True)
class AskedAnswer:
    """An answer of the whole serving path."""

    written: Written
    cited: CitedText
    passages: tuple[Passage, ...]
    retrieval_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True)
class FeedbackRecord:
    """Feedback with what it is about. `rating` is `up`, `down` or `unspecified`; `time` seconds since 1970."""

    answer_id: str
    rating: str
    corrected_text: str
    time: float
    question: str
    answer_text: str
    refused: bool
    passages: tuple[str, ...]
    """Names of the chunks the model saw, in the order of their numbers."""
    corpus: str
    adapter: str
    trace_id: str


class Generator(Protocol):
    """The serving path. `adapter` is a version's name, `base`, or empty for what serves.

    Every method raises the generator's own error, and `Unavailable` when it cannot be reached.
    """

    async def model(self) -> ServedModel:
        """The model that is served."""
        ...

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        """The prompt for a question with its passages, 1 to 5."""
        ...

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        """The prompt for a chat."""
        ...

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        """What counts of a text."""
        ...

    async def ask(self, question: str, corpus: str, adapter: str = "") -> AskedAnswer:
        """A whole answer, without memory."""
        ...

    async def complete(self, messages: Sequence[Message], adapter: str = "", max_tokens: int = 96) -> Written:
        """The continuation of a chat, at temperature 0."""
        ...

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[float, int]:
        """Log-likelihood of a text after a chat, in nats, and its number of tokens. Raises `Unimplemented` where the engine cannot tell."""
        ...

    def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        """Feedback, oldest first."""
        ...


class Retriever(Protocol):
    """The documents. Every method raises the retriever's own error, and `Unavailable` when it cannot be reached."""

    async def search(self, corpus: str, query: str, limit: int) -> tuple[Passage, ...]:
        """The best passages, as `Ask` would find them."""
        ...

    def chunks(self, corpus: str) -> AsyncIterator[Passage]:
        """All chunks of all ACTIVE documents of a corpus, in a fixed order."""
        ...

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        """Those of the chunks that are there, by name. Names of corpora that are gone are missing, not an error."""
        ...


class Teacher(Protocol):
    """A model that writes examples."""

    name: str

    async def write(self, messages: Sequence[Message], max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        """A continuation of the chat."""
        ...

    async def close(self) -> None:
        """Ends connections of its own."""
        ...
