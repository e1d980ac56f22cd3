"""The retriever, over gRPC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

from corella.v1 import retriever_pb2 as pb
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub
from services.chassis.channel import Remote
from services.chassis.errors import NotFound
from services.generator.domain import Evidence, Passage, Provenance
from services.generator.events import Retrieval
from services.generator.ports import SearchResult

_MAX_QUERY_CHARACTERS = 4000
_MAX_NAMES = 1000
_DOCUMENTS_AT_ONCE = 8
_CHUNK = re.compile(r"(corpora/[^/]+)/documents/[^/]+/chunks/[^/]+")


class GrpcRetriever:
    """Finds passages by `RetrieverService.Search`, and asks by `BatchGetChunks` whether they may still be read."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = RetrieverServiceStub(remote.channel)

    async def search(self, corpus: str, query: str, retrieval: Retrieval) -> SearchResult:
        request = pb.SearchRequest(
            corpus=corpus,
            # A question at the limit grows beyond it when it is made to stand alone; what it was given comes last.
            query=query[:_MAX_QUERY_CHARACTERS],
            limit=retrieval.passage_limit,
            mode=f"SEARCH_MODE_{retrieval.mode.upper()}",
            fusion=f"FUSION_{retrieval.fusion.upper()}",
            filter=[pb.MetadataCondition(key=each.key, any_of=each.any_of, negate=each.negate) for each in retrieval.filter],
        )
        response = await self._remote.call(self._stub.Search, request)
        evidence = response.evidence
        return SearchResult(
            passages=tuple(_passage(each) for each in response.passages[: retrieval.passage_limit]),
            evidence=Evidence(
                top_vector_score=evidence.top_vector_score if evidence.HasField("top_vector_score") else None,
                top_term_coverage=evidence.top_term_coverage,
                overlap_count=evidence.overlap_count,
            ),
        )

    async def readable(self, chunks: Collection[str]) -> frozenset[str]:
        """Those of the chunks that are there for the caller. One call for each corpus and thousand names, at the same time."""
        by_corpus: dict[str, list[str]] = {}
        for name in chunks:
            match = _CHUNK.fullmatch(name)
            if match:
                by_corpus.setdefault(match[1], []).append(name)
        batches = [
            (corpus, names[start : start + _MAX_NAMES]) for corpus, names in by_corpus.items() for start in range(0, len(names), _MAX_NAMES)
        ]
        found = await asyncio.gather(*(self._readable(corpus, names) for corpus, names in batches))
        return frozenset(name for each in found for name in each)

    async def closed(self, documents: Collection[str]) -> frozenset[str]:
        """Those of the documents that are there and that nobody may read. One call for each, some at the same time."""
        free = asyncio.Semaphore(_DOCUMENTS_AT_ONCE)

        async def is_closed(name: str) -> bool:
            async with free:
                try:
                    found = (await self._remote.call(self._stub.GetDocument, pb.GetDocumentRequest(name=name))).document
                except NotFound:
                    return False
            return found.access.level == pb.ACCESS_LEVEL_NOBODY

        names = sorted(documents)
        return frozenset(name for name, closed in zip(names, await asyncio.gather(*map(is_closed, names)), strict=True) if closed)

    async def _readable(self, corpus: str, names: list[str]) -> list[str]:
        try:
            response = await self._remote.call(self._stub.BatchGetChunks, pb.BatchGetChunksRequest(parent=corpus, names=names))
        except NotFound as error:
            if error.reason != "CORPUS_NOT_FOUND":
                raise
            return []
        return [each.name for each in response.chunks]


def _passage(message: pb.Passage) -> Passage:
    origin = message.provenance

    def given(field: str) -> float | None:
        return getattr(origin, field) if origin.HasField(field) else None

    return Passage(
        name=message.name,
        document=message.document,
        title=message.title,
        uri=message.uri,
        heading_path=tuple(message.heading_path),
        text=message.text,
        score=message.score,
        metadata=dict(message.metadata),
        index=message.index,
        provenance=Provenance(
            keyword_rank=origin.keyword_rank if origin.HasField("keyword_rank") else None,
            keyword_score=given("keyword_score"),
            vector_rank=origin.vector_rank if origin.HasField("vector_rank") else None,
            vector_score=given("vector_score"),
            fused_score=origin.fused_score,
            rerank_score=given("rerank_score"),
            embedded_now=origin.embedded_now,
        ),
    )
