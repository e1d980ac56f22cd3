"""What the embedder needs from a model library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.embedder.domain import TokenizedText, Vectors


class Tokenizer(Protocol):
    """Text to token ids. Methods may be called from several threads at once."""

    @property
    def max_tokens(self) -> int:
        """Longest input the model takes, special tokens included."""
        ...

    def tokenize(self, texts: Sequence[str], *, prompt: str = "") -> list[TokenizedText]:
        """Each text after the prompt, cut to `max_tokens` where it is longer."""
        ...

    def tokenize_pairs(self, query: str, texts: Sequence[str]) -> list[TokenizedText]:
        """The query with each text; where the two are too long together, the text is cut."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        ...


class Encoder(Protocol):
    """Token ids to numbers. Blocking, and called from one thread only."""

    def encode(self, batch: Sequence[TokenizedText]) -> Vectors:
        """float32, shape (texts, outputs): vectors for an embedding model, one logit each for a reranking model.

        Raises `DeviceLost` when only a new process can help; anything else concerns this batch.
        """
        ...
