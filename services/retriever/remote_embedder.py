"""The embedder service, as the retriever needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.channel import Remote
from services.chassis.errors import ResourceExhausted
from services.retriever.domain import Model, Vector

COUNT_AT_ONCE = 4_000
_ATTEMPTS_WHEN_FULL = 8


class RemoteEmbedder:
    """Calls `corella.v1.EmbedderService`. Every vector comes with the fingerprint of the model that made it."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub: Any = embedder_pb2_grpc.EmbedderServiceStub(remote.channel)

    async def model(self) -> Model:
        """The model that serves now."""
        response = await self._remote.call(self._stub.GetModel, embedder_pb2.GetModelRequest())
        return Model(response.model.fingerprint, response.model.dimensions, response.model.max_tokens)

    async def embed_query(self, text: str) -> tuple[Vector, str]:
        """The vector of a question, and the model's fingerprint. The end of a question longer than the model takes is left out."""
        vectors, fingerprint = await self._embed([text], embedder_pb2.INPUT_TYPE_QUERY)
        return vectors[0], fingerprint

    async def embed_documents(self, texts: Sequence[str]) -> tuple[np.ndarray, str]:
        """Vectors of texts, float32 of shape (texts, dimensions), and the model's fingerprint. Waits while the embedder is full."""
        for attempt in range(_ATTEMPTS_WHEN_FULL):
            try:
                return await self._embed(texts, embedder_pb2.INPUT_TYPE_DOCUMENT)
            except ResourceExhausted as error:
                if attempt == _ATTEMPTS_WHEN_FULL - 1:
                    raise
                await asyncio.sleep((error.retry_after_seconds or 1.0) * (1 + 0.5 * attempt))
        raise AssertionError("unreachable")

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        counts: list[int] = []
        for start in range(0, len(texts), COUNT_AT_ONCE):
            request = embedder_pb2.CountTokensRequest(texts=texts[start : start + COUNT_AT_ONCE])
            response = await self._remote.call(self._stub.CountTokens, request)
            counts.extend(response.counts)
        return counts

    def counter(self, loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[str]], Sequence[int]]:
        """`count_tokens` for code that runs in a thread beside the loop."""
        return lambda texts: asyncio.run_coroutine_threadsafe(self.count_tokens(texts), loop).result()

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text in 0…1, in the order given."""
        response = await self._remote.call(self._stub.Rerank, embedder_pb2.RerankRequest(query=query, texts=texts))
        scores = [0.0] * len(texts)
        for result in response.results:
            scores[result.index] = result.score
        return scores

    async def _embed(self, texts: Sequence[str], input_type: embedder_pb2.InputType) -> tuple[np.ndarray, str]:
        # Chunks fit the model; what a title adds beyond that may be cut, and so may the end of an overlong question.
        request = embedder_pb2.EmbedRequest(texts=texts, input_type=input_type, truncation=embedder_pb2.TRUNCATION_TRUNCATE)
        response = await self._remote.call(self._stub.Embed, request)
        vectors = np.array([embedding.values for embedding in response.embeddings], dtype=np.float32)
        return vectors, response.model_fingerprint
