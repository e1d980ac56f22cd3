"""Chunks listed and fetched by name, on a real Milvus Lite and a real Valkey."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from retriever_stack import CALL_SECONDS, RetrieverStack, failure

from corella.v1 import retriever_pb2 as pb
from services.chassis.channel import Remote
from services.chassis.settings import ClientSettings
from services.trainer.grpc_retriever import GrpcRetriever

LONG = "# Pump P7\n\n" + "\n\n".join(f"## Part {n}\n\nPart {n} of the pump is number {n * 111}." for n in range(7))
SHORT = "# Lamp K3\n\nIt charges in 3 hours.\n"
LONG_URI, SHORT_URI = "https://docs.example.com/pump.md", "https://docs.example.com/lamp.md"
DOCUMENT = f"corpora/chunks/documents/{'0' * 32}"


@pytest.fixture(scope="module")
def stack(toy_stack: RetrieverStack) -> RetrieverStack:
    toy_stack.fill("chunks", [(LONG_URI, LONG), (SHORT_URI, SHORT)])
    return toy_stack


def listed(stack: RetrieverStack, document: str, page_size: int = 1000) -> list[pb.Passage]:
    """All chunks of a document, page by page."""
    request = pb.ListChunksRequest(parent=document, page_size=page_size)
    found: list[pb.Passage] = []
    while True:
        page = stack.stub.ListChunks(request, timeout=CALL_SECONDS)
        assert len(page.chunks) <= page_size
        found += page.chunks
        if not page.next_page_token:
            return found
        assert len(page.chunks) == page_size
        request.page_token = page.next_page_token


def gotten(stack: RetrieverStack, corpus: str, names: list[str]) -> pb.BatchGetChunksResponse:
    return stack.stub.BatchGetChunks(pb.BatchGetChunksRequest(parent=f"corpora/{corpus}", names=names), timeout=CALL_SECONDS)


def refused(stack: RetrieverStack, method: str, request: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        getattr(stack.stub, method)(request, timeout=CALL_SECONDS)
    return failure(error.value)


def test_chunks_are_listed_in_the_documents_order(stack: RetrieverStack) -> None:
    document = stack.documents("chunks")[LONG_URI]
    chunks = listed(stack, document.name)
    assert len(chunks) == document.chunk_count >= 7
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.document for chunk in chunks} == {document.name}
    assert all(chunk.name.startswith(f"{document.name}/chunks/") for chunk in chunks)
    assert "number 666" in chunks[-1].text
    assert chunks[-1].uri.startswith(LONG_URI)
    assert not any(chunk.HasField("provenance") or chunk.score for chunk in chunks)


@pytest.mark.parametrize("page_size", [1, 3, 7])
def test_pages_together_hold_what_one_page_holds(stack: RetrieverStack, page_size: int) -> None:
    document = stack.documents("chunks")[LONG_URI].name
    assert listed(stack, document, page_size) == listed(stack, document)


def test_a_listed_chunk_is_the_passage_a_search_finds(stack: RetrieverStack) -> None:
    passage = stack.search("chunks", "part 4 of the pump", limit=1).passages[0]
    passage.ClearField("score")
    passage.ClearField("provenance")
    assert passage in listed(stack, passage.document)


def test_chunks_come_by_name_in_the_order_asked_and_missing_ones_are_named(stack: RetrieverStack) -> None:
    documents = stack.documents("chunks")
    long, short = listed(stack, documents[LONG_URI].name), listed(stack, documents[SHORT_URI].name)
    elsewhere = short[0].name.replace(short[0].document, documents[LONG_URI].name)
    unknown = [f"{DOCUMENT}/chunks/{'f' * 32}", f"{DOCUMENT}/chunks/not-ours", elsewhere]
    found = gotten(stack, "chunks", [long[3].name, unknown[0], short[0].name, unknown[1], long[0].name, unknown[2], long[3].name])
    assert list(found.chunks) == [long[3], short[0], long[0]]
    assert list(found.missing) == unknown


def test_a_thousand_names_are_taken(stack: RetrieverStack) -> None:
    chunk = listed(stack, stack.documents("chunks")[SHORT_URI].name)[0]
    found = gotten(stack, "chunks", [*(f"{DOCUMENT}/chunks/{n:032x}" for n in range(999)), chunk.name])
    assert list(found.chunks) == [chunk]
    assert len(found.missing) == 999


def test_a_deleted_document_is_gone_with_the_acknowledgement(stack: RetrieverStack) -> None:
    for round_ in range(5):
        uri = f"https://docs.example.com/gone-{round_}.md"
        stack.wait(stack.ingest("chunks", [(uri, LONG)]))
        document = stack.documents("chunks")[uri].name
        names = [chunk.name for chunk in listed(stack, document)]
        stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=document), timeout=CALL_SECONDS)
        found = gotten(stack, "chunks", names)
        assert not found.chunks
        assert list(found.missing) == names
        assert refused(stack, "ListChunks", pb.ListChunksRequest(parent=document)).reason == "DOCUMENT_NOT_FOUND"


def test_of_a_changed_document_only_the_unchanged_chunks_are_left(stack: RetrieverStack) -> None:
    uri = "https://docs.example.com/changing.md"
    stack.wait(stack.ingest("chunks", [(uri, LONG)]))
    document = stack.documents("chunks")[uri].name
    before = listed(stack, document)
    stack.wait(stack.ingest("chunks", [(uri, LONG.replace("number 333", "number 334"))]))
    after = listed(stack, document)
    changed = [chunk.name for chunk in before if "number 333" in chunk.text]
    assert changed
    found = gotten(stack, "chunks", [chunk.name for chunk in before])
    assert list(found.missing) == changed
    assert {chunk.name for chunk in found.chunks} == {chunk.name for chunk in after} & {chunk.name for chunk in before}
    assert any("number 334" in chunk.text for chunk in after)
    assert [chunk.index for chunk in after] == list(range(len(before)))


def test_a_corpus_that_is_gone_is_said_to_be(stack: RetrieverStack) -> None:
    stack.fill("leaving", [(SHORT_URI, SHORT)])
    document = stack.documents("leaving")[SHORT_URI].name
    names = [chunk.name for chunk in listed(stack, document)]
    stack.stub.DeleteCorpus(pb.DeleteCorpusRequest(name="corpora/leaving", force=True), timeout=CALL_SECONDS)
    for method, request in (
        ("BatchGetChunks", pb.BatchGetChunksRequest(parent="corpora/leaving", names=names)),
        ("ListChunks", pb.ListChunksRequest(parent=document)),
    ):
        said = refused(stack, method, request)
        assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "CORPUS_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "request_message", "fields"),
    [
        ("ListChunks", pb.ListChunksRequest(parent="corpora/chunks"), {"parent"}),
        ("ListChunks", pb.ListChunksRequest(parent=DOCUMENT, page_size=-1), {"page_size"}),
        ("ListChunks", pb.ListChunksRequest(parent=DOCUMENT, page_token="nonsense"), {"page_token"}),
        ("BatchGetChunks", pb.BatchGetChunksRequest(parent="chunks"), {"parent", "names"}),
        ("BatchGetChunks", pb.BatchGetChunksRequest(parent="corpora/chunks", names=[f"{DOCUMENT}/chunks/1"] * 1001), {"names"}),
        (
            "BatchGetChunks",
            pb.BatchGetChunksRequest(
                parent="corpora/chunks", names=[DOCUMENT, f"{DOCUMENT}/chunks/1", "corpora/other/documents/1/chunks/1", "x"]
            ),
            {"names[0]", "names[2]", "names[3]"},
        ),
    ],
)
def test_every_violation_is_listed(stack: RetrieverStack, method: str, request_message: Any, fields: set[str]) -> None:
    said = refused(stack, method, request_message)
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {field for field, _ in said.violations} == fields


def test_a_thousand_wrong_names_are_an_error_that_arrives(stack: RetrieverStack) -> None:
    said = refused(stack, "BatchGetChunks", pb.BatchGetChunksRequest(parent="corpora/chunks", names=["x"] * 1000))
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert 0 < len(said.violations) <= 20


@pytest.mark.parametrize("document", [DOCUMENT, "corpora/chunks/documents/abc"])
def test_a_document_that_never_was_is_not_found(stack: RetrieverStack, document: str) -> None:
    said = refused(stack, "ListChunks", pb.ListChunksRequest(parent=document))
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "DOCUMENT_NOT_FOUND")


async def test_the_trainers_client_walks_through_a_corpus_and_asks_what_is_left(stack: RetrieverStack) -> None:
    uris = [f"https://docs.example.com/walk-{n}.md" for n in range(3)]
    stack.fill("walk", [(uri, LONG) for uri in uris])
    remote = Remote("retriever", ClientSettings(address=f"127.0.0.1:{stack.port}"))
    try:
        retriever = GrpcRetriever(remote)
        documents = stack.documents("walk")
        walked = [passage async for passage in retriever.chunks("corpora/walk")]
        assert [each.name for each in walked] == [
            chunk.name for document in sorted(each.name for each in documents.values()) for chunk in listed(stack, document)
        ]
        gone = documents[uris[1]].name
        stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=gone), timeout=CALL_SECONDS)
        left = await retriever.existing([each.name for each in walked] + ["corpora/never/documents/1/chunks/1"])
        assert list(left.values()) == [each for each in walked if not each.name.startswith(gone)]
        assert len(await retriever.search("corpora/walk", "part 4 of the pump", 3)) == 3
    finally:
        await remote.close()
