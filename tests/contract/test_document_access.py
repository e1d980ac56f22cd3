"""Tenants and who may read what, over the wire: real processes, callers with tokens of their own, a toy embedder."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import redis
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure

from corella.errors import RpcFailure
from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb
from services.retriever.names import document_id
from tests.waiting import until

PREFIX = "{corella:retriever}:"
CALLERS = {
    "anna": "tenant=acme user=anna groups=staff,board roles=writer",
    "bob": "tenant=acme user=bob groups=staff roles=reader",
    "root": "tenant=acme user=root roles=admin",
    "zoe": "tenant=zenith user=zoe groups=staff,board roles=admin",
    "robot": "tenant=acme roles=reader reads=everything",
}
STAFF = pb.Access(level=pb.ACCESS_LEVEL_LISTED, groups=["staff"])
BOARD = pb.Access(level=pb.ACCESS_LEVEL_LISTED, groups=["board"])
TENANT = pb.Access(level=pb.ACCESS_LEVEL_TENANT)
NOBODY = pb.Access(level=pb.ACCESS_LEVEL_NOBODY)
Handed = tuple[str, str, pb.Access | None]


class As:
    """Calls in one caller's name."""

    def __init__(self, stack: RetrieverStack, name: str) -> None:
        self._stack = stack
        self._metadata = [("authorization", f"Bearer {name}-token")]

    def __call__(self, method: str, request: Any) -> Any:
        call = getattr(self._stack.stub, method)
        return call(request, timeout=CALL_SECONDS, metadata=self._metadata, wait_for_ready=True)

    def refused(self, method: str, request: Any) -> RpcFailure:
        with pytest.raises(grpc.RpcError) as error:
            self(method, request)
        return failure(error.value)

    def create(self, corpus: str, **fields: Any) -> pb.Corpus:
        return self("CreateCorpus", pb.CreateCorpusRequest(corpus_id=corpus, corpus=pb.Corpus(**fields))).corpus

    def ingest(self, corpus: str, *documents: Handed, request_id: str = "") -> operation_pb2.Operation:
        def parts() -> Iterator[pb.IngestDocumentsRequest]:
            yield pb.IngestDocumentsRequest(start=pb.IngestStart(parent=f"corpora/{corpus}", request_id=request_id))
            for uri, text, access in documents:
                yield pb.IngestDocumentsRequest(document=pb.Document(uri=uri, mime_type="text/markdown", access=access))
                yield pb.IngestDocumentsRequest(content=text.encode())

        return self("IngestDocuments", parts()).operation

    def wait(self, operation: operation_pb2.Operation) -> operation_pb2.Operation:
        def ended() -> operation_pb2.Operation | None:
            shown = self("WaitOperation", pb.WaitOperationRequest(name=operation.name)).operation
            return shown if shown.HasField("end_time") else None

        return until(ended, 60)

    def fill(self, corpus: str, *documents: Handed, **fields: Any) -> None:
        self.create(corpus, **fields)
        assert self.wait(self.ingest(corpus, *documents)).failed_count == 0

    def found(self, corpus: str, query: str, mode: int = pb.SEARCH_MODE_HYBRID) -> set[str]:
        response = self("Search", pb.SearchRequest(corpus=f"corpora/{corpus}", query=query, mode=mode, limit=100))  # type: ignore[arg-type]
        return {passage.uri.partition("#")[0] for passage in response.passages}

    def listed(self, corpus: str) -> dict[str, pb.Document]:
        response = self("ListDocuments", pb.ListDocumentsRequest(parent=f"corpora/{corpus}", page_size=1000))
        assert response.total_size == len(response.documents)
        return {document.uri: document for document in response.documents}

    def grant(self, corpus: str, uri: str, access: pb.Access, request_id: str = "") -> pb.Document:
        request = pb.UpdateDocumentAccessRequest(name=name_of(corpus, uri), access=access, request_id=request_id)
        return self("UpdateDocumentAccess", request).document


def name_of(corpus: str, uri: str) -> str:
    return f"corpora/{corpus}/documents/{document_id(uri)}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, toy_embedder: ToyEmbedder) -> Iterator[RetrieverStack]:
    folder = tmp_path_factory.mktemp("access")
    tokens = folder / "tokens"
    lines = [f"{name}:{hashlib.sha256(f'{name}-token'.encode()).hexdigest()} {who}" for name, who in CALLERS.items()]
    tokens.write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORELLA_RETRIEVER_SERVER__AUTH__TOKENS_FILE", str(tokens))
        made = RetrieverStack(folder, f"127.0.0.1:{toy_embedder.port}")
        yield made
        made.close()


