"""What callers send, checked: every violation of a request is found, and named by its field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from corella.v1 import retriever_pb2
from services.chassis.errors import InvalidArgument, Violation
from services.retriever.access import EVERYONE, NOBODY, Access
from services.retriever.documents import Incoming
from services.retriever.domain import Condition, CorpusWish, EmbeddingMode, Fusion, IndexWish, Metric, Query, SearchMode
from services.retriever.names import chunk_of, corpus_id_of, document_id, document_of, is_corpus_id
from services.retriever.readers import READERS, mime_type_for

MAX_QUERY_CHARS = 4_000
MAX_LIMIT = 100
MAX_LIST = 1_000
MAX_URI_CHARS = 2_000
MAX_TITLE_CHARS = 1_000
MAX_METADATA_KEYS = 32
MAX_METADATA_BYTES = 60_000
MAX_CONDITIONS = 32
MAX_VALUES = 256
MAX_CHUNK_NAMES = 1_000
MAX_DOCUMENT_NAMES = 1_000
MAX_READERS = 1_000
MAX_READER_CHARS = 200
_TOLD_VIOLATIONS = 20
"""Of a list's elements; more would not fit into the headers that carry an error."""
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SCHEMES = ("http", "https", "file")


def check(violations: Sequence[Violation]) -> None:
    """Raises `InvalidArgument` with all of them, if there are any."""
    if violations:
        raise InvalidArgument.of(violations)


def request_id(text: str) -> list[Violation]:
    """What is wrong with a request id."""
    if len(text) > 64 or not text.isprintable():
        return [("request_id", "must be at most 64 printable characters")]
    return []


def create_corpus(request: retriever_pb2.CreateCorpusRequest) -> CorpusWish:
    """The corpus to be made."""
    corpus, chunking = request.corpus, request.corpus.chunking
    violations = request_id(request.request_id)
    if not is_corpus_id(request.corpus_id):
        text = "must be 1 to 40 of a-z, 0-9 and -, begin with a letter and not end with -"
        violations.append(("corpus_id", text))
    if len(corpus.display_name) > 200:
        violations.append(("corpus.display_name", "must have at most 200 characters"))
    if chunking.max_tokens < 0:
        violations.append(("corpus.chunking.max_tokens", "must not be negative"))
    if chunking.overlap_tokens < -1:
        violations.append(("corpus.chunking.overlap_tokens", "must be -1 (none), 0 (the default) or more"))
    metric = {0: Metric.COSINE, 1: Metric.COSINE, 2: Metric.INNER_PRODUCT, 3: Metric.L2}.get(corpus.metric)
    if metric is None:
        violations.append(("corpus.metric", "is not a metric of this version"))
    mode = {0: EmbeddingMode.EAGER, 1: EmbeddingMode.EAGER, 2: EmbeddingMode.LAZY}.get(corpus.embedding_mode)
    if mode is None:
        violations.append(("corpus.embedding_mode", "is not an embedding mode of this version"))
    default_access = {0: EVERYONE, 1: EVERYONE, 3: NOBODY}.get(corpus.default_access)
    if default_access is None:
        violations.append(("corpus.default_access", "must be ACCESS_LEVEL_TENANT or ACCESS_LEVEL_NOBODY"))
    check(violations)
    assert metric is not None
    assert mode is not None
    assert default_access is not None
    return CorpusWish(request.corpus_id, corpus.display_name, chunking.max_tokens, chunking.overlap_tokens, metric, mode, default_access)


def reindex(request: retriever_pb2.ReindexCorpusRequest) -> IndexWish:
    """The index to be made."""
    violations = request_id(request.request_id)
    if request.chunking.max_tokens < 0:
        violations.append(("chunking.max_tokens", "must not be negative"))
    if request.chunking.overlap_tokens < -1:
        violations.append(("chunking.overlap_tokens", "must be -1 (none), 0 (as it is) or more"))
    if request.embedding_mode not in {0, 1, 2}:
        violations.append(("embedding_mode", "is not an embedding mode of this version"))
    check(violations)
    mode = {1: EmbeddingMode.EAGER, 2: EmbeddingMode.LAZY}.get(request.embedding_mode)
    return IndexWish(request.chunking.max_tokens, request.chunking.overlap_tokens, mode)


