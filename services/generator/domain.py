"""What the generator speaks of: passages, turns, summaries, answers, citations; and the errors that are its own.

    InvalidArgument   ├── ContextTooLong          CONTEXT_TOO_LONG
                      ├── SummaryTokenInvalid     SUMMARY_TOKEN_INVALID
                      └── SummaryTokenExpired     SUMMARY_TOKEN_EXPIRED
    NotFound          ├── ConversationNotFound    CONVERSATION_NOT_FOUND
                      ├── AnswerNotFound          ANSWER_NOT_FOUND
                      └── AdapterNotFound         ADAPTER_NOT_FOUND
    FailedPrecondition├── AdapterRefused          ADAPTER_REFUSED
                      └── AdaptersOff             ADAPTERS_OFF
    ResourceExhausted └── QueueFull               QUEUE_FULL
    Unavailable       ├── MemoryUnavailable       MEMORY_UNAVAILABLE
                      ├── EngineUnavailable       ENGINE_UNAVAILABLE
                      └── ShelfUnavailable        SHELF_UNAVAILABLE

Nothing here knows of protobuf, of Redis or of an engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Literal

from services.chassis.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable

DONT_KNOW = "I do not know."
"""The whole text of an answer that is none."""
EPOCH = datetime.fromtimestamp(0, UTC)
"""Stands for a time that is not known."""


@dataclass(frozen=True)
class Provenance:
    """Where a hit came from. Ranks count from 1; None means that the list did not hold it."""

    keyword_rank: int | None = None
    keyword_score: float | None = None
    vector_rank: int | None = None
    vector_score: float | None = None
    fused_score: float = 0.0
    rerank_score: float | None = None
    embedded_now: bool = False


@dataclass(frozen=True)
class Passage:
    """A chunk that was found. `text` is without the headings; `uri` comes from the store and is the only address ever cited."""

    name: str
    document: str
    title: str
    uri: str
    heading_path: tuple[str, ...]
    text: str
    score: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)
    index: int = 0
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class Evidence:
    """How strong a search's evidence is, comparable across questions. `top_vector_score` is None when vectors were not used."""

    top_vector_score: float | None = None
    top_term_coverage: float = 0.0
    overlap_count: int = 0


@dataclass(frozen=True)
class Style:
    """How an answer should read; empty strings ask for nothing."""

    style: str = ""
    tone: str = ""
    readability: str = ""
    verbosity: str = ""
    persona: str = ""
    instructions: str = ""


@dataclass(frozen=True)
class Turn:
    """A question and its answer, as they counted."""

    question: str
    answer: str
    standalone_question: str = ""
    create_time: datetime = EPOCH
    sources: tuple[str, ...] = ()
    """Names of the chunks it stems from; see redacting.py."""


@dataclass(frozen=True)
class Summary:
    """What a conversation has been about, in the model's words. `turn_count` turns have gone into it, which stem from `sources`."""

    text: str = ""
    tokens: int = 0
    turn_count: int = 0
    sources: tuple[str, ...] = ()


class MemoryState(Enum):
    """State of the memory of earlier turns."""

    EMPTY = "empty"
    RECALLED = "recalled"
    DEGRADED = "degraded"
    REDACTED = "redacted"


@dataclass(frozen=True)
class Recollection:
    """What is remembered of earlier turns. `turns` are the latest ones, oldest first; `turn_count` counts all there were."""

    summary: Summary = Summary()
    turns: tuple[Turn, ...] = ()
    turn_count: int = 0
    state: MemoryState = MemoryState.EMPTY


@dataclass(frozen=True)
class Conversation:
    """A conversation as it is kept. `id` is the last part of its name."""

    id: str
    summary: Summary
    turns: tuple[Turn, ...]
    turn_count: int
    create_time: datetime
    update_time: datetime
    expire_time: datetime


@dataclass(frozen=True)
class ConversationBudget:
    """How full a conversation is."""

    turn_count: int
    max_turns: int
    summary_tokens: int
    max_summary_tokens: int

    @property
    def exhausted(self) -> bool:
        """True when a new conversation is advised."""
        return self.turn_count >= self.max_turns


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    text: str


ADAPTER_VERSION = re.compile(r"adapters/([a-z][a-z0-9-]{0,39})/versions/([A-Za-z0-9][A-Za-z0-9_-]{0,63})")
"""Name of a version of an adapter."""


@dataclass(frozen=True)
class Adapter:
    """A version of an adapter, `adapters/{adapter}/versions/{version}`. `digest` is over its files, `job` the one that trained it."""

    name: str
    digest: str
    job: str = ""
    traceparent: str = field(default="", compare=False)
    """The span of the run that trained it, in W3C's form; empty: not known."""


BASE = Adapter("", "")
"""Stands for the base model alone."""
BASE_NAME = "base"
"""What a request calls it."""


@dataclass(frozen=True)
class TextScore:
    """How likely a model finds a text: the sum over its tokens, the one that ends it included, of the natural logarithms."""

    token_count: int
    log_likelihood: float


@dataclass(frozen=True)
class EngineTimes:
    """When an engine took a text up, began to compute it, and had its first and its latest token: nanoseconds since 1970."""

    queued: int
    scheduled: int
    first_token: int
    last_token: int


@dataclass(frozen=True)
class TextChunk:
    """The next piece of a text, with counts so far. `finish_reason` is set on the last one only; `times` where the engine tells."""

    text: str
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: FinishReason | None = None
    times: EngineTimes | None = None


@dataclass(frozen=True)
class Span:
    """Part of a text: byte offsets in UTF-8, `end` after the last byte."""

    start: int
    end: int