@pytest.fixture(scope="module")
def anna(stack: RetrieverStack) -> As:
    return As(stack, "anna")


@pytest.fixture(scope="module")
def bob(stack: RetrieverStack) -> As:
    return As(stack, "bob")


@pytest.fixture(scope="module")
def root(stack: RetrieverStack) -> As:
    return As(stack, "root")


@pytest.fixture(scope="module")
def zoe(stack: RetrieverStack) -> As:
    return As(stack, "zoe")


OPEN, INNER, PAY = (f"https://docs.example.com/{name}.md" for name in ("open", "inner", "pay"))
TEXTS: tuple[Handed, ...] = (
    (OPEN, "# Open\n\nfalcon for all\n", None),
    (INNER, "# Inner\n\nfalcon for staff\n\n## More\n\nfalcon again\n", STAFF),
    (PAY, "# Pay\n\nfalcon for the board\n", BOARD),
)


@pytest.fixture(scope="module")
def handbook(anna: As) -> str:
    anna.fill("handbook", *TEXTS)
    return "handbook"


@pytest.mark.parametrize("mode", [pb.SEARCH_MODE_KEYWORD, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID])
def test_everyone_finds_what_they_may_read(anna: As, bob: As, root: As, stack: RetrieverStack, handbook: str, mode: int) -> None:
    assert anna.found(handbook, "falcon", mode) == {OPEN, INNER, PAY}
    assert bob.found(handbook, "falcon", mode) == {OPEN, INNER}
    assert root.found(handbook, "falcon", mode) == {OPEN}
    assert As(stack, "robot").found(handbook, "falcon", mode) == {OPEN, INNER, PAY}


def test_lists_and_counts_hold_what_one_may_read_and_an_admin_sees_that_there_is_more(anna: As, bob: As, root: As, handbook: str) -> None:
    assert set(bob.listed(handbook)) == {OPEN, INNER}
    counts = [
        (c.document_count, c.chunk_count)
        for c in (who("GetCorpus", pb.GetCorpusRequest(name="corpora/handbook")).corpus for who in (anna, bob))
    ]
    assert counts == [(3, 4), (2, 3)]
    outline = root.listed(handbook)[PAY]
    assert (outline.title, outline.state, outline.access) == ("", pb.DOCUMENT_STATE_ACTIVE, BOARD)
    refused = root.refused("GetDocument", pb.GetDocumentRequest(name=name_of(handbook, PAY), include_content=True))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "DOCUMENT_NOT_READABLE")
    assert root.refused("ListChunks", pb.ListChunksRequest(parent=name_of(handbook, PAY))).reason == "DOCUMENT_NOT_READABLE"


@pytest.mark.parametrize(
    ("method", "make"),
    [
        ("GetDocument", lambda name: pb.GetDocumentRequest(name=name)),
        ("GetDocument", lambda name: pb.GetDocumentRequest(name=name, include_content=True)),
        ("ListChunks", lambda name: pb.ListChunksRequest(parent=name)),
    ],
)
def test_a_hidden_document_is_refused_exactly_as_one_that_never_was(
    bob: As, handbook: str, method: str, make: Callable[[str], Any]
) -> None:
    hidden, missing = name_of(handbook, PAY), f"corpora/handbook/documents/{'0' * 32}"
    one, other = bob.refused(method, make(hidden)), bob.refused(method, make(missing))
    assert (one.code, one.reason, one.message.replace(hidden, missing)) == (other.code, other.reason, other.message)


def test_a_writer_can_neither_delete_nor_open_what_it_may_not_read(anna: As, handbook: str) -> None:
    hidden = "https://docs.example.com/nobodys.md"
    anna.wait(anna.ingest(handbook, (hidden, "# Nobody's\n\nowl\n", NOBODY)))
    assert anna.refused("DeleteDocument", pb.DeleteDocumentRequest(name=name_of(handbook, hidden))).reason == "DOCUMENT_NOT_FOUND"
    anna("DeleteDocument", pb.DeleteDocumentRequest(name=name_of(handbook, hidden), allow_missing=True))
    request = pb.UpdateDocumentAccessRequest(name=name_of(handbook, hidden), access=TENANT)
    assert anna.refused("UpdateDocumentAccess", request).reason == "DOCUMENT_NOT_FOUND"