def incoming(document: retriever_pb2.Document, field: str) -> Incoming:
    """A document that is handed in."""
    violations = [*_uri(document.uri, f"{field}.uri"), *_metadata(document.metadata, f"{field}.metadata")]
    if len(document.title) > MAX_TITLE_CHARS:
        violations.append((f"{field}.title", f"must have at most {MAX_TITLE_CHARS:,} characters"))
    violations += access_violations(document.access, f"{field}.access")
    mime_type = document.mime_type.partition(";")[0].strip().lower() or mime_type_for(document.uri) or ""
    if not mime_type:
        known = ", ".join(READERS)
        violations.append(
            (f"{field}.mime_type", f"is needed, because the ending of `{document.uri[:200]}` does not tell it; known: {known}")
        )
    check(violations)
    given = document.access if document.access.level else None
    return Incoming(document.uri, document.title, mime_type, dict(document.metadata), access_of(given) if given else None)


def update_access(request: retriever_pb2.UpdateDocumentAccessRequest) -> Access:
    """Who may read a document from now on."""
    violations = [*request_id(request.request_id), *access_violations(request.access, "access")]
    if not request.access.level:
        violations.append(("access.level", "is required"))
    check(violations)
    return access_of(request.access)


def access_of(access: retriever_pb2.Access) -> Access:
    """An access that was checked."""
    if access.level == retriever_pb2.ACCESS_LEVEL_LISTED:
        return Access.listed(access.users, access.groups)
    return EVERYONE if access.level == retriever_pb2.ACCESS_LEVEL_TENANT else NOBODY


def access_violations(access: retriever_pb2.Access, field: str) -> list[Violation]:
    """What is wrong with an access."""
    listed = access.level == retriever_pb2.ACCESS_LEVEL_LISTED
    if access.level not in retriever_pb2.AccessLevel.values():
        return [(f"{field}.level", "is not a level of this version")]
    violations: list[Violation] = []
    if listed and not (access.users or access.groups):
        violations.append((field, "must name a user or a group; for nobody there is ACCESS_LEVEL_NOBODY"))
    for kind, names in (("users", access.users), ("groups", access.groups)):
        if names and not listed:
            violations.append((f"{field}.{kind}", "is for ACCESS_LEVEL_LISTED only"))
        if len(names) > MAX_READERS:
            violations.append((f"{field}.{kind}", f"must have at most {MAX_READERS:,} names"))
        elif any(not 1 <= len(name) <= MAX_READER_CHARS for name in names):
            violations.append((f"{field}.{kind}", f"each must have 1 to {MAX_READER_CHARS} characters"))
    return violations


def retry(request: retriever_pb2.RetryDocumentsRequest) -> tuple[str, list[str]]:
    """The corpus, and the ids of the documents named."""
    violations = request_id(request.request_id)
    corpus_id = corpus_id_of(request.parent, "parent")
    if len(request.names) > MAX_DOCUMENT_NAMES:
        violations.append(("names", f"must hold at most {MAX_DOCUMENT_NAMES:,} names, holds {len(request.names):,}"))
    ids = []
    for place, name in enumerate(request.names[:MAX_DOCUMENT_NAMES]):
        try:
            corpus, document = document_of(name, f"names[{place}]")
        except InvalidArgument as error:
            violations += error.violations[: max(0, _TOLD_VIOLATIONS - len(violations))]
            continue
        if corpus != corpus_id:
            violations.append((f"names[{place}]", "must be of the corpus in `parent`"))
        ids.append(document)
    check(violations)
    return corpus_id, ids


def audited(request: retriever_pb2.AuditDocumentRequest) -> tuple[str, str]:
    """Ids of the corpus and the document that is asked about, which need not exist."""
    if bool(request.name) == bool(request.parent or request.uri):
        raise InvalidArgument.of([("name", "is required, or `parent` and `uri` in its place")])
    if request.name:
        return document_of(request.name, "name")
    check(_uri(request.uri, "uri"))
    return corpus_id_of(request.parent, "parent"), document_id(request.uri)


def _uri(uri: str, field: str) -> list[Violation]:
    if not uri:
        return [(field, "is required")]
    if len(uri) > MAX_URI_CHARS:
        return [(field, f"must have at most {MAX_URI_CHARS:,} characters")]
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return [(field, f"is not a URI: {error}")]
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "file") or any(ord(c) <= 32 for c in uri):
        return [(field, f"must be a URI without blanks of one of the schemes {', '.join(_SCHEMES)}")]
    return []


