"""What the retriever answers, as messages of `corella.v1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf import duration_pb2

from corella.v1 import retriever_pb2
from services.chassis.operations_messages import timestamp
from services.retriever.access import Access
from services.retriever.domain import Chunk, Corpus, CorpusCounts, Document, Found, Index, Metric, Passage
from services.retriever.names import chunk_name, document_name
from services.retriever.source_domain import source_name
from services.retriever.tenancy import shown

_METRICS = {
    Metric.COSINE: retriever_pb2.METRIC_COSINE,
    Metric.INNER_PRODUCT: retriever_pb2.METRIC_INNER_PRODUCT,
    Metric.L2: retriever_pb2.METRIC_L2,
}


def corpus_message(corpus: Corpus, counts: CorpusCounts, indexes: Sequence[Index] = ()) -> retriever_pb2.Corpus:
    """A corpus, where they were asked for with its indexes."""
    return retriever_pb2.Corpus(
        name=corpus.name,
        display_name=corpus.display_name,
        chunking=_chunking(corpus),
        metric=_METRICS[corpus.metric],
        embedding_mode=f"EMBEDDING_MODE_{corpus.mode.value}",
        embedding_model_fingerprint=corpus.fingerprint,
        document_count=counts.documents,
        chunk_count=counts.chunks,
        embedded_chunk_count=counts.embedded_chunks,
        create_time=timestamp(corpus.create_time),
        default_access=f"ACCESS_LEVEL_{corpus.default_access.level.value}",
        indexes=[_index(index) for index in indexes],
    )


def _chunking(corpus: Corpus) -> retriever_pb2.Chunking:
    return retriever_pb2.Chunking(max_tokens=corpus.max_tokens, overlap_tokens=corpus.overlap_tokens or -1)


def _index(index: Index) -> retriever_pb2.Index:
    return retriever_pb2.Index(
        state=f"INDEX_STATE_{index.state.value}",
        embedding_model_fingerprint=index.corpus.fingerprint,
        chunking=_chunking(index.corpus),
        embedding_mode=f"EMBEDDING_MODE_{index.corpus.mode.value}",
        chunk_count=index.chunks,
        embedded_chunk_count=index.embedded_chunks,
        pending_document_count=index.pending_documents,
        create_time=timestamp(index.corpus.index_time or index.corpus.create_time),
    )


def access_message(access: Access) -> retriever_pb2.Access:
    """Who may read a document."""
    return retriever_pb2.Access(level=f"ACCESS_LEVEL_{access.level.value}", users=sorted(access.users), groups=sorted(access.groups))


def document_message(document: Document, content: bytes = b"") -> retriever_pb2.Document:
    """A document."""
    message = retriever_pb2.Document(
        name=document_name(document.corpus, document.id),
        uri=document.version.uri,
        title=document.title,
        mime_type=document.version.mime_type,
        metadata=document.version.metadata,
        content_sha256=document.version.sha256,
        size_bytes=document.version.size,
        state=f"DOCUMENT_STATE_{document.state.value}",
        chunk_count=document.chunk_count,
        embedded_chunk_count=document.embedded_chunk_count,
        create_time=timestamp(document.create_time),
        update_time=timestamp(document.update_time),
        access=access_message(document.access),
        source=source_name(shown(document.corpus), document.source) if document.source else "",
        content=content,
    )
    if document.error:
        message.error.ParseFromString(document.error)
    return message


def search_message(found: Found) -> retriever_pb2.SearchResponse:
    """The answer to a search."""
    evidence = retriever_pb2.SearchEvidence(top_term_coverage=found.evidence.top_term_coverage, overlap_count=found.evidence.overlap_count)
    if found.evidence.top_vector_score is not None:
        evidence.top_vector_score = found.evidence.top_vector_score
    return retriever_pb2.SearchResponse(
        passages=[_passage(found.corpus, passage) for passage in found.passages],
        mode=f"SEARCH_MODE_{found.mode.value}",
        fusion=f"FUSION_{found.fusion.value}" if found.fusion else "FUSION_UNSPECIFIED",
        timings=_timings(found.seconds),
        embedding_model_fingerprint=found.corpus.fingerprint,
        evidence=evidence,
    )


def uri_with_anchor(uri: str, anchor: str) -> str:
    """Where a section can be read. The document's own fragment, if it has one, stands for sections without an anchor.

    An anchor that begins with `?` is a query: some pages are opened at a part of theirs by one.
    """
    if anchor.startswith("?"):
        return uri.partition("#")[0] + anchor
    return f"{uri.partition('#')[0]}#{anchor}" if anchor else uri


def chunk_message(corpus_id: str, chunk: Chunk) -> retriever_pb2.Passage:
    """A chunk as a passage without scores."""
    return retriever_pb2.Passage(
        name=chunk_name(corpus_id, chunk.document_id, chunk.id),
        document=document_name(corpus_id, chunk.document_id),
        title=chunk.title,
        uri=uri_with_anchor(chunk.uri, chunk.anchor),
        heading_path=chunk.heading_path,
        text=chunk.text,
        metadata=chunk.metadata,
        index=chunk.index,
    )


def _passage(corpus: Corpus, passage: Passage) -> retriever_pb2.Passage:
    provenance = retriever_pb2.Provenance(fused_score=passage.fused_score, embedded_now=passage.embedded_now)
    for field in ("keyword_rank", "keyword_score", "vector_rank", "vector_score", "rerank_score"):
        value = getattr(passage, field)
        if value is not None:
            setattr(provenance, field, value)
    message = chunk_message(corpus.id, passage.chunk)
    message.score = passage.score
    message.provenance.CopyFrom(provenance)
    return message


def _timings(seconds: Mapping[str, float]) -> retriever_pb2.SearchTimings:
    def duration(name: str) -> duration_pb2.Duration | None:
        if name not in seconds:
            return None
        made = duration_pb2.Duration()
        made.FromNanoseconds(int(seconds[name] * 1e9))
        return made

    return retriever_pb2.SearchTimings(
        keyword=duration("keyword"),
        embed_query=duration("embed_query"),
        embed_hits=duration("embed_hits"),
        vector=duration("vector"),
        rerank=duration("rerank"),
        total=duration("total"),
    )