def test_an_admin_deletes_what_it_may_not_read_and_the_audit_shows_that_it_is_gone(root: As, anna: As, handbook: str) -> None:
    hidden = "https://docs.example.com/gone.md"
    anna.wait(anna.ingest(handbook, (hidden, "# Gone\n\nowl\n", NOBODY)))
    audit = pb.AuditDocumentRequest(parent="corpora/handbook", uri=hidden)
    before = {trace.place: trace.count for trace in root("AuditDocument", audit).traces}
    assert before["chunks in the store"] == before["record in the catalog"] == before["bytes"] == 1
    root("DeleteDocument", pb.DeleteDocumentRequest(name=name_of(handbook, hidden), request_id="gone"))
    after = root("AuditDocument", audit)
    assert after.name == name_of(handbook, hidden)
    assert {trace.place for trace in after.traces if trace.count} == {"records of operations"}
    assert anna.refused("AuditDocument", audit).reason == "ROLE_MISSING"


def test_chunks_by_name_are_missing_where_they_may_not_be_read(anna: As, bob: As, handbook: str) -> None:
    names = [p.name for uri in (OPEN, PAY) for p in anna("ListChunks", pb.ListChunksRequest(parent=name_of(handbook, uri))).chunks]
    got = bob("BatchGetChunks", pb.BatchGetChunksRequest(parent="corpora/handbook", names=names))
    assert ([chunk.name for chunk in got.chunks], list(got.missing)) == (names[:1], names[1:])


def test_the_corpus_of_another_tenant_does_not_exist(anna: As, zoe: As, handbook: str) -> None:
    for method, request in (
        ("GetCorpus", pb.GetCorpusRequest(name="corpora/handbook")),
        ("Search", pb.SearchRequest(corpus="corpora/handbook", query="falcon")),
        ("ListDocuments", pb.ListDocumentsRequest(parent="corpora/handbook")),
        ("GetDocument", pb.GetDocumentRequest(name=name_of("handbook", OPEN))),
        ("DeleteCorpus", pb.DeleteCorpusRequest(name="corpora/handbook", force=True)),
        ("AuditDocument", pb.AuditDocumentRequest(name=name_of("handbook", OPEN))),
    ):
        assert zoe.refused(method, request).reason == "CORPUS_NOT_FOUND"
    assert "handbook" not in str(zoe("ListCorpora", pb.ListCorporaRequest()))
    zoe.fill("handbook", (OPEN, "# Open\n\nzebra\n", None))
    assert zoe.found("handbook", "falcon", pb.SEARCH_MODE_KEYWORD) == set()
    assert anna.found("handbook", "zebra", pb.SEARCH_MODE_KEYWORD) == set()
    zoe("DeleteCorpus", pb.DeleteCorpusRequest(name="corpora/handbook", force=True))
    assert anna.found("handbook", "falcon", pb.SEARCH_MODE_KEYWORD) == {OPEN, INNER, PAY}


def test_operations_and_request_ids_are_a_tenants_own(anna: As, bob: As, zoe: As, handbook: str) -> None:
    operation = anna.ingest(handbook, TEXTS[0], request_id="the-same-id")
    zoe.create("theirs")
    theirs = zoe.ingest("theirs", (OPEN, "# Open\n\nzebra\n", None), request_id="the-same-id")
    assert theirs.name != operation.name
    for method, request in (
        ("GetOperation", pb.GetOperationRequest(name=operation.name)),
        ("WaitOperation", pb.WaitOperationRequest(name=operation.name)),
        ("CancelOperation", pb.CancelOperationRequest(name=operation.name)),
    ):
        assert zoe.refused(method, request).reason == "OPERATION_NOT_FOUND"
    listed = {each.name for each in zoe("ListOperations", pb.ListOperationsRequest()).operations}
    assert theirs.name in listed
    assert operation.name not in listed
    seen = bob("ListOperations", pb.ListOperationsRequest(target="corpora/handbook")).operations
    assert operation.name in {each.name for each in seen}
    assert "acme" not in str(seen)


def test_only_those_who_bring_documents_in_see_which_failed_and_why(anna: As, bob: As, handbook: str) -> None:
    def parts() -> Iterator[pb.IngestDocumentsRequest]:
        yield pb.IngestDocumentsRequest(start=pb.IngestStart(parent="corpora/handbook"))
        ticket = pb.Document(uri="https://docs.example.com/T-1", mime_type="application/vnd.corella.ticket+json", access=BOARD)
        yield pb.IngestDocumentsRequest(document=ticket)
        yield pb.IngestDocumentsRequest(content=b"no ticket at all")

    operation = anna.wait(anna("IngestDocuments", parts()).operation)
    assert [failed.uri for failed in operation.failures] == ["https://docs.example.com/T-1"]
    shown = bob("GetOperation", pb.GetOperationRequest(name=operation.name)).operation
    assert (shown.failed_count, list(shown.failures)) == (1, [])
    # And they can have it tried again; what did not fail is passed over.
    names = [name_of("handbook", uri) for uri in ("https://docs.example.com/T-1", OPEN)]
    again = anna.wait(anna("RetryDocuments", pb.RetryDocumentsRequest(parent="corpora/handbook", names=names)).operation)
    assert (again.total_count, again.failed_count) == (1, 1)
    assert anna.wait(anna("RetryDocuments", pb.RetryDocumentsRequest(parent="corpora/handbook")).operation).total_count == 1


