"""A corpus gets another index while questions go on: by another model, cut otherwise, killed anywhere, cancelled, rolled back.

Slow because leases of killed workers must run out.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb
from tests.waiting import until

OLD, NEW, THIRD = "0123456789abcdef", "fedcba9876543210", "00000000deadbeef"
SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
NOBODY = pb.Access(level=pb.ACCESS_LEVEL_NOBODY)


class ManyModels(ToyEmbedder):
    """A toy embedder that becomes another model, of other dimensions, when its fingerprint is changed."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__()
        self.fingerprint = fingerprint

    @property
    def DIMENSIONS(self) -> int:  # type: ignore[override]
        return {OLD: 64, NEW: 48}.get(self.fingerprint, 32)

    def _vector(self, text: str) -> list[float]:
        dimensions, counts = self.DIMENSIONS, [0.01] * self.DIMENSIONS
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(f"{self.fingerprint} {word}".encode()) % dimensions] += 1.0
        length = sum(value * value for value in counts) ** 0.5
        return [value / length for value in counts]


class World:
    """The stack, the embedder of new indexes, and that of a former model."""

    def __init__(self, stack: RetrieverStack, present: ManyModels, former: ManyModels) -> None:
        self.stack = stack
        self.present = present
        self.former = former

    def reindex(self, corpus: str, **fields: Any) -> operation_pb2.Operation:
        request = pb.ReindexCorpusRequest(name=f"corpora/{corpus}", **fields)
        return self.stub("ReindexCorpus", request).operation

    def roll_back(self, corpus: str, **fields: Any) -> operation_pb2.Operation:
        return self.stub("RollBackCorpus", pb.RollBackCorpusRequest(name=f"corpora/{corpus}", **fields)).operation

    def stub(self, method: str, request: Any) -> Any:
        return getattr(self.stack.stub, method)(request, timeout=CALL_SECONDS, wait_for_ready=True)

    def done(self, operation: operation_pb2.Operation, more_than: int) -> operation_pb2.Operation:
        request = pb.WaitOperationRequest(name=operation.name, until_done_count_exceeds=more_than)
        return self.stub("WaitOperation", request).operation

    def name(self, corpus: str, uri: str) -> str:
        return self.stack.documents(corpus)[uri].name

    def rows(self, corpus: str) -> dict[str, dict[str, set[tuple[str, int]]]]:
        """What lies in Milvus: by collection and document its (text, access)."""
        client = MilvusClient(uri=self.stack.milvus_uri)
        found: dict[str, dict[str, set[tuple[str, int]]]] = {}
        stem = f"corella_c_{corpus.replace('-', '_')}_"
        for collection in [name for name in client.list_collections() if name.startswith(stem)]:
            rows = client.query(collection, filter="position >= 0", output_fields=["document_id", "text", "access"], limit=10_000)
            documents = found.setdefault(collection, {})
            for row in rows:
                documents.setdefault(row["document_id"], set()).add((row["text"], row["access"]))
        client.close()
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    present, former = ManyModels(OLD), ManyModels(OLD)
    present.start()
    former.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORELLA_RETRIEVER_FORMER_EMBEDDERS", f'[{{"address": "127.0.0.1:{former.port}"}}]')
        patch.setenv("CORELLA_RETRIEVER_STALL_SECONDS", "60")
        stack = RetrieverStack(tmp_path_factory.mktemp("reindexing"), f"127.0.0.1:{present.port}")
        yield World(stack, present, former)
        stack.close()
    present.stop()
    former.stop()


@pytest.fixture(autouse=True)
def as_it_was(world: World) -> Iterator[None]:
    world.present.fingerprint = OLD
    yield
    world.present.seconds_per_text = 0.0
    world.present.fingerprint = OLD


def uri(number: int) -> str:
    return f"https://docs.example.com/{number}.md"


def page(number: int, word: str = "") -> tuple[str, str]:
    """A page of one chunk of 200 tokens, or of several of 40."""
    filler = " ".join(f"common{number % 7} text" for _ in range(30))
    return uri(number), f"# Page {number}\n\nnumber{number} {word} {filler}.\n\n{filler}.\n"


