"""Reranking: a cross-encoder reads the query together with each text and says how relevant the text is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from services.chassis.errors import InvalidArgument
from services.chassis.steps import detail
from services.embedder.batcher import Batcher
from services.embedder.domain import ModelCard, Ranked, TextTooLong
from services.embedder.embedding import PROVIDER
from services.embedder.ports import Tokenizer

_BESIDE_QUERY = 5
"""Tokens that must be left beside a query: at most four special ones (RoBERTa's `<s> query </s></s> text </s>`), and one of the text."""


class Reranker:
    """Orders texts with one model, described by `card`."""

    def __init__(self, card: ModelCard, tokenizer: Tokenizer, batcher: Batcher) -> None:
        self.card = card
        self._tokenizer = tokenizer
        self._batcher = batcher

    async def rerank(self, query: str, texts: Sequence[str], limit: int, *, truncate: bool) -> list[Ranked]:
        """The best `limit` texts (all for 0), best first; equals in the order given. Raises `TextTooLong` unless `truncate`."""
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "rerank",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": self.card.display_name,
            "corella.embedder.texts": len(texts),
        }
        with detail(f"rerank {self.card.display_name}", attributes):
            self._batcher.check_room()
            (length,) = await asyncio.to_thread(self._tokenizer.count, [query])
            if length + _BESIDE_QUERY > self.card.max_tokens:
                most = self.card.max_tokens - _BESIDE_QUERY
                raise InvalidArgument.of([("query", f"has {length} tokens, at most {most} leave room for a text")], reason="TEXT_TOO_LONG")
            pairs = await asyncio.to_thread(self._tokenizer.tokenize_pairs, query, texts)
            if not truncate and (error := TextTooLong.among("texts", pairs, self.card.max_tokens)):
                raise error
            logits = await self._batcher.compute(pairs, urgent=True)
            ranked = [
                Ranked(index, _sigmoid(float(logit[0])), pair.truncated)
                for index, (logit, pair) in enumerate(zip(logits, pairs, strict=True))
            ]
            ranked.sort(key=lambda one: -one.score)
            return ranked[: limit or None]


def _sigmoid(logit: float) -> float:
    # Written so that no exponential overflows.
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
