"""Documents go in, are found, change and go away: every process real but the embedder."""

from __future__ import annotations

import hashlib
import time
import uuid

import grpc
import pytest
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure, stream

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb

PAGES = [
    (
        "https://docs.example.com/falcon.md",
        "# Falcon\n\nThe falcon flies fast.\n\n## Warranty\n\nThe warranty lasts 36 months.\n",
        {"kind": "bird"},
    ),
    ("https://docs.example.com/turtle.md", "# Turtle\n\nThe turtle walks slowly and has a shell.\n", {"kind": "reptile", "say": 'a"b\\c'}),
    ("https://docs.example.com/tea.md", "# Tea\n\nTea is brewed with hot water in a pot.\n", {}),
]


def found(stack: RetrieverStack, corpus: str, query: str, **fields: object) -> list[str]:
    return [passage.uri for passage in stack.search(corpus, query, **fields).passages]


def test_documents_are_found_with_the_anchor_of_their_section(toy_stack: RetrieverStack) -> None:
    operation = toy_stack.fill("first", PAGES)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert (operation.total_count, operation.done_count, operation.succeeded_count) == (3, 3, 3)
    assert operation.chunk_count == operation.embedded_chunk_count == 4
    best = toy_stack.search("first", "how long is the warranty").passages[0]
    assert best.uri == "https://docs.example.com/falcon.md#warranty"
    assert list(best.heading_path) == ["Falcon", "Warranty"]
    assert best.metadata == {"kind": "bird"}
    assert best.provenance.keyword_rank == 1
    assert best.provenance.vector_rank >= 1
    corpus = toy_stack.corpus("first")
    assert (corpus.document_count, corpus.chunk_count, corpus.embedded_chunk_count) == (3, 4, 4)


def test_a_document_shows_its_state_and_its_bytes(toy_stack: RetrieverStack) -> None:
    toy_stack.fill("bytes", PAGES[:1])
    listed = toy_stack.documents("bytes")[PAGES[0][0]]
    request = pb.GetDocumentRequest(name=listed.name, include_content=True)
    document = toy_stack.stub.GetDocument(request, timeout=CALL_SECONDS).document
    assert document.content == PAGES[0][1].encode()
    assert document.content_sha256 == hashlib.sha256(document.content).hexdigest()
    assert document.state == pb.DOCUMENT_STATE_ACTIVE
    assert (document.title, document.chunk_count, document.embedded_chunk_count) == ("Falcon", 2, 2)
    assert listed.content == b""


def test_what_did_not_change_is_not_touched(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.fill("again", PAGES)
    before, texts = toy_stack.documents("again"), len(toy_embedder.embedded_texts)
    operation = toy_stack.wait(toy_stack.ingest("again", PAGES))
    assert (operation.unchanged_count, operation.succeeded_count, operation.total_count) == (3, 0, 3)
    assert toy_stack.documents("again") == before
    assert len(toy_embedder.embedded_texts) == texts


def test_only_the_changed_chunk_of_a_changed_document_is_embedded(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    uri, text, _ = PAGES[0]
    toy_stack.fill("change", [(uri, text)])
    toy_embedder.embedded_texts.clear()
    operation = toy_stack.wait(toy_stack.ingest("change", [(uri, text.replace("36 months", "48 months"))]))
    assert operation.succeeded_count == 1
    assert [text for text in toy_embedder.embedded_texts if "36 months" in text or "flies" in text] == []
    assert len(toy_embedder.embedded_texts) == 1
    texts = [passage.text for passage in toy_stack.search("change", "warranty months falcon", limit=10).passages]
    assert sorted(texts) == ["The falcon flies fast.", "The warranty lasts 48 months."]


def test_an_earlier_version_answers_until_the_new_one_is_whole(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    uri = "https://docs.example.com/slow.md"
    toy_stack.fill("versions", [(uri, "# Old\n\nold words here\n")])
    toy_embedder.seconds_per_text = 1.5
    try:
        operation = toy_stack.ingest("versions", [(uri, "# New\n\nnew words here\n")])
        assert toy_stack.documents("versions")[uri].state in (pb.DOCUMENT_STATE_PENDING, pb.DOCUMENT_STATE_PROCESSING)
        assert toy_stack.search("versions", "words", mode=pb.SEARCH_MODE_KEYWORD).passages[0].text == "old words here"
        toy_stack.wait(operation)
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert [passage.text for passage in toy_stack.search("versions", "words").passages] == ["new words here"]


def test_a_deleted_document_is_not_found_by_the_next_search(toy_stack: RetrieverStack) -> None:
    toy_stack.fill("delete", PAGES)
    for uri, document in toy_stack.documents("delete").items():
        assert any(hit.startswith(uri) for hit in found(toy_stack, "delete", "falcon turtle tea", limit=50))
        toy_stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=document.name), timeout=CALL_SECONDS)
        for mode in (pb.SEARCH_MODE_KEYWORD, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID):
            assert not any(hit.startswith(uri) for hit in found(toy_stack, "delete", "falcon turtle tea", limit=50, mode=mode))
    assert toy_stack.documents("delete") == {}
    assert toy_stack.corpus("delete").chunk_count == 0
    assert [path for path in (toy_stack.folder / "blobs" / "delete").rglob("*") if path.is_file()] == []


def test_a_document_deleted_while_it_is_ingested_does_not_come_back(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("race")
    toy_embedder.seconds_per_text = 1.0
    try:
        operation = toy_stack.ingest("race", [("https://docs.example.com/race.md", "# Race\n\nrunning\n")])
        time.sleep(0.5)
        name = toy_stack.documents("race")["https://docs.example.com/race.md"].name
        toy_stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=name), timeout=CALL_SECONDS)
        ended = toy_stack.wait(operation)
        time.sleep(1.5)
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert ended.failed_count == 1
    assert "deleted" in ended.failures[0].error.message
    assert toy_stack.documents("race") == {}
    assert toy_stack.corpus("race").chunk_count == 0