@contextmanager
def questions(world: World, corpus: str) -> Iterator[list[pb.SearchResponse]]:
    """Asks all the time, in every mode: never an error, never nothing found. Gives what was answered."""
    answers: list[pb.SearchResponse] = []
    stop = threading.Event()

    def ask() -> None:
        modes = (pb.SEARCH_MODE_HYBRID, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_KEYWORD)
        while not stop.is_set():
            answers.append(world.stack.search(corpus, "number3 common3", mode=modes[len(answers) % 3], limit=3))
            assert answers[-1].passages
            assert answers[-1].passages[0].uri.startswith(uri(3))
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield answers
        finally:
            stop.set()
            asking.result()
    assert answers


def find(world: World, corpus: str, word: str) -> set[str]:
    """URIs of the documents with this word, by keyword."""
    found = world.stack.search(corpus, word, mode=pb.SEARCH_MODE_KEYWORD, limit=20).passages
    return {passage.uri.partition("#")[0] for passage in found}


def check(world: World, corpus: str, fingerprint: str, words: dict[str, set[str]]) -> None:
    """The corpus answers from one index, which holds these words and no others of these; the documents' counts are those of that index."""
    shown = world.stack.corpus(corpus)
    assert shown.embedding_model_fingerprint == fingerprint
    assert (shown.indexes[0].state, shown.indexes[0].embedding_model_fingerprint) == (pb.INDEX_STATE_SERVING, fingerprint)
    for word, uris in words.items():
        assert find(world, corpus, word) == uris, word
    documents = world.stack.documents(corpus)
    readable = [document for document in documents.values() if document.access.level != pb.ACCESS_LEVEL_NOBODY]
    assert {document.state for document in documents.values()} == {pb.DOCUMENT_STATE_ACTIVE}
    for document in readable:
        chunks = world.stub("ListChunks", pb.ListChunksRequest(parent=document.name, page_size=100)).chunks
        assert len(chunks) == document.chunk_count > 0
    assert shown.document_count == len(documents)
    assert shown.chunk_count == shown.indexes[0].chunk_count == sum(document.chunk_count for document in documents.values())
    vector = world.stack.search(corpus, "number3 common3", mode=pb.SEARCH_MODE_VECTOR, limit=1)
    assert vector.passages[0].uri.startswith(uri(3))
    assert vector.embedding_model_fingerprint == fingerprint


def test_what_changes_during_the_build_is_right_after_the_switch_and_after_a_roll_back(world: World) -> None:
    corpus, stack = "changing", world.stack
    stack.fill(corpus, [page(number) for number in range(24)], chunking=pb.Chunking(max_tokens=200, overlap_tokens=-1))
    world.present.fingerprint, world.present.seconds_per_text = NEW, 0.03
    deleted = world.name(corpus, uri(5)), world.name(corpus, uri(6))
    closed = world.name(corpus, uri(8)), world.name(corpus, uri(9))
    with questions(world, corpus) as answers:
        begun = world.reindex(corpus, chunking=pb.Chunking(max_tokens=40), request_id="once")
        assert world.reindex(corpus, chunking=pb.Chunking(max_tokens=40), request_id="once").name == begun.name
        world.done(begun, 0)
        with pytest.raises(grpc.RpcError) as error:
            world.reindex(corpus, force=True)
        assert failure(error.value).reason == "REINDEX_UNDER_WAY"
        with pytest.raises(grpc.RpcError) as error:
            world.roll_back(corpus)
        assert failure(error.value).reason in {"REINDEX_UNDER_WAY", "NO_FORMER_INDEX"}
        building = stack.corpus(corpus).indexes[1]
        assert (building.state, building.chunking.max_tokens, building.embedding_model_fingerprint) == (pb.INDEX_STATE_BUILDING, 40, NEW)
        assert building.pending_document_count > 0
        changes = stack.ingest(corpus, [page(1, "changedword"), page(100, "addedword"), page(101, "addedword")])
        for name in deleted:
            world.stub("DeleteDocument", pb.DeleteDocumentRequest(name=name))
            traces = {each.place: each.count for each in world.stub("AuditDocument", pb.AuditDocumentRequest(name=name)).traces}
            assert (traces["chunks in the store"], traces["queues, leases and locks"]) == (0, 0)
        for name in closed:
            world.stub("UpdateDocumentAccess", pb.UpdateDocumentAccessRequest(name=name, access=NOBODY))
        ended = stack.wait(begun)
        assert stack.wait(changes).succeeded_count == 3
        assert (ended.state, ended.failed_count) == (SUCCEEDED, 0)
        assert ended.succeeded_count == ended.total_count >= 22
        until(lambda: answers[-1].embedding_model_fingerprint == NEW)
    assert {answer.embedding_model_fingerprint for answer in answers} == {OLD, NEW}
    kept = {uri(1), uri(100), uri(101)}
    words = {"changedword": {uri(1)}, "addedword": {uri(100), uri(101)}, "number5": set(), "number8": set(), "number9": set()}
    check(world, corpus, NEW, words)
    former = stack.corpus(corpus).indexes[1]
    assert (former.state, former.embedding_model_fingerprint, former.chunking.max_tokens) == (pb.INDEX_STATE_PREVIOUS, OLD, 200)
    # What is unchanged stays so: the index is another one, the documents are not.
    assert stack.wait(stack.ingest(corpus, [page(2), page(3)])).unchanged_count == 2

    # Changes after the switch are right after the roll-back.
    stack.wait(stack.ingest(corpus, [page(2, "laterword"), page(102, "laterword")]))
    world.stub("DeleteDocument", pb.DeleteDocumentRequest(name=world.name(corpus, uri(101))))
    world.stub("UpdateDocumentAccess", pb.UpdateDocumentAccessRequest(name=closed[0], access=pb.Access(level=pb.ACCESS_LEVEL_TENANT)))
    world.stub("UpdateDocumentAccess", pb.UpdateDocumentAccessRequest(name=world.name(corpus, uri(10)), access=NOBODY))
    words |= {"laterword": {uri(2), uri(102)}, "addedword": {uri(100)}, "number8": {uri(8)}, "number10": set()}
    check(world, corpus, NEW, words)
    assert stack.corpus(corpus).indexes[1].pending_document_count > 0
    with questions(world, corpus):
        assert stack.wait(world.roll_back(corpus)).state == SUCCEEDED
        until(lambda: stack.corpus(corpus).embedding_model_fingerprint == OLD)
    check(world, corpus, OLD, words)
    documents = {document.name.rpartition("/")[2] for document in stack.documents(corpus).values()}
    lying = world.rows(corpus)
    assert len(lying) == 2
    for collection in lying.values():
        assert set(collection) == documents
        for name, expected in ((closed[0], 0), (closed[1], -1)):
            assert {access for _, access in collection[name.rpartition("/")[2]]} == {expected}
    assert kept <= set(stack.documents(corpus)) | {uri(101)}


