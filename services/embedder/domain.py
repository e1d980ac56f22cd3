"""What the embedder works with, and its own errors.

InvalidArgument
└── TextTooLong          texts longer than the model takes, each named
ResourceExhausted
└── QueueFull            too many tokens are waiting
FailedPrecondition
└── RerankerNotConfigured
Unavailable
└── ModelUnavailable     the device is lost and the process is ending
CorellaError
└── TextNotComputable    the model fails on this very text

`ModelRefused` ends the start-up; `DeviceLost` ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorellaError, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable

Vectors = NDArray[np.float32]


class InputType(Enum):
    """What a text is for; models may have an instruction for each."""

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True)
class TokenizedText:
    """One text as the model takes it."""

    ids: Sequence[int]
    """Token ids, special tokens included."""
    type_ids: Sequence[int] | None = None
    """Segment of each token, for pairs of texts; None: all 0."""
    full_count: int = 0
    """How many tokens the whole text has; more than `ids` when its end was left out."""

    @property
    def truncated(self) -> bool:
        """Whether the end of the text was left out."""
        return self.full_count > len(self.ids)


@dataclass(frozen=True)
class Embedding:
    """One text's vector."""

    values: Vectors
    """float32, shape (dimensions,)."""
    token_count: int
    truncated: bool


@dataclass(frozen=True)
class Ranked:
    """One reranked text: its position in the request and its relevance in 0…1."""

    index: int
    score: float
    truncated: bool


@dataclass(frozen=True)
class ModelCard:
    """What a client needs to know of a model."""

    display_name: str
    fingerprint: str
    dimensions: int
    max_tokens: int
    normalized: bool
    device: str
    dtype: str


class ModelRefused(Exception):
    """A model folder cannot be served; the text says why and what to do."""


class DeviceLost(Exception):
    """The GPU no longer computes; only a new process gets it back."""


class TextTooLong(InvalidArgument):
    """Texts that have more tokens than the model takes."""

    reason = "TEXT_TOO_LONG"

    @classmethod
    def among(cls, field: str, texts: Sequence[TokenizedText], max_tokens: int) -> TextTooLong | None:
        """The error that names each text whose end had to be left out, or None when there is none."""
        violations = [
            (f"{field}[{index}]", f"has {text.full_count} tokens, the model takes {max_tokens}")
            for index, text in enumerate(texts)
            if text.truncated
        ]
        if not violations:
            return None
        listed = "; ".join(f"{name} {what}" for name, what in violations[:5])
        more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
        return cls(f"Too long: {listed}{more}.", violations=violations, max_tokens=max_tokens)


class QueueFull(ResourceExhausted):
    """Too many tokens are waiting. Nothing was done."""

    reason = "QUEUE_FULL"


class RerankerNotConfigured(FailedPrecondition):
    """This server has no reranking model."""

    reason = "RERANKER_NOT_CONFIGURED"


class ModelUnavailable(Unavailable):
    """The model no longer computes; the process is ending and another will take over."""

    reason = "MODEL_UNAVAILABLE"


class TextNotComputable(CorellaError):
    """The model fails on a text, or gives no finite numbers for it. Other callers' texts are not affected."""

    reason = "TEXT_NOT_COMPUTABLE"