@dataclass(frozen=True)
class Citation:
    """Where sentences of an answer are written. `number` is the passage's number, from 1; `support` 0…1 the least over its sentences."""

    number: int
    uri: str
    title: str
    heading_path: tuple[str, ...]
    quote: str
    passage: str
    spans: tuple[Span, ...]
    from_model: bool
    support: float


class RefusalReason(Enum):
    """Why an answer is "I do not know."."""

    NO_PASSAGES = "no_passages"
    WEAK_EVIDENCE = "weak_evidence"
    MODEL_DECLINED = "model_declined"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Answer:
    """The answer as it counts. `refusal_reason` is None exactly when it is an answer."""

    id: str
    text: str
    citations: tuple[Citation, ...] = ()
    refusal_reason: RefusalReason | None = None

    @property
    def refused(self) -> bool:
        """Whether the answer is "I do not know."."""
        return self.refusal_reason is not None


class FinishReason(Enum):
    """Why a text ended."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"


@dataclass(frozen=True)
class GenerationOptions:
    """How a text is generated. Temperature 0 takes the most likely token each time."""

    max_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Usage:
    """What an answer cost: tokens, and seconds."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    recall_seconds: float = 0.0
    retrieval_seconds: float = 0.0
    first_token_seconds: float = 0.0
    generation_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True)
class UsageTotal:
    """What one kind of text has cost in all. `purpose` is `answer`, `completion` or `summary`; seconds are each text's own."""

    purpose: str
    adapted: bool
    count: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    retrieval_seconds: float = 0.0
    engine_seconds: float = 0.0


@dataclass(frozen=True)
class UsageTotals:
    """What all texts have cost since counting began; None: nothing has been counted yet."""

    totals: tuple[UsageTotal, ...] = ()
    since: datetime | None = None


@dataclass(frozen=True)
class AnswerRecord:
    """An answer with what feedback on it needs. `passages` are the chunks the model saw, `sources` all it stems from."""

    answer: Answer
    question: str
    standalone_question: str
    passages: tuple[str, ...]
    corpus: str
    adapter: str
    trace_id: str
    sources: tuple[str, ...] = ()
    traceparent: str = ""
    """The span of the call that it answers, in W3C's form; empty: not known."""


class Rating(Enum):
    """Whether an answer helped."""

    UNSPECIFIED = "unspecified"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Feedback:
    """What a person thought of an answer."""

    answer_id: str
    rating: Rating
    corrected_text: str
    comment: str
    create_time: datetime


@dataclass(frozen=True)
class Stem:
    """A chunk that something kept for a tenant stems from."""

    tenant: str
    chunk: str


@dataclass(frozen=True)
class Traces:
    """How much that is kept stems from something, place by place."""

    turns: int = 0
    summaries: int = 0
    answers: int = 0
    feedback: int = 0

    def __add__(self, other: Traces) -> Traces:
        return Traces(
            self.turns + other.turns, self.summaries + other.summaries, self.answers + other.answers, self.feedback + other.feedback
        )

    @property
    def total(self) -> int:
        """All of it."""
        return self.turns + self.summaries + self.answers + self.feedback


class ContextTooLong(InvalidArgument):
    """The prompt and the longest answer do not fit into the model's context."""

    reason = "CONTEXT_TOO_LONG"

    def __init__(self, prompt_tokens: int, max_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and the answer may have {max_tokens}; together at most {context_tokens} fit.",
            prompt_tokens=prompt_tokens,
            max_tokens=max_tokens,
            context_tokens=context_tokens,
        )


class SummaryTokenInvalid(InvalidArgument):
    """A summary token that was not made by this deployment, or was changed on its way."""

    reason = "SUMMARY_TOKEN_INVALID"


class SummaryTokenExpired(InvalidArgument):
    """A summary token whose time is over."""

    reason = "SUMMARY_TOKEN_EXPIRED"


class ConversationNotFound(NotFound):
    """There is no such conversation, or it has expired."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation_id: str) -> None:
        name = f"conversations/{conversation_id}"
        super().__init__(f"There is no conversation `{name}`, or it has expired.", conversation=name)


class AnswerNotFound(NotFound):
    """There is no such answer, or it has expired."""

    reason = "ANSWER_NOT_FOUND"

    def __init__(self, answer_id: str) -> None:
        name = f"answers/{answer_id}"
        super().__init__(f"There is no answer `{name}`, or it has expired.", answer=name)


class AdapterNotFound(NotFound):
    """There is no such version of an adapter on the shelf."""

    reason = "ADAPTER_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no adapter version `{name}`.", adapter=name)


class AdapterRefused(FailedPrecondition):
    """The files of a version are not what they should be, or this deployment cannot serve it."""

    reason = "ADAPTER_REFUSED"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The adapter version `{name}` is refused: {why}.", adapter=name)


class AdaptersOff(FailedPrecondition):
    """This deployment serves the base model only."""

    reason = "ADAPTERS_OFF"

    def __init__(self) -> None:
        super().__init__("This deployment serves no adapters: its `adapters.shelf_url` is not set.")


class QueueFull(ResourceExhausted):
    """Too many texts are being generated. Nothing was done."""

    reason = "QUEUE_FULL"


class MemoryUnavailable(Unavailable):
    """The conversation store cannot be reached."""

    reason = "MEMORY_UNAVAILABLE"


class EngineUnavailable(Unavailable):
    """The engine cannot be reached."""

    reason = "ENGINE_UNAVAILABLE"


class ShelfUnavailable(Unavailable):
    """The shared storage with the adapters cannot be reached."""

    reason = "SHELF_UNAVAILABLE"
