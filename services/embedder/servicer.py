"""Protobuf to domain and back. Decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Sequence

import grpc

from corella.v1 import embedder_pb2 as pb
from corella.v1 import embedder_pb2_grpc
from services.chassis.errors import InvalidArgument, Violation
from services.embedder.domain import Embedding, InputType, RerankerNotConfigured
from services.embedder.embedding import Embedder
from services.embedder.reranking import Reranker

MAX_TEXTS = 2_048
MAX_RERANKED = 1_000
MAX_COUNTED = 10_000

_INPUT_TYPES = {
    pb.INPUT_TYPE_UNSPECIFIED: InputType.DOCUMENT,
    pb.INPUT_TYPE_DOCUMENT: InputType.DOCUMENT,
    pb.INPUT_TYPE_QUERY: InputType.QUERY,
}
_TRUNCATES = {pb.TRUNCATION_UNSPECIFIED: False, pb.TRUNCATION_ERROR: False, pb.TRUNCATION_TRUNCATE: True}


class EmbedderServicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """Implements `corella.v1.EmbedderService`."""

    def __init__(self, embedder: Embedder, reranker: Reranker | None) -> None:
        self._embedder = embedder
        self._reranker = reranker

    async def Embed(self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext) -> pb.EmbedResponse:
        texts, kind, truncate = _checked(request)
        embeddings = await self._embedder.embed(texts, kind, truncate=truncate)
        return pb.EmbedResponse(embeddings=_messages(embeddings), model_fingerprint=self._embedder.card.fingerprint)

    async def EmbedStream(
        self, request_iterator: AsyncIterator[pb.EmbedStreamRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        async for embeddings in self._embedder.embed_stream(_checked(request) async for request in request_iterator):
            yield pb.EmbedStreamResponse(embeddings=_messages(embeddings), model_fingerprint=self._embedder.card.fingerprint)

    async def Rerank(self, request: pb.RerankRequest, context: grpc.aio.ServicerContext) -> pb.RerankResponse:
        if self._reranker is None:
            raise RerankerNotConfigured("This server has no reranking model.")
        violations = [*_texts_violations(request.texts, MAX_RERANKED), *_enum_violations(request, "truncation", _TRUNCATES)]
        if not request.query.strip():
            violations.append(("query", "is empty"))
        if request.limit < 0:
            violations.append(("limit", "must not be negative"))
        _refuse(violations)
        ranked = await self._reranker.rerank(request.query, request.texts, request.limit, truncate=_TRUNCATES[request.truncation])
        results = [pb.RerankResult(index=one.index, score=one.score, truncated=one.truncated) for one in ranked]
        return pb.RerankResponse(results=results, model_fingerprint=self._reranker.card.fingerprint)

    async def CountTokens(self, request: pb.CountTokensRequest, context: grpc.aio.ServicerContext) -> pb.CountTokensResponse:
        _refuse(_size_violations(request.texts, MAX_COUNTED))
        counts = await self._embedder.count_tokens(request.texts)
        return pb.CountTokensResponse(counts=counts, model_fingerprint=self._embedder.card.fingerprint)

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.GetModelResponse:
        card = self._embedder.card
        model = pb.EmbeddingModel(
            display_name=card.display_name,
            dimensions=card.dimensions,
            max_tokens=card.max_tokens,
            fingerprint=card.fingerprint,
            normalized=card.normalized,
            device=card.device,
            dtype=card.dtype,
            reranker_display_name=self._reranker.card.display_name if self._reranker else "",
        )
        return pb.GetModelResponse(model=model)


def _checked(request: pb.EmbedRequest | pb.EmbedStreamRequest) -> tuple[Sequence[str], InputType, bool]:
    violations = [
        *_texts_violations(request.texts, MAX_TEXTS),
        *_enum_violations(request, "input_type", _INPUT_TYPES),
        *_enum_violations(request, "truncation", _TRUNCATES),
    ]
    _refuse(violations)
    return request.texts, _INPUT_TYPES[request.input_type], _TRUNCATES[request.truncation]


def _size_violations(texts: Sequence[str], most: int) -> list[Violation]:
    return [] if 1 <= len(texts) <= most else [("texts", f"must hold 1 to {most} texts, not {len(texts)}")]


def _texts_violations(texts: Sequence[str], most: int) -> list[Violation]:
    empty = [(f"texts[{index}]", "is empty") for index, text in enumerate(texts) if not text.strip()]
    return _size_violations(texts, most) + empty


def _enum_violations(request: object, field: str, known: Container[object]) -> list[Violation]:
    value = getattr(request, field)
    return [] if value in known else [(field, f"{value} is not a value of this enumeration")]


def _refuse(violations: list[Violation]) -> None:
    if violations:
        raise InvalidArgument.of(violations)


def _messages(embeddings: Sequence[Embedding]) -> list[pb.Embedding]:
    return [
        pb.Embedding(values=one.values.tolist(), token_count=one.token_count, truncated=one.truncated) for one in embeddings
    ]  # fmt: skip
