"""Every error of the retriever crosses the wire as the contract says; corpora, pages and health."""
# ruff: noqa: E501 a table is read by its rows

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from retriever_stack import CALL_SECONDS, RetrieverStack, failure

from corella.v1 import retriever_pb2 as pb

ONE = [("https://docs.example.com/a.md", "# A\n\nalpha\n")]
MISSING_DOCUMENT = f"corpora/wire/documents/{'0' * 32}"
MISSING_OPERATION = f"operations/{'0' * 32}"


@pytest.fixture(scope="module")
def stack(toy_stack: RetrieverStack) -> RetrieverStack:
    toy_stack.fill("wire", ONE)
    return toy_stack


def refused(stack: RetrieverStack, method: str, request: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        getattr(stack.stub, method)(request, timeout=CALL_SECONDS)
    return failure(error.value)


@pytest.mark.parametrize(
    ("method", "request_message", "reason"),
    [
        ("GetCorpus", pb.GetCorpusRequest(name="corpora/none"), "CORPUS_NOT_FOUND"),
        ("DeleteCorpus", pb.DeleteCorpusRequest(name="corpora/none"), "CORPUS_NOT_FOUND"),
        ("Search", pb.SearchRequest(corpus="corpora/none", query="x"), "CORPUS_NOT_FOUND"),
        ("ListDocuments", pb.ListDocumentsRequest(parent="corpora/none"), "CORPUS_NOT_FOUND"),
        ("GetDocument", pb.GetDocumentRequest(name=MISSING_DOCUMENT), "DOCUMENT_NOT_FOUND"),
        ("GetDocument", pb.GetDocumentRequest(name="corpora/wire/documents/abc"), "DOCUMENT_NOT_FOUND"),
        ("GetDocument", pb.GetDocumentRequest(name=MISSING_DOCUMENT.replace("wire", "none")), "CORPUS_NOT_FOUND"),
        ("DeleteDocument", pb.DeleteDocumentRequest(name=MISSING_DOCUMENT), "DOCUMENT_NOT_FOUND"),
        ("GetOperation", pb.GetOperationRequest(name=MISSING_OPERATION), "OPERATION_NOT_FOUND"),
        ("WaitOperation", pb.WaitOperationRequest(name=MISSING_OPERATION), "OPERATION_NOT_FOUND"),
        ("CancelOperation", pb.CancelOperationRequest(name="operations/abc"), "OPERATION_NOT_FOUND"),
        ("ImportDocuments", pb.ImportDocumentsRequest(parent="corpora/none", directory=pb.DirectorySource(path="/x")), "CORPUS_NOT_FOUND"),
    ],
)
def test_what_does_not_exist_is_named(stack: RetrieverStack, method: str, request_message: Any, reason: str) -> None:
    said = refused(stack, method, request_message)
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, reason)