def test_nothing_is_built_that_is_there_and_nothing_is_rolled_back_that_was_not(world: World) -> None:
    corpus, stack = "same", world.stack
    stack.fill(corpus, [page(3)])
    with pytest.raises(grpc.RpcError) as error:
        world.reindex(corpus)
    assert failure(error.value).reason == "REINDEX_NOT_NEEDED"
    with pytest.raises(grpc.RpcError) as error:
        world.roll_back(corpus)
    assert failure(error.value).reason == "NO_FORMER_INDEX"
    with pytest.raises(grpc.RpcError) as error:
        world.reindex(corpus, chunking=pb.Chunking(max_tokens=5_000))
    assert failure(error.value).code is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as error:
        world.reindex("no-such-corpus")
    assert failure(error.value).reason == "CORPUS_NOT_FOUND"
    # The same model gives the same vectors: they are taken over.
    world.present.embedded_texts.clear()
    assert stack.wait(world.reindex(corpus, force=True)).state == SUCCEEDED
    assert world.present.embedded_texts == []
    check(world, corpus, OLD, {"number3": {uri(3)}})
    # Of an index that was to be lazy the vectors come later.
    assert stack.wait(world.reindex(corpus, embedding_mode=pb.EMBEDDING_MODE_LAZY)).state == SUCCEEDED
    until(lambda: stack.corpus(corpus).embedding_mode == pb.EMBEDDING_MODE_LAZY)
    until(lambda: stack.corpus(corpus).embedded_chunk_count == stack.corpus(corpus).chunk_count > 0)
    assert len(world.rows(corpus)) == 2


