"""What the retriever speaks of: corpora, documents, chunks, hits; and its own errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from services.chassis.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable

Vector = np.ndarray
"""One vector: float32, shape (dimensions,)."""


class Metric(Enum):
    """How the nearness of vectors is measured; the values are Milvus's names."""

    COSINE = "COSINE"
    INNER_PRODUCT = "IP"
    L2 = "L2"


class EmbeddingMode(Enum):
    """When chunks get their vectors."""

    EAGER = "EAGER"
    LAZY = "LAZY"


class SearchMode(Enum):
    """Which lists a search uses."""

    KEYWORD = "KEYWORD"
    VECTOR = "VECTOR"
    HYBRID = "HYBRID"


class Fusion(Enum):
    """How two lists become one."""

    OVERLAP = "OVERLAP"
    RECIPROCAL_RANK = "RECIPROCAL_RANK"
    WEIGHTED = "WEIGHTED"


class DocumentState(Enum):
    """Where a document stands."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    DELETING = "DELETING"


@dataclass(frozen=True)
class Model:
    """The embedding model that serves now."""

    fingerprint: str
    dimensions: int
    max_tokens: int


@dataclass(frozen=True)
class Corpus:
    """A corpus as it was created. Everything here is kept with its collection, so that searching needs nothing else."""

    id: str
    display_name: str
    max_tokens: int
    overlap_tokens: int
    metric: Metric
    mode: EmbeddingMode
    fingerprint: str
    dimensions: int
    create_time: float
    collection: str
    request_id: str = ""

    @property
    def name(self) -> str:
        """Resource name."""
        return f"corpora/{self.id}"


@dataclass(frozen=True)
class CorpusWish:
    """A corpus to be made. 0 tokens means the default; an overlap of -1 means none."""

    id: str
    display_name: str
    max_tokens: int
    overlap_tokens: int
    metric: Metric
    mode: EmbeddingMode


@dataclass(frozen=True)
class CorpusCounts:
    """How much is in a corpus."""

    documents: int
    chunks: int
    embedded_chunks: int


@dataclass(frozen=True)
class Version:
    """One version of a document as it was handed in. `generation` names it: no two are alike, also not of equal content."""

    uri: str
    title: str
    mime_type: str
    metadata: Mapping[str, str]
    sha256: str
    size: int
    digest: str
    generation: str
    blob: str
    traceparent: str = ""


@dataclass(frozen=True)
class Document:
    """A document as the catalog knows it."""

    corpus: str
    id: str
    state: DocumentState
    version: Version
    title: str
    chunk_count: int
    error: bytes
    create_time: float
    update_time: float
    embedded_chunk_count: int = 0


@dataclass(frozen=True)
class Claimed:
    """A document that a worker has taken in hand."""

    corpus: str
    id: str
    version: Version
    operations: tuple[str, ...]
    losses: int
    retries: int
    untouched: bool
    """Nothing of it can be in the store yet."""


@dataclass(frozen=True)
class Chunk:
    """A chunk as it is stored."""

    id: str
    document_id: str
    generation: str
    uri: str
    anchor: str
    title: str
    heading_path: tuple[str, ...]
    text: str
    index: int
    kind: str
    metadata: Mapping[str, str]
    has_vector: bool = False
    vector: Vector | None = None


@dataclass(frozen=True)
class StoreHit:
    """One hit of one list of the store. `score`: higher is better."""

    id: str
    score: float
    has_vector: bool


@dataclass(frozen=True)
class Condition:
    """A condition on metadata: the key has one of these values (any value when there are none), or, negated, has not."""

    key: str
    any_of: tuple[str, ...]
    negate: bool


@dataclass(frozen=True)
class Query:
    """What to search for, and how."""

    corpus: str
    text: str
    limit: int
    mode: SearchMode
    fusion: Fusion | None
    keyword_limit: int
    vector_limit: int
    conditions: tuple[Condition, ...]
    vector_weight: float | None
    rerank: bool


@dataclass(frozen=True)
class Passage:
    """A chunk that was found, and where the hit came from. Ranks count from 1."""

    chunk: Chunk
    score: float
    fused_score: float
    keyword_rank: int | None = None
    keyword_score: float | None = None
    vector_rank: int | None = None
    vector_score: float | None = None
    rerank_score: float | None = None
    embedded_now: bool = False


@dataclass(frozen=True)
class Evidence:
    """How strong a result is as a whole."""

    top_vector_score: float | None
    top_term_coverage: float
    overlap_count: int


@dataclass(frozen=True)
class Found:
    """The answer to a query."""

    corpus: Corpus
    passages: tuple[Passage, ...]
    mode: SearchMode
    fusion: Fusion | None
    evidence: Evidence
    seconds: Mapping[str, float] = field(default_factory=dict)


class CorpusNotFound(NotFound):
    """There is no such corpus."""

    reason = "CORPUS_NOT_FOUND"

    def __init__(self, corpus_id: str) -> None:
        super().__init__(f"There is no corpus `{corpus_id}`.", corpus=f"corpora/{corpus_id}")


class CorpusExists(AlreadyExists):
    """There is a corpus of that id."""

    reason = "CORPUS_EXISTS"

    def __init__(self, corpus_id: str) -> None:
        super().__init__(f"There is a corpus `{corpus_id}` already.", corpus=f"corpora/{corpus_id}")


class CorpusNotEmpty(FailedPrecondition):
    """The corpus holds documents."""

    reason = "CORPUS_NOT_EMPTY"

    def __init__(self, corpus_id: str, documents: int) -> None:
        super().__init__(
            f"The corpus `{corpus_id}` holds {documents:,} documents; set `force` to delete them with it.",
            corpus=f"corpora/{corpus_id}",
            documents=documents,
        )


class DocumentNotFound(NotFound):
    """There is no such document."""

    reason = "DOCUMENT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no document `{name}`.", document=name)


class ModelMismatch(FailedPrecondition):
    """The corpus was indexed by another embedding model than the one that serves now."""

    reason = "EMBEDDING_MODEL_MISMATCH"

    def __init__(self, corpus: Corpus, serving: str) -> None:
        super().__init__(
            f"The corpus `{corpus.id}` was indexed by embedding model {corpus.fingerprint}, but {serving} serves now. "
            "Search by keyword, serve the former model again, or index the documents anew in another corpus.",
            corpus=corpus.name,
            corpus_fingerprint=corpus.fingerprint,
            serving_fingerprint=serving,
        )


class RequestIdReused(InvalidArgument):
    """A request id that was used with other content."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        text = "was used within the last 24 hours with other content"
        super().__init__(f"The request is not valid: request_id: {text}.", violations=[("request_id", text)], request_id=request_id)


class SourceNotAllowed(PermissionDenied):
    """A directory outside those the deployment allows."""

    reason = "SOURCE_NOT_ALLOWED"


class DocumentFailure(FailedPrecondition):
    """Why a document or an item of an operation failed, where no library's own words say it better."""


class StoreUnavailable(Unavailable):
    """Milvus cannot be reached or is not ready."""

    reason = "MILVUS_UNAVAILABLE"


class CatalogUnavailable(Unavailable):
    """Redis cannot be reached."""

    reason = "REDIS_UNAVAILABLE"


class BlobsUnavailable(Unavailable):
    """The place where documents' bytes lie cannot be reached."""

    reason = "BLOBS_UNAVAILABLE"
