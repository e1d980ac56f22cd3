"""A folder of hostile files among good ones, through the real worker: every bad one FAILED with its reason, every good one ACTIVE."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_files import hostile_file, hostile_names
from retriever_stack import CALL_SECONDS, RetrieverStack

from corella.errors import RpcFailure
from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb

MAX_BYTES = 2_000_000
"""What the stack of these tests takes; larger files do not get as far as a reader."""
BREAKS_ITS_READER = "forms-within-forms.pdf"
SLOW = ("stream-bomb.pdf", "stream-in-stream-bomb.pdf")
"""As good at breaking the reader as the other one, and slower: the unit tests have them."""


def parts(corpus: str, documents: Sequence[tuple[str, bytes]]) -> Iterator[pb.IngestDocumentsRequest]:
    yield pb.IngestDocumentsRequest(start=pb.IngestStart(parent=f"corpora/{corpus}"))
    for uri, content in documents:
        yield pb.IngestDocumentsRequest(document=pb.Document(uri=uri))
        for start in range(0, len(content), 1 << 20):
            yield pb.IngestDocumentsRequest(content=content[start : start + (1 << 20)])


@pytest.mark.slow
def test_every_bad_document_fails_with_its_reason_and_every_good_one_is_active(toy_stack: RetrieverStack) -> None:
    """Slow because one of them is given the memory that a document may take before it is stopped, twice."""
    toy_stack.create("hostile")
    documents, reasons = [], {}
    for name in hostile_names():
        file = hostile_file(name) if name not in SLOW else None
        if file is not None and len(file.content) < MAX_BYTES:
            uri = f"https://docs.example.com/{name}"
            documents += [(uri, file.content), (f"{uri}.md", f"# Good\n\nneighbour of {name}\n".encode())]
            reasons[uri] = file.reasons
    assert any(BREAKS_ITS_READER in uri for uri in reasons)
    operation = toy_stack.stub.IngestDocuments(parts("hostile", documents), timeout=CALL_SECONDS).operation
    operation = toy_stack.wait(operation, seconds=180)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert (operation.succeeded_count, operation.failed_count) == (len(reasons), len(reasons))
    found = toy_stack.documents("hostile")
    assert {uri for uri, document in found.items() if document.state == pb.DOCUMENT_STATE_ACTIVE} == {f"{uri}.md" for uri in reasons}
    for uri, expected in reasons.items():
        failure = RpcFailure.from_status(found[uri].error)
        assert found[uri].state == pb.DOCUMENT_STATE_FAILED
        assert failure.reason in expected, (uri, failure)
        assert str(failure).endswith("."), (uri, failure)
    assert {item.uri for item in operation.failures} <= set(reasons)
    best = toy_stack.search("hostile", f"neighbour of {BREAKS_ITS_READER}", limit=3).passages
    assert any(passage.uri.startswith(f"https://docs.example.com/{BREAKS_ITS_READER}.md") for passage in best)


def test_the_worker_says_how_its_reader_is_confined(toy_stack: RetrieverStack) -> None:
    toy_stack.fill("confined", [("https://docs.example.com/a.md", "# A\n\ntext\n")])
    [line, *_] = [line for line in toy_stack.log("worker").splitlines() if "reader_confined" in line]
    assert "memory" in line
    assert "namespace" in line
    assert "seccomp" in line


def test_pages_slides_and_rows_are_where_the_address_says(toy_stack: RetrieverStack) -> None:
    toy_stack.create("places")
    rows = "part,price\n" + "".join(f"part{n},{'word ' * 20}{n}\n" for n in range(2, 40))
    operation = toy_stack.stub.IngestDocuments(parts("places", [("https://docs.example.com/a.csv", rows.encode())]), timeout=CALL_SECONDS)
    assert toy_stack.wait(operation.operation).state == operation_pb2.OPERATION_STATE_SUCCEEDED
    [best, *_] = toy_stack.search("places", "part17", mode=pb.SEARCH_MODE_KEYWORD).passages
    uri, _, fragment = best.uri.partition("#row=")
    first, _, last = fragment.partition("-")
    assert uri == "https://docs.example.com/a.csv"
    assert int(first) <= 17 <= int(last)
    assert best.text.startswith("part | price\n")
