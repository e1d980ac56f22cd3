"""What the generator needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from services.generator.domain import (
    BASE,
    Adapter,
    AnswerRecord,
    Conversation,
    Evidence,
    Feedback,
    GenerationOptions,
    Message,
    Passage,
    Recollection,
    Stem,
    Summary,
    TextChunk,
    TextScore,
    Traces,
    Turn,
    Usage,
    UsageTotals,
)
from services.generator.events import Retrieval
from services.generator.owning import Owner


class Engine(Protocol):
    """Writes text."""

    kind: str
    """`vllm` or `openai`."""
    server: Mapping[str, str | int]
    """Where it is, in the attributes `server.address` and `server.port` of spans; empty when it is in this process."""
    display_name: str
    """Name of the base model."""
    context_tokens: int
    """Longest prompt and answer together."""
    fingerprint: str
    """Of the base model; see `chassis.model_fingerprint`. Empty: not known."""
    max_adapter_rank: int
    """Highest rank an adapter may have; 0: it can load none."""
    special_tokens: tuple[str, ...]
    """The model's control tokens, as text."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's own tokenizer."""
        ...

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a chat with everything its template adds."""
        ...

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a chat as it is served, up to where the model is to write. Empty where the tokenizer is not known."""
        ...

    def generate(self, messages: Sequence[Message], options: GenerationOptions, adapter: Adapter = BASE) -> AsyncIterator[TextChunk]:
        """The text piece by piece, by the base model with `adapter`, which must be loaded. Closing or cancelling it stops the work.

        Text of the messages is data: it cannot become a control token. Raises `ContextTooLong`, `QueueFull`, `EngineUnavailable`.
        """
        ...

    async def score(self, messages: Sequence[Message], text: str, adapter: Adapter = BASE) -> TextScore:
        """How likely `text` is after the chat. Raises `Unimplemented` where the engine cannot tell, else as `generate`."""
        ...


class AdapterHost(Protocol):
    """An engine that serves adapters beside its base model."""

    fingerprint: str
    max_adapter_rank: int

    async def load_adapter(self, adapter: Adapter, folder: Path) -> None:
        """Makes it ready to write with. The files in `folder` were checked. Raises `AdapterRefused` when the engine cannot take it."""
        ...

    async def unload_adapter(self, adapter: Adapter) -> None:
        """Forgets it. No text that is being written may need it."""
        ...


@dataclass(frozen=True)
class DesiredAdapter:
    """What is to serve. `name` empty: the base model alone. `generation` rises with every change."""

    name: str = ""
    digest: str = ""
    generation: int = 0


class Shelf(Protocol):
    """The shared storage with the adapters. Every method raises `ShelfUnavailable` when it cannot be reached."""

    async def desired(self) -> DesiredAdapter | None:
        """What is to serve; None when nobody has ever said. Raises `AdapterRefused` when what stands there cannot be read."""
        ...

    async def fetch(self, name: str, digest: str = "") -> tuple[Adapter, Path]:
        """A version with a local folder of its files, checked: it may be loaded. With `digest` it must have that one.

        Raises `AdapterNotFound` and `AdapterRefused`.
        """
        ...

    async def forget(self, adapter: Adapter) -> None:
        """Removes the local files. Never raises."""
        ...

    async def keep_only(self, adapters: Collection[Adapter]) -> None:
        """Removes all local files but those of `adapters`, also what a killed process left. Never raises."""
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

    async def readable(self, chunks: Collection[str]) -> frozenset[str]:
        """Those of the chunks, by name, that are there and that the caller may read. Raises as `search`."""
        ...

    async def closed(self, documents: Collection[str]) -> frozenset[str]:
        """Those of the documents that are there and that nobody may read; the caller must be an administrator. Raises as `search`."""
        ...


class Keeper(Protocol):
    """Keeps records that may stem from documents. `gone` are names of chunks, or of documents for all their chunks.

    Raises `MemoryUnavailable`.
    """

    async def forget(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        """Takes out of a record, as `StemIndex.records` named it, all that stems from `gone`, and tells how much that was."""
        ...

    async def count(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        """How much `forget` would take out."""
        ...


class StemIndex(Protocol):
    """Knows which records stem from which chunks; may name one that does so no longer. Raises `MemoryUnavailable`."""

    async def chunks(self, tenant: str, document: str, after: str, limit: int) -> list[str]:
        """At most `limit` names of chunks of a document that something stems from, in the order of their names, after `after`."""
        ...

    async def records(self, tenant: str, chunk: str, first: int, limit: int) -> list[str]:
        """Records that stem from a chunk, from position `first`."""
        ...

    async def claim(self, limit: int, every_seconds: float) -> tuple[list[Stem], tuple[str, str]]:
        """The next of all chunks on a walk that all replicas share, and where they lie, for `put_back`.

        Empty once all have been walked, until `every_seconds` after that walk began.
        """
        ...

    async def put_back(self, walked: tuple[str, str]) -> None:
        """Has the walk continue where a claim began, unless it has gone on."""
        ...

    async def look_after(self, stems: list[Stem], now: float) -> None:
        """Takes records out that have expired by `now`, in seconds since 1970; a bounded number of each chunk's."""
        ...