def test_a_document_that_cannot_be_read_fails_with_its_reason_and_the_others_succeed(toy_stack: RetrieverStack) -> None:
    toy_stack.create("mixed")
    operation = toy_stack.wait(toy_stack.ingest("mixed", [*PAGES, ("https://docs.example.com/empty.md", " \n ")]))
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert (operation.succeeded_count, operation.failed_count) == (3, 1)
    assert operation.failures[0].uri == "https://docs.example.com/empty.md"
    assert "no text" in operation.failures[0].error.message
    failed = toy_stack.documents("mixed")["https://docs.example.com/empty.md"]
    assert failed.state == pb.DOCUMENT_STATE_FAILED
    assert failed.error == operation.failures[0].error


def test_a_repeated_request_is_done_once(toy_stack: RetrieverStack) -> None:
    toy_stack.create("once")
    request_id = str(uuid.uuid4())
    first = toy_stack.ingest("once", PAGES, request_id)
    second = toy_stack.ingest("once", PAGES, request_id)
    assert first.name == second.name
    toy_stack.wait(first)
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.ingest("once", PAGES[:1], request_id)
    assert failure(error.value).reason == "REQUEST_ID_REUSED"
    blobs = [path for path in (toy_stack.folder / "blobs" / "once").rglob("*") if path.is_file()]
    assert len(blobs) == 3


def test_the_same_documents_handed_in_while_they_are_worked_on_are_done_once(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("twice")
    toy_embedder.seconds_per_text = 0.3
    toy_embedder.embedded_texts.clear()
    try:
        first, second = toy_stack.ingest("twice", PAGES), toy_stack.ingest("twice", PAGES)
        ended = [toy_stack.wait(first), toy_stack.wait(second)]
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert [operation.succeeded_count + operation.unchanged_count for operation in ended] == [3, 3]
    assert len(toy_embedder.embedded_texts) == 4


def test_a_stream_that_breaks_off_leaves_nothing_behind(toy_stack: RetrieverStack) -> None:
    toy_stack.create("broken")

    def breaking() -> object:
        yield from list(stream("broken", PAGES))
        yield pb.IngestDocumentsRequest(document=pb.Document(uri="ftp://docs.example.com/x.md"))

    with pytest.raises(grpc.RpcError) as error:
        toy_stack.stub.IngestDocuments(breaking(), timeout=CALL_SECONDS)
    said = failure(error.value)
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert said.violations[0][0] == "documents[3].uri"
    assert toy_stack.documents("broken") == {}
    assert [path for path in (toy_stack.folder / "blobs" / "broken").rglob("*") if path.is_file()] == []


def test_a_document_over_the_limit_is_refused(toy_stack: RetrieverStack) -> None:
    toy_stack.create("large")
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.ingest("large", [("https://docs.example.com/large.md", "x" * 2_000_001)])
    assert failure(error.value).reason == "DOCUMENT_TOO_LARGE"


def test_a_directory_is_read_only_below_an_allowed_root(toy_stack: RetrieverStack) -> None:
    folder = toy_stack.import_root / "manual"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# A\n\nalpha\n")
    (folder / "deep" / "b.html").write_text("<h1>B</h1><p>beta</p>")
    (folder / "c.bin").write_text("gamma")
    (folder / "way-out.md").symlink_to("/etc/hostname")
    toy_stack.create("imported")

    def bring_in(path: str) -> operation_pb2.Operation:
        source = pb.DirectorySource(path=path, base_uri="https://docs.example.com/")
        request = pb.ImportDocumentsRequest(parent="corpora/imported", directory=source)
        return toy_stack.stub.ImportDocuments(request, timeout=CALL_SECONDS).operation

    assert toy_stack.wait(bring_in(str(folder))).succeeded_count == 2
    assert sorted(toy_stack.documents("imported")) == ["https://docs.example.com/a.md", "https://docs.example.com/deep/b.html"]
    for path in ("/etc", str(toy_stack.import_root / ".."), str(folder / "way-out.md" / "..")):
        with pytest.raises(grpc.RpcError) as error:
            bring_in(path)
        assert failure(error.value).reason == "SOURCE_NOT_ALLOWED"