def _metadata(metadata: Mapping[str, str], field: str) -> list[Violation]:
    violations: list[Violation] = []
    if len(metadata) > MAX_METADATA_KEYS:
        violations.append((field, f"must have at most {MAX_METADATA_KEYS} keys"))
    for key, value in metadata.items():
        if not _KEY.fullmatch(key):
            violations.append((f"{field}[{key[:80]!r}]", "the key must be 1 to 64 of letters, digits, _, - and ."))
        if len(value) > 1000:
            violations.append((f"{field}[{key[:80]!r}]", "the value must have at most 1,000 characters"))
    if not violations and sum(len(key) + len(value.encode()) + 8 for key, value in metadata.items()) > MAX_METADATA_BYTES:
        violations.append((field, f"must have at most {MAX_METADATA_BYTES:,} bytes in all"))
    return violations


def query(request: retriever_pb2.SearchRequest) -> Query:
    """What to search for."""
    violations: list[Violation] = []
    if not request.query.strip() or len(request.query) > MAX_QUERY_CHARS:
        violations.append(("query", f"must have 1 to {MAX_QUERY_CHARS:,} characters"))
    for field, largest in (("limit", MAX_LIMIT), ("keyword_limit", MAX_LIST), ("vector_limit", MAX_LIST)):
        if not 0 <= getattr(request, field) <= largest:
            violations.append((field, f"must be 0 (the default) to {largest:,}"))
    weight = request.vector_weight if request.HasField("vector_weight") else None
    if weight is not None and not 0.0 <= weight <= 1.0:
        violations.append(("vector_weight", "must be 0 to 1"))
    mode = {0: SearchMode.HYBRID, 1: SearchMode.KEYWORD, 2: SearchMode.VECTOR, 3: SearchMode.HYBRID}.get(request.mode)
    if mode is None:
        violations.append(("mode", "is not a mode of this version"))
    fusions = {0: None, 1: Fusion.OVERLAP, 2: Fusion.RECIPROCAL_RANK, 3: Fusion.WEIGHTED}
    if request.fusion not in fusions:
        violations.append(("fusion", "is not a fusion of this version"))
    if len(request.filter) > MAX_CONDITIONS:
        violations.append(("filter", f"must have at most {MAX_CONDITIONS} conditions"))
    for place, condition in enumerate(request.filter):
        if not _KEY.fullmatch(condition.key):
            violations.append((f"filter[{place}].key", "must be 1 to 64 of letters, digits, _, - and ."))
        if len(condition.any_of) > MAX_VALUES:
            violations.append((f"filter[{place}].any_of", f"must have at most {MAX_VALUES} values"))
    check(violations)
    assert mode is not None
    return Query(
        corpus=corpus_id_of(request.corpus, "corpus"),
        text=request.query,
        limit=request.limit or 10,
        mode=mode,
        fusion=fusions[request.fusion],
        keyword_limit=request.keyword_limit,
        vector_limit=request.vector_limit,
        conditions=tuple(Condition(c.key, tuple(c.any_of), c.negate) for c in request.filter),
        vector_weight=weight,
        rerank=request.rerank,
    )


def chunk_position(position: str) -> int:
    """Where a page of a document's chunks begins. Raises `InvalidArgument`."""
    if not re.fullmatch(r"[0-9]{0,9}", position, re.ASCII):
        raise InvalidArgument.of([("page_token", "is not a token of this service")])
    return int(position or 0)


def chunk_names(request: retriever_pb2.BatchGetChunksRequest) -> tuple[str, list[tuple[str, str]]]:
    """The corpus, and (document, chunk) of each name, in order."""
    violations: list[Violation] = []
    head, _, corpus_id = request.parent.partition("/")
    if head != "corpora" or not is_corpus_id(corpus_id):
        violations.append(("parent", "must be `corpora/{corpus}`"))
    if not 1 <= len(request.names) <= MAX_CHUNK_NAMES:
        violations.append(("names", f"must hold 1 to {MAX_CHUNK_NAMES:,} names, holds {len(request.names):,}"))
    ids = [chunk_of(name) for name in request.names[:MAX_CHUNK_NAMES]]
    of_names: list[Violation] = []
    for place, found in enumerate(ids):
        if found is None:
            of_names.append((f"names[{place}]", "must be `corpora/{corpus}/documents/{document}/chunks/{chunk}`"))
        elif found[0] != corpus_id and is_corpus_id(corpus_id):
            of_names.append((f"names[{place}]", "must be of the corpus in `parent`"))
    check([*violations, *of_names[:_TOLD_VIOLATIONS]])
    return corpus_id, [(found[1], found[2]) for found in ids if found is not None]