@pytest.mark.parametrize("mode", [pb.EMBEDDING_MODE_EAGER, pb.EMBEDDING_MODE_LAZY])
def test_what_was_taken_away_is_not_found_by_the_next_call_and_nothing_is_embedded_anew(
    anna: As, bob: As, toy_embedder: ToyEmbedder, mode: int
) -> None:
    corpus = f"taken-{mode}"
    anna.fill(corpus, *TEXTS, embedding_mode=mode)
    bob.found(corpus, "falcon")
    time.sleep(1.5 if mode == pb.EMBEDDING_MODE_LAZY else 0)
    embedded = len(toy_embedder.embedded_texts)
    for access, there in ((BOARD, False), (STAFF, True), (NOBODY, False)):
        shown = anna.grant(corpus, INNER, access)
        assert shown.access == access
        assert (INNER in bob.found(corpus, "falcon")) is there
        assert (INNER in bob.found(corpus, "falcon", pb.SEARCH_MODE_VECTOR)) is there
        assert (INNER in bob.listed(corpus)) is there
    # Handing the same in again with other readers changes them, and nothing else.
    operation = anna.wait(anna.ingest(corpus, (INNER, TEXTS[1][1], STAFF)))
    assert (operation.succeeded_count, operation.unchanged_count) == (1, 0)
    assert INNER in bob.found(corpus, "falcon")
    # Handed in without, it keeps the ones it has.
    assert anna.wait(anna.ingest(corpus, (INNER, TEXTS[1][1], None))).unchanged_count == 1
    assert bob.listed(corpus)[INNER].access == STAFF
    assert len(toy_embedder.embedded_texts) == embedded


def test_a_document_taken_away_while_a_worker_writes_it_is_never_found(anna: As, bob: As, toy_embedder: ToyEmbedder) -> None:
    anna.create("racing")
    toy_embedder.seconds_per_text = 0.02
    uris = [f"https://docs.example.com/race-{number}.md" for number in range(40)]
    try:
        operation = anna.ingest("racing", *[(uri, "# Race\n\nfalcon\n\n## Two\n\nfalcon two\n", TENANT) for uri in uris])
        for uri in uris:
            anna.grant("racing", uri, BOARD)
            assert uri not in bob.found("racing", "falcon", pb.SEARCH_MODE_KEYWORD)
        anna.wait(operation)
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert bob.found("racing", "falcon") == set()
    assert anna.found("racing", "falcon") == set(uris)


def test_a_new_version_for_more_readers_does_not_show_them_the_one_before(anna: As, bob: As, toy_embedder: ToyEmbedder) -> None:
    uri = "https://docs.example.com/minutes.md"
    anna.fill("redacted", (uri, "# Minutes\n\nthe salary is secret\n", BOARD))
    toy_embedder.seconds_per_text = 1.0
    try:
        operation = anna.ingest("redacted", (uri, "# Minutes\n\nnothing to see\n", TENANT))
        while not anna("GetOperation", pb.GetOperationRequest(name=operation.name)).operation.HasField("end_time"):
            assert bob.found("redacted", "salary", pb.SEARCH_MODE_KEYWORD) == set()
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert bob.found("redacted", "nothing see", pb.SEARCH_MODE_KEYWORD) == {uri}
    assert bob.found("redacted", "salary", pb.SEARCH_MODE_KEYWORD) == set()


def test_a_narrower_version_that_cannot_be_read_still_narrows_the_one_before(anna: As, bob: As) -> None:
    uri = "https://docs.example.com/T-2"
    anna.fill("narrowed", (uri, "# Falcon\n\nfalcon\n", TENANT))
    assert bob.found("narrowed", "falcon") == {uri}

    def parts() -> Iterator[pb.IngestDocumentsRequest]:
        yield pb.IngestDocumentsRequest(start=pb.IngestStart(parent="corpora/narrowed"))
        ticket = pb.Document(uri=uri, mime_type="application/vnd.corella.ticket+json", access=BOARD)
        yield pb.IngestDocumentsRequest(document=ticket)
        yield pb.IngestDocumentsRequest(content=b"no ticket at all")

    operation = anna("IngestDocuments", parts()).operation
    assert bob.found("narrowed", "falcon") == set()
    assert anna.wait(operation).failed_count == 1
    assert (bob.found("narrowed", "falcon"), anna.found("narrowed", "falcon")) == (set(), {uri})


