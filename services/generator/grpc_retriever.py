"""The retriever, over gRPC."""

from __future__ import annotations

from corella.v1 import retriever_pb2 as pb
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub
from services.chassis.channel import Remote
from services.generator.domain import Evidence, Passage, Provenance
from services.generator.events import Retrieval
from services.generator.ports import SearchResult

_MAX_QUERY_CHARACTERS = 4000


class GrpcRetriever:
    """Finds passages by `RetrieverService.Search`."""

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