class ConversationStore(Keeper, Protocol):
    """Remembers conversations, each owner's for itself. Every method raises `MemoryUnavailable` when the store cannot be reached."""

    async def recall(self, owner: Owner, conversation_id: str) -> Recollection:
        """What is remembered: the summary and the latest turns. Empty for a conversation that does not exist."""
        ...

    async def append(self, owner: Owner, conversation_id: str, turn: Turn) -> None:
        """Adds a turn and renews the expiry. Any number of calls at once lose nothing."""
        ...

    async def put_summary(self, owner: Owner, conversation_id: str, summary: Summary) -> bool:
        """Replaces the summary if the new one covers more turns; tells whether it did."""
        ...

    async def redact(self, owner: Owner, conversation_id: str, gone: Collection[str]) -> None:
        """Takes out every turn, and the summary, that stem from a chunk in `gone`."""
        ...

    async def get(self, owner: Owner, conversation_id: str) -> Conversation:
        """The conversation with all turns kept. Raises `ConversationNotFound`."""
        ...

    async def page(self, owner: Owner, page_size: int, after: str) -> tuple[list[Conversation], str]:
        """A page, the most recently used first, without turns, and the position after it (empty: the last page)."""
        ...

    async def delete(self, owner: Owner, conversation_id: str) -> bool:
        """Forgets it; tells whether there was one."""
        ...


class AnswerStore(Keeper, Protocol):
    """Keeps answers for a while, and feedback on them, by tenant. Raises `MemoryUnavailable` when the store cannot be reached."""

    async def put(self, tenant: str, record: AnswerRecord) -> None:
        """Keeps an answer."""
        ...

    async def put_feedback(self, tenant: str, feedback: Feedback) -> str:
        """Keeps feedback together with its answer, in place of earlier feedback on it. Raises `AnswerNotFound`.

        Returns the answer's `traceparent`.
        """
        ...

    async def list_feedback(self, tenant: str, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        """A page, oldest first, and the position after it (empty: the last page)."""
        ...

    async def note_older(self) -> None:
        """Notes, once for all, what the answers and the feedback stem from that versions without a `StemIndex` have left."""
        ...


class UsageStore(Protocol):
    """Sums up what texts cost, over all replicas, for the tenant of the current call."""

    def add(self, purpose: str, adapted: bool, usage: Usage) -> None:
        """Adds one text written for `purpose` (`answer`, `completion` or `summary`). Never waits and never fails."""
        ...

    async def totals(self) -> UsageTotals:
        """All totals. Raises `MemoryUnavailable` when the store cannot be reached."""
        ...


class SummaryTokens(Protocol):
    """Turns what is remembered into a token a client can keep, and back."""

    def seal(self, recollection: Recollection, owner: Owner) -> tuple[bytes, datetime]:
        """The token, which only its owner can give back, and when it expires."""
        ...

    def open(self, token: bytes, owner: Owner) -> Recollection:
        """What the token holds. Raises `SummaryTokenInvalid`, also for a token of somebody else, or `SummaryTokenExpired`."""
        ...