def test_a_corpus_may_be_nobodys_by_default(anna: As, bob: As, root: As) -> None:
    corpus = anna.create("closed", default_access=pb.ACCESS_LEVEL_NOBODY)
    assert corpus.default_access == pb.ACCESS_LEVEL_NOBODY
    anna.wait(anna.ingest("closed", *TEXTS))
    assert bob.found("closed", "falcon") == {INNER}
    assert set(root.listed("closed")) == {OPEN, INNER, PAY}
    assert root.grant("closed", OPEN, TENANT).access == TENANT
    assert bob.found("closed", "falcon") == {OPEN, INNER}


def test_a_retriever_killed_in_the_middle_of_a_change_completes_it(stack: RetrieverStack, anna: As, bob: As) -> None:
    anna.fill("killed", *TEXTS)
    valkey = redis.Redis.from_url(stack.redis_url)
    lock = f"{PREFIX}lock:acme.killed:{document_id(INNER)}"
    # Held by somebody else, so that the call stops between the catalog and the chunks.
    valkey.set(lock, "a worker", ex=60)
    request = pb.UpdateDocumentAccessRequest(name=name_of("killed", INNER), access=BOARD)
    metadata = [("authorization", "Bearer anna-token")]
    waiting = stack.stub.UpdateDocumentAccess.future(request, timeout=CALL_SECONDS, metadata=metadata)
    until(lambda: valkey.zscore(f"{PREFIX}regranting", f"acme.killed/{document_id(INNER)}"), 10)
    stack.kill("retriever")
    assert waiting.exception() is not None
    valkey.delete(lock)
    stack.start_retriever()
    until(lambda: INNER not in bob.found("killed", "falcon"), 15)
    assert anna.found("killed", "falcon") == {OPEN, INNER, PAY}
    assert valkey.zcard(f"{PREFIX}regranting") == 0


def test_nothing_is_returned_while_it_cannot_be_known_who_may_read_what(stack: RetrieverStack, bob: As, handbook: str) -> None:
    pid = stack.processes["valkey"].pid
    os.kill(pid, 19)
    try:
        started = time.monotonic()
        refused = bob.refused("Search", pb.SearchRequest(corpus="corpora/handbook", query="falcon"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE")
        assert time.monotonic() - started < 8
        # Nothing has to be looked up for a caller that reads everything.
        assert As(stack, "robot").found("handbook", "falcon", pb.SEARCH_MODE_KEYWORD) == {OPEN, INNER, PAY}
    finally:
        os.kill(pid, 18)


def test_a_list_that_the_catalog_lost_admits_nobody(stack: RetrieverStack, anna: As, bob: As) -> None:
    anna.fill("lost", *TEXTS)
    valkey = redis.Redis.from_url(stack.redis_url)
    valkey.delete(f"{PREFIX}access:acme.lost", f"{PREFIX}accessed:acme.lost")
    assert bob.found("lost", "falcon") == anna.found("lost", "falcon") == {OPEN}
    # Once it is known again, it is what it was.
    anna.wait(anna.ingest("lost", (OPEN, TEXTS[0][1], STAFF)))
    assert bob.found("lost", "falcon") == {OPEN, INNER}


@pytest.mark.parametrize(
    ("access", "field"),
    [
        (pb.Access(), "access.level"),
        (pb.Access(level=9), "access.level"),  # type: ignore[arg-type]
        (pb.Access(level=pb.ACCESS_LEVEL_LISTED), "access"),
        (pb.Access(level=pb.ACCESS_LEVEL_TENANT, users=["anna"]), "access.users"),
        (pb.Access(level=pb.ACCESS_LEVEL_NOBODY, groups=["staff"]), "access.groups"),
        (pb.Access(level=pb.ACCESS_LEVEL_LISTED, users=[""]), "access.users"),
        (pb.Access(level=pb.ACCESS_LEVEL_LISTED, groups=["x" * 201]), "access.groups"),
        (pb.Access(level=pb.ACCESS_LEVEL_LISTED, groups=[f"g{number}" for number in range(1001)]), "access.groups"),
    ],
)
def test_an_access_that_is_none_is_refused_by_its_field(anna: As, handbook: str, access: pb.Access, field: str) -> None:
    request = pb.UpdateDocumentAccessRequest(name=name_of(handbook, OPEN), access=access)
    refused = anna.refused("UpdateDocumentAccess", request)
    assert (refused.code, [name for name, _ in refused.violations]) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
