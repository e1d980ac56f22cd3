"""What the retriever speaks of: corpora, documents, chunks, hits; and its own errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from services.chassis.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from services.retriever.access import EVERYONE, NOBODY, NOBODY_ID, Access
from services.retriever.tenancy import shown

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


class IndexState(Enum):
    """Which part an index of a corpus plays."""

    SERVING = "SERVING"
    BUILDING = "BUILDING"
    PREVIOUS = "PREVIOUS"


@dataclass(frozen=True)
class Corpus:
    """A corpus with one of its indexes. Everything here is kept with its collection, so that searching needs nothing else."""

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
    default_access: Access = EVERYONE
    """Who may read new documents that bring no access: EVERYONE or NOBODY."""
    made_by: str = ""
    """Versions of chunker and analysis that the index was begun with."""
    index_time: float = 0.0
    """When the index was begun; 0 for a corpus's first, which is as old as the corpus."""

    @property
    def name(self) -> str:
        """Resource name, as the tenant knows it; `id` is the inner one (see tenancy.py)."""
        return f"corpora/{shown(self.id)}"


@dataclass(frozen=True)
class CorpusWish:
    """A corpus to be made. 0 tokens means the default; an overlap of -1 means none."""

    id: str
    display_name: str
    max_tokens: int
    overlap_tokens: int
    metric: Metric
    mode: EmbeddingMode
    default_access: Access = EVERYONE


@dataclass(frozen=True)
class CorpusCounts:
    """How much is in a corpus."""

    documents: int
    chunks: int
    embedded_chunks: int


@dataclass(frozen=True)
class Index:
    """One index of a corpus, and how much is in it."""

    corpus: Corpus
    state: IndexState
    chunks: int
    embedded_chunks: int
    pending_documents: int
    """Documents whose present version it lacks."""


@dataclass(frozen=True)
class IndexWish:
    """An index to be made. 0 tokens and no mode: as it is; an overlap of -1 means none."""

    max_tokens: int = 0
    overlap_tokens: int = 0
    mode: EmbeddingMode | None = None


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
    access: str = ""
    """Who may read it, as `Access.text`, on its way in. Empty: what the document has, or for a new one the corpus's default. The catalog
    keeps it with the document, not here."""


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
    access: Access = NOBODY
    access_id: int = NOBODY_ID
    source: str = ""
    """Id of the source that keeps it current; empty for one that was handed in."""


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
    access: int = NOBODY_ID
    """Number of who may read it; whoever stores a chunk without saying so stores it for nobody."""


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
        super().__init__(f"There is no corpus `{shown(corpus_id)}`.", corpus=f"corpora/{shown(corpus_id)}")


class CorpusExists(AlreadyExists):
    """There is a corpus of that id."""

    reason = "CORPUS_EXISTS"

    def __init__(self, corpus_id: str) -> None:
        super().__init__(f"There is a corpus `{shown(corpus_id)}` already.", corpus=f"corpora/{shown(corpus_id)}")


class CorpusNotEmpty(FailedPrecondition):
    """The corpus holds documents."""

    reason = "CORPUS_NOT_EMPTY"

    def __init__(self, corpus_id: str) -> None:
        # No count: some of them may be documents that the caller may not know of.
        name = shown(corpus_id)
        super().__init__(f"The corpus `{name}` holds documents; set `force` to delete them with it.", corpus=f"corpora/{name}")


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
            f"The corpus `{shown(corpus.id)}` was indexed by embedding model {corpus.fingerprint}, but {serving} serves now. "
            "Search by keyword, serve the former model as well (`former_embedders`), and index the corpus anew (`ReindexCorpus`).",
            corpus=corpus.name,
            corpus_fingerprint=corpus.fingerprint,
            serving_fingerprint=serving,
        )


class DocumentNotReadable(PermissionDenied):
    """An administrator sees that the document exists, and may not read it."""

    reason = "DOCUMENT_NOT_READABLE"

    def __init__(self, name: str) -> None:
        super().__init__(f"You may not read the document `{name}`.", document=name)


class CorpusNeedsReindex(FailedPrecondition):
    """The corpus was made by a version that kept no access with its chunks."""

    reason = "CORPUS_NEEDS_REINDEX"

    def __init__(self, corpus_id: str) -> None:
        name = shown(corpus_id)
        super().__init__(
            f"The corpus `{name}` was made by a version of Corella that did not keep who may read what, so nothing of it is returned. "
            "Delete it and ingest its documents anew.",
            corpus=f"corpora/{name}",
        )


class ReindexNotNeeded(FailedPrecondition):
    """A new index would be built as the present one was."""

    reason = "REINDEX_NOT_NEEDED"

    def __init__(self, corpus_id: str) -> None:
        name = shown(corpus_id)
        super().__init__(
            f"The corpus `{name}` is indexed by this model and in this way already; set `force` to build its index anew all the same.",
            corpus=f"corpora/{name}",
        )


class ReindexUnderWay(FailedPrecondition):
    """Another index of the corpus is being written at this moment."""

    reason = "REINDEX_UNDER_WAY"

    def __init__(self, corpus_id: str, operation: str) -> None:
        name = shown(corpus_id)
        super().__init__(
            f"The corpus `{name}` is being indexed anew by `operations/{operation}`; wait for it, or cancel it.",
            corpus=f"corpora/{name}",
            operation=f"operations/{operation}",
        )


class NoFormerIndex(FailedPrecondition):
    """The corpus has no former index."""

    reason = "NO_FORMER_INDEX"

    def __init__(self, corpus_id: str) -> None:
        name = shown(corpus_id)
        super().__init__(f"The corpus `{name}` has no former index to go back to.", corpus=f"corpora/{name}")


class ReindexIncomplete(FailedPrecondition):
    """Some documents could not be written to the new index."""

    reason = "REINDEX_INCOMPLETE"

    def __init__(self, corpus_id: str, documents: int) -> None:
        name = shown(corpus_id)
        super().__init__(
            f"The corpus `{name}` was not switched: {documents:,} of its documents could not be written to the other index. "
            "Change or delete them, repeat the call to try them again, or set `force` to switch without them.",
            corpus=f"corpora/{name}",
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