def test_cancelling_drops_what_was_built_and_the_corpus_answers_as_before(world: World) -> None:
    corpus, stack = "cancelled", world.stack
    stack.fill(corpus, [page(number) for number in range(20)])
    world.present.fingerprint, world.present.seconds_per_text = NEW, 0.1
    operation = world.reindex(corpus)
    world.done(operation, 0)
    ended = world.stub("CancelOperation", pb.CancelOperationRequest(name=operation.name)).operation
    assert ended.state == operation_pb2.OPERATION_STATE_CANCELLED
    assert ended.succeeded_count + ended.cancelled_count == ended.total_count == 20
    until(lambda: len(world.rows(corpus)) == 1)
    world.present.seconds_per_text = 0.0
    check(world, corpus, OLD, {"number3": {uri(3)}})
    assert len(stack.corpus(corpus).indexes) == 1
    assert stack.wait(world.reindex(corpus)).state == SUCCEEDED
    until(lambda: stack.corpus(corpus).embedding_model_fingerprint == NEW)
    check(world, corpus, NEW, {"number3": {uri(3)}})
    world.stub("DeleteCorpus", pb.DeleteCorpusRequest(name=f"corpora/{corpus}", force=True))
    assert world.rows(corpus) == {}


def test_an_index_of_a_model_that_no_embedder_has_is_refused(world: World) -> None:
    corpus, stack = "orphaned", world.stack
    world.present.fingerprint = THIRD
    stack.fill(corpus, [page(3), page(4)])
    world.present.fingerprint = NEW
    with pytest.raises(grpc.RpcError) as error:
        stack.search(corpus, "number3")
    assert failure(error.value).reason == "EMBEDDING_MODEL_MISMATCH"
    assert find(world, corpus, "number3") == {uri(3)}
    # Indexing it anew helps, and going back is refused as searching was.
    assert stack.wait(world.reindex(corpus)).state == SUCCEEDED
    until(lambda: stack.corpus(corpus).embedding_model_fingerprint == NEW)
    check(world, corpus, NEW, {"number3": {uri(3)}})
    stack.wait(stack.ingest(corpus, [page(4, "changed")]))
    ended = stack.wait(world.roll_back(corpus))
    assert ended.state == operation_pb2.OPERATION_STATE_FAILED
    assert "EMBEDDING_MODEL_MISMATCH" in str(ended.error.details[0].value)
    check(world, corpus, NEW, {"number3": {uri(3)}, "changed": {uri(4)}})


def test_killed_anywhere_it_goes_on_and_the_alias_points_to_a_whole_index(world: World) -> None:
    corpus, stack = "killed", world.stack
    stack.fill(corpus, [page(number) for number in range(30)])
    world.present.fingerprint, world.present.seconds_per_text = NEW, 0.05
    operation = world.reindex(corpus)
    added = []
    for done, name, start in (
        (1, "worker", stack.start_worker),
        (8, "milvus", stack.start_milvus),
        (12, "retriever", stack.start_retriever),
    ):
        world.done(operation, done)
        stack.kill(name)
        start()
        assert world.stub("Search", pb.SearchRequest(corpus=f"corpora/{corpus}", query="number3 common3")).passages
        added.append(stack.ingest(corpus, [page(20 + done, f"after{name}")]))
    ended = stack.wait(operation)
    assert (ended.state, ended.failed_count, ended.succeeded_count) == (SUCCEEDED, 0, ended.total_count)
    until(lambda: stack.corpus(corpus).embedding_model_fingerprint == NEW)
    changed = {"afterworker": {uri(21)}, "aftermilvus": {uri(28)}, "afterretriever": {uri(32)}}
    until(lambda: all(find(world, corpus, word) == uris for word, uris in changed.items()))
    # A document can be found a moment before it is noted as ACTIVE.
    assert [stack.wait(each).failed_count for each in added] == [0, 0, 0]
    check(world, corpus, NEW, {"number3": {uri(3)}, **changed})


def test_a_worker_killed_around_the_switch_is_replaced_and_the_switch_is_made(world: World) -> None:
    """Killed a little later each time: while it writes the last documents, while it switches, and after."""
    corpus, stack = "switching", world.stack
    stack.fill(corpus, [page(3), page(4)])
    for moment in (0.05, 0.3, 0.6):
        operation = world.reindex(corpus, force=True)
        time.sleep(moment)
        stack.kill("worker")
        assert find(world, corpus, "number3") == {uri(3)}
        stack.start_worker()
        assert stack.wait(operation).state == SUCCEEDED
        assert find(world, corpus, "number3") == {uri(3)}
        until(lambda: [index.state for index in stack.corpus(corpus).indexes] == [pb.INDEX_STATE_SERVING, pb.INDEX_STATE_PREVIOUS])
    until(lambda: len(world.rows(corpus)) == 2)
    assert len({frozenset(rows) for rows in world.rows(corpus).values()}) == 1
