"""How an index is to be made: the chunking a model allows, and what a new index of a corpus would be. Pure."""

from __future__ import annotations

import time
from dataclasses import replace

from services.chassis.errors import InvalidArgument
from services.retriever.documents import MADE_BY
from services.retriever.domain import Corpus, IndexWish, Model
from services.retriever.milvus_schema import collection_of
from services.retriever.names import fresh_id

DEFAULT_MAX_TOKENS = 200
DEFAULT_OVERLAP_TOKENS = 32
MIN_MAX_TOKENS = 32
SPECIAL_TOKENS = 2
"""What encoders put around a text, such as [CLS] and [SEP]."""


def chunking(model: Model, max_tokens: int, overlap_tokens: int, field: str) -> tuple[int, int]:
    """Largest chunk and overlap in tokens, from what was asked for: 0 is the default, an overlap of -1 none.

    `field` names the message they came in. Raises `InvalidArgument`.
    """
    largest = model.max_tokens - SPECIAL_TOKENS
    max_tokens = max_tokens or min(DEFAULT_MAX_TOKENS, largest)
    if not MIN_MAX_TOKENS <= max_tokens <= largest:
        text = f"must be {MIN_MAX_TOKENS} to {largest}: the embedding model takes {model.max_tokens} tokens with its special ones"
        raise InvalidArgument.of([(f"{field}.max_tokens", text)])
    overlap_tokens = min(DEFAULT_OVERLAP_TOKENS, max_tokens // 2) if overlap_tokens == 0 else max(0, overlap_tokens)
    if overlap_tokens > max_tokens // 2:
        raise InvalidArgument.of([(f"{field}.overlap_tokens", f"must be at most half of max_tokens ({max_tokens})")])
    return max_tokens, overlap_tokens


def planned(corpus: Corpus, model: Model, wish: IndexWish) -> Corpus:
    """The corpus with a new index. What is not asked for stays, as far as the model allows. Raises `InvalidArgument`."""
    max_tokens = wish.max_tokens or min(corpus.max_tokens, model.max_tokens - SPECIAL_TOKENS)
    overlap_tokens = wish.overlap_tokens or min(corpus.overlap_tokens, max_tokens // 2) or -1
    max_tokens, overlap_tokens = chunking(model, max_tokens, overlap_tokens, "chunking")
    return replace(
        corpus,
        max_tokens=max_tokens,
        overlap_tokens=overlap_tokens,
        mode=wish.mode or corpus.mode,
        fingerprint=model.fingerprint,
        dimensions=model.dimensions,
        collection=collection_of(corpus.id, model.fingerprint, fresh_id()),
        made_by=MADE_BY,
        index_time=time.time(),
    )


def alike(one: Corpus, other: Corpus) -> bool:
    """Whether two indexes of a corpus are made in the same way: they give the same chunks and vectors for the same documents."""
    return all(getattr(one, name) == getattr(other, name) for name in ("fingerprint", "max_tokens", "overlap_tokens", "mode", "made_by"))
