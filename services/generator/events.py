"""What is asked for, and what happens while it is answered.

The events of an answer come in this order: `Started`, `Found`, any number of `Delta`, `Cited`, `Completed`, `Remembered`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.generator.domain import (
    Answer,
    ConversationBudget,
    Evidence,
    FinishReason,
    GenerationOptions,
    MemoryState,
    Passage,
    Style,
    Usage,
)

PLAIN = Style()
DEFAULT_OPTIONS = GenerationOptions()


@dataclass(frozen=True)
class Condition:
    """A condition on a document's metadata."""

    key: str
    any_of: tuple[str, ...]
    negate: bool


@dataclass(frozen=True)
class Retrieval:
    """How passages are found. `mode` and `fusion` are the contract's names without their prefix, in lower case."""

    mode: str = "unspecified"
    fusion: str = "unspecified"
    filter: tuple[Condition, ...] = ()
    passage_limit: int = 4
    refusal_threshold: float | None = None


@dataclass(frozen=True)
class Ask:
    """A question. At most one of `conversation_id` and `summary_token` is given."""

    question: str
    corpus: str
    conversation_id: str = ""
    summary_token: bytes = b""
    retrieval: Retrieval = Retrieval()
    style: Style = PLAIN
    options: GenerationOptions = DEFAULT_OPTIONS
    skip_memory: bool = False
    adapter: str = ""
    """A version of an adapter, `base`, or empty for what serves."""


@dataclass(frozen=True)
class Started:
    """The question was taken up."""

    answer_id: str
    conversation_id: str
    standalone_question: str
    memory_state: MemoryState
    trace_id: str


@dataclass(frozen=True)
class Found:
    """What was found, in the order of the passages' numbers."""

    passages: tuple[Passage, ...]
    answerability: float
    evidence: Evidence


@dataclass(frozen=True)
class Delta:
    """The next piece of text."""

    text: str


@dataclass(frozen=True)
class Cited:
    """The answer as it counts."""

    answer: Answer
    dropped_citation_count: int = 0
    dropped_sentence_count: int = 0


@dataclass(frozen=True)
class Completed:
    """What it cost and why it ended."""

    usage: Usage
    finish_reason: FinishReason
    model: str
    adapter: str


@dataclass(frozen=True)
class Remembered:
    """What will be remembered. Token and time are None when none was asked for."""

    summary_token: bytes | None
    summary_token_expire_time: datetime | None
    state: MemoryState
    topic_changed: bool
    budget: ConversationBudget


Event = Started | Found | Delta | Cited | Completed | Remembered
