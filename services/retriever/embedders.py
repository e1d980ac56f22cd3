"""Which embedder answers for an index: the one that serves now, or one of a former model that some index still needs.

Each is asked for its model when there is first a choice to make. One that is away matters only to the indexes that need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import numpy as np

from services.chassis.errors import CorellaError
from services.retriever.domain import Model, Vector


class ModelEmbedder(Protocol):
    """An embedder of one model. Implemented by remote_embedder.py."""

    async def model(self) -> Model:
        """The model that serves now."""

    async def embed_query(self, text: str) -> tuple[Vector, str]:
        """The vector of a question, and the model's fingerprint."""

    async def embed_documents(self, texts: Sequence[str]) -> tuple[np.ndarray, str]:
        """Vectors of texts, and the model's fingerprint."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text."""


class Embedders:
    """An embedder for every model there is. `fingerprint` names the model wanted; empty is the one that new indexes get.

    Whoever asks for a model that none of them has gets the vectors of the present one, with its fingerprint: the caller compares.
    """

    def __init__(self, present: ModelEmbedder, former: Sequence[ModelEmbedder] = ()) -> None:
        self._all = [present, *former]
        self._known: dict[str, ModelEmbedder] = {}

    async def model(self) -> Model:
        """The model that new indexes get."""
        return await self._all[0].model()

    async def embed_query(self, text: str, fingerprint: str = "") -> tuple[Vector, str]:
        """The vector of a question, and the fingerprint of the model it is of."""
        return await self._asked(fingerprint, lambda embedder: embedder.embed_query(text))

    async def embed_documents(self, texts: Sequence[str], fingerprint: str = "") -> tuple[np.ndarray, str]:
        """Vectors of texts, float32 of shape (texts, dimensions), and the fingerprint of the model they are of."""
        return await self._asked(fingerprint, lambda embedder: embedder.embed_documents(texts))

    def counter(self, loop: asyncio.AbstractEventLoop, fingerprint: str = "") -> Callable[[Sequence[str]], Sequence[int]]:
        """Tokens of texts, special ones not included, for code that runs in a thread beside the loop."""

        async def count(texts: Sequence[str]) -> list[int]:
            return await (await self._of(fingerprint)).count_tokens(texts)

        return lambda texts: asyncio.run_coroutine_threadsafe(count(texts), loop).result()

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text in 0…1, in the order given, by the present embedder."""
        return await self._all[0].rerank(query, texts)

    async def _asked(self, fingerprint: str, ask: Callable[[ModelEmbedder], Awaitable[tuple[np.ndarray, str]]]) -> tuple[np.ndarray, str]:
        answer, found = await ask(await self._of(fingerprint))
        if fingerprint and found != fingerprint and len(self._all) > 1:
            # An embedder was restarted with another model.
            self._known.clear()
            answer, found = await ask(await self._of(fingerprint))
        return answer, found

    async def _of(self, fingerprint: str) -> ModelEmbedder:
        """The embedder of a model; the present one when none is of it. Raises why one that may be of it could not be asked."""
        if not fingerprint or len(self._all) == 1:
            return self._all[0]
        away: CorellaError | None = None
        for embedder in self._all if fingerprint not in self._known else ():
            if embedder in self._known.values():
                continue
            try:
                self._known.setdefault((await embedder.model()).fingerprint, embedder)
            except CorellaError as error:
                away = away or error
            if fingerprint in self._known:
                break
        if fingerprint not in self._known and away is not None:
            raise away
        return self._known.get(fingerprint, self._all[0])