@pytest.mark.parametrize(
    ("method", "request_message", "fields"),
    [
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="Not OK", request_id="x" * 65), {"corpus_id", "request_id"}),
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="ends-"), {"corpus_id"}),
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="a" * 41), {"corpus_id"}),
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="x", corpus=pb.Corpus(display_name="y" * 201, metric=9)), {"corpus.display_name", "corpus.metric"}),
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="x", corpus=pb.Corpus(chunking=pb.Chunking(max_tokens=300))), {"corpus.chunking.max_tokens"}),
        ("CreateCorpus", pb.CreateCorpusRequest(corpus_id="x", corpus=pb.Corpus(chunking=pb.Chunking(max_tokens=100, overlap_tokens=51))), {"corpus.chunking.overlap_tokens"}),
        ("GetCorpus", pb.GetCorpusRequest(name="wire"), {"name"}),
        ("Search", pb.SearchRequest(corpus="corpora/wire", query=" ", limit=101, keyword_limit=1001, vector_weight=2.0, mode=9), {"query", "limit", "keyword_limit", "vector_weight", "mode"}),
        ("Search", pb.SearchRequest(corpus="corpora/wire", query="x", filter=[pb.MetadataCondition(key='a"b')]), {"filter[0].key"}),
        ("Search", pb.SearchRequest(corpus="nowhere", query="x"), {"corpus"}),
        ("ListDocuments", pb.ListDocumentsRequest(parent="corpora/wire", page_size=-1), {"page_size"}),
        ("ListDocuments", pb.ListDocumentsRequest(parent="corpora/wire", page_token="nonsense"), {"page_token"}),
        ("ListDocuments", pb.ListDocumentsRequest(parent="corpora/wire", state=77), {"state"}),
        ("GetDocument", pb.GetDocumentRequest(name="corpora/wire"), {"name"}),
        ("GetOperation", pb.GetOperationRequest(name="x"), {"name"}),
        ("ListOperations", pb.ListOperationsRequest(target="x"), {"target"}),
        ("ImportDocuments", pb.ImportDocumentsRequest(parent="corpora/wire"), {"directory"}),
        ("ImportDocuments", pb.ImportDocumentsRequest(parent="corpora/wire", directory=pb.DirectorySource(path="relative")), {"directory.path"}),
    ],
)  # fmt: skip
def test_every_violation_is_listed(stack: RetrieverStack, method: str, request_message: Any, fields: set[str]) -> None:
    said = refused(stack, method, request_message)
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {field for field, _ in said.violations} == fields


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([], "start"),
        ([pb.IngestDocumentsRequest(content=b"x")], "start"),
        ([pb.IngestDocumentsRequest(start=pb.IngestStart(parent="x"))], "start.parent"),
        ([pb.IngestDocumentsRequest(start=pb.IngestStart(parent="corpora/wire"))], "documents"),
        ([pb.IngestDocumentsRequest(start=pb.IngestStart(parent="corpora/wire")), pb.IngestDocumentsRequest(content=b"x")], "content"),
        ([pb.IngestDocumentsRequest(start=pb.IngestStart(parent="corpora/wire")), pb.IngestDocumentsRequest(document=pb.Document())], "documents[0].uri"),
    ],
)  # fmt: skip
def test_a_stream_out_of_order_is_refused(stack: RetrieverStack, parts: list[Any], field: str) -> None:
    said = refused(stack, "IngestDocuments", iter(parts))
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in {name for name, _ in said.violations}


def test_bytes_that_are_no_message_are_the_callers_fault(stack: RetrieverStack) -> None:
    method = stack.channel.unary_unary("/corella.v1.RetrieverService/Search", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as error:
        method(b"\xff\xff\xff", timeout=CALL_SECONDS)
    assert failure(error.value).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_corpus_is_made_once_and_repeats_of_the_request_are_answered(stack: RetrieverStack) -> None:
    request = pb.CreateCorpusRequest(corpus_id="made", corpus=pb.Corpus(display_name="Made"), request_id=str(uuid.uuid4()))
    first = stack.stub.CreateCorpus(request, timeout=CALL_SECONDS).corpus
    assert stack.stub.CreateCorpus(request, timeout=CALL_SECONDS).corpus == first
    assert (first.chunking.max_tokens, first.chunking.overlap_tokens, first.metric) == (200, 32, pb.METRIC_COSINE)
    other = pb.CreateCorpusRequest()
    other.CopyFrom(request)
    other.corpus.display_name = "Other"
    assert refused(stack, "CreateCorpus", other).reason == "REQUEST_ID_REUSED"
    assert refused(stack, "CreateCorpus", pb.CreateCorpusRequest(corpus_id="made")).reason == "CORPUS_EXISTS"


def test_a_corpus_with_documents_is_deleted_only_by_force_and_leaves_nothing(stack: RetrieverStack) -> None:
    stack.fill("gone", ONE)
    name = "corpora/gone"
    said = refused(stack, "DeleteCorpus", pb.DeleteCorpusRequest(name=name))
    assert (said.code, said.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CORPUS_NOT_EMPTY")
    request = pb.DeleteCorpusRequest(name=name, force=True, request_id=str(uuid.uuid4()))
    stack.stub.DeleteCorpus(request, timeout=CALL_SECONDS)
    stack.stub.DeleteCorpus(request, timeout=CALL_SECONDS)
    assert refused(stack, "Search", pb.SearchRequest(corpus=name, query="alpha")).reason == "CORPUS_NOT_FOUND"
    assert not (stack.folder / "blobs" / "gone").exists()
    stack.create("gone")
    assert stack.documents("gone") == {}
    assert list(stack.search("gone", "alpha").passages) == []


def test_a_document_is_deleted_once_unless_a_missing_one_is_allowed(stack: RetrieverStack) -> None:
    stack.fill("twice-deleted", ONE)
    name = stack.documents("twice-deleted")[ONE[0][0]].name
    request = pb.DeleteDocumentRequest(name=name, request_id=str(uuid.uuid4()))
    stack.stub.DeleteDocument(request, timeout=CALL_SECONDS)
    stack.stub.DeleteDocument(request, timeout=CALL_SECONDS)
    assert refused(stack, "DeleteDocument", pb.DeleteDocumentRequest(name=name)).reason == "DOCUMENT_NOT_FOUND"
    stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=name, allow_missing=True), timeout=CALL_SECONDS)
    changed = pb.DeleteDocumentRequest(name=name, allow_missing=True, request_id=request.request_id)
    assert refused(stack, "DeleteDocument", changed).reason == "REQUEST_ID_REUSED"


def test_pages_of_documents_hold_every_document_once(stack: RetrieverStack) -> None:
    stack.fill("paged", [(f"https://docs.example.com/{i}.md", f"# {i}\n\ntext {i}\n") for i in range(25)])
    seen, token = [], ""
    while True:
        request = pb.ListDocumentsRequest(parent="corpora/paged", page_size=10, page_token=token)
        response = stack.stub.ListDocuments(request, timeout=CALL_SECONDS)
        assert response.total_size == 25
        seen += [document.name for document in response.documents]
        token = response.next_page_token
        if not token:
            break
    assert len(seen) == 25
    assert seen == sorted(set(seen))
    active = pb.ListDocumentsRequest(parent="corpora/paged", state=pb.DOCUMENT_STATE_ACTIVE)
    assert stack.stub.ListDocuments(active, timeout=CALL_SECONDS).total_size == 25
    failed = pb.ListDocumentsRequest(parent="corpora/paged", state=pb.DOCUMENT_STATE_FAILED)
    assert stack.stub.ListDocuments(failed, timeout=CALL_SECONDS).total_size == 0


def test_pages_of_corpora_are_in_order(stack: RetrieverStack) -> None:
    for name in ("order-b", "order-a", "order-c"):
        stack.create(name)
    seen, token = [], ""
    while True:
        response = stack.stub.ListCorpora(pb.ListCorporaRequest(page_size=2, page_token=token), timeout=CALL_SECONDS)
        seen += [corpus.name for corpus in response.corpora]
        token = response.next_page_token
        if not token:
            break
    assert seen == sorted(set(seen))
    assert {"corpora/order-a", "corpora/order-b", "corpora/order-c"} <= set(seen)


def test_health_and_reflection_are_there(stack: RetrieverStack) -> None:
    health = health_pb2_grpc.HealthStub(stack.channel)
    request = health_pb2.HealthCheckRequest(service="corella.v1.RetrieverService")
    assert health.Check(request, timeout=CALL_SECONDS).status == health_pb2.HealthCheckResponse.SERVING
    assert "corella.v1.RetrieverService" in ProtoReflectionDescriptorDatabase(stack.channel).get_services()


def test_a_corpus_made_anew_is_searched_at_once(stack: RetrieverStack) -> None:
    for word in ("first", "second"):
        stack.fill("anew", [(f"https://docs.example.com/{word}.md", f"# Note\n\n{word} word\n")])
        passages = stack.search("anew", "word").passages
        assert [passage.text for passage in passages] == [f"{word} word"]
        stack.stub.DeleteCorpus(pb.DeleteCorpusRequest(name="corpora/anew", force=True), timeout=CALL_SECONDS)
