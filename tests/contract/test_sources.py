"""Sources over the wire: a real retriever, worker, beat, Valkey and Milvus Lite, and a real directory.

Slow where a lease of a killed worker has to run out, or a source has to become due.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from google.protobuf import duration_pb2, field_mask_pb2
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure

from corella.errors import RpcFailure
from corella.v1 import operation_pb2, source_pb2
from corella.v1 import retriever_pb2 as pb
from services.retriever.redis_catalog import PREFIX
from tests.waiting import until

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
BASE = "https://docs.example.com/"


@pytest.fixture
def embedder(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> Iterator[ToyEmbedder]:
    # Vectors that lazy corpora of other tests get in the background are no text of these.
    store = redis.Redis.from_url(toy_stack.redis_url)
    until(lambda: not store.zcard(f"{PREFIX}warming"), 30)
    toy_embedder.embedded_texts.clear()
    yield toy_embedder
    toy_embedder.seconds_per_text = 0.0


class Client:
    """A source of one corpus, and short ways to talk about it."""

    def __init__(self, stack: RetrieverStack, corpus: str, folder: Path, source: str = "docs") -> None:
        self.stack, self.corpus, self.folder = stack, corpus, folder
        self.id = source
        self.name = f"corpora/{corpus}/sources/{source}"

    def create(self, *, request_id: str = "", paused: bool = False, **fields: Any) -> source_pb2.Source:
        directory = pb.DirectorySource(path=str(self.folder), base_uri=BASE)
        source = source_pb2.Source(directory=directory, **fields)
        request = source_pb2.CreateSourceRequest(
            parent=f"corpora/{self.corpus}", source_id=self.id, source=source, paused=paused, request_id=request_id
        )
        return self.stack.sources.CreateSource(request, timeout=CALL_SECONDS).source

    def get(self) -> source_pb2.Source:
        return self.stack.sources.GetSource(source_pb2.GetSourceRequest(name=self.name), timeout=CALL_SECONDS).source

    def begin(self, **fields: Any) -> operation_pb2.Operation:
        return self.stack.sources.SyncSource(source_pb2.SyncSourceRequest(name=self.name, **fields), timeout=CALL_SECONDS).operation

    def sync(self, **fields: Any) -> source_pb2.Source:
        self.stack.wait(self.begin(**fields))
        return self.get()

    def wait(self, seconds: float = 60.0) -> source_pb2.Source:
        """The source once its sync has ended."""
        operation = self.get().current_operation
        if operation:
            self.stack.wait(operation_pb2.Operation(name=operation), seconds)
        return self.get()

    def delete(self, **fields: Any) -> int:
        request = source_pb2.DeleteSourceRequest(name=self.name, **fields)
        return self.stack.sources.DeleteSource(request, timeout=CALL_SECONDS).deleted_document_count

    def active(self) -> set[str]:
        found = self.stack.documents(self.corpus)
        return {uri.removeprefix(BASE) for uri, document in found.items() if document.state == pb.DOCUMENT_STATE_ACTIVE}

    def finds(self, word: str) -> list[str]:
        found = self.stack.search(self.corpus, word, mode=pb.SEARCH_MODE_KEYWORD).passages
        return [passage.uri for passage in found]


def counts(source: source_pb2.Source) -> tuple[int, int, int, int, int]:
    """Added, changed, removed, unchanged, failed."""
    last = source.last_sync
    return last.added_count, last.changed_count, last.removed_count, last.unchanged_count, last.failed_count


def write(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"p{number:02d}.md").write_text(f"# Page {number}\n\nword{number} alpha\n\n## Part\n\npart{number} beta\n")


def test_answers_follow_a_directory(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "follow"
    write(folder, 10)
    toy_stack.create("follow")
    client = Client(toy_stack, "follow", folder)
    created = client.create(request_id="one", display_name="Handbook")
    assert created.state == source_pb2.SOURCE_STATE_SYNCING
    assert client.create(request_id="one", display_name="Handbook").name == created.name == client.name
    with pytest.raises(grpc.RpcError) as error:
        client.create()
    assert failure(error.value).reason == "SOURCE_EXISTS"

    source = client.wait()
    assert source.state == source_pb2.SOURCE_STATE_IDLE
    assert (counts(source), source.document_count) == ((10, 0, 0, 0, 0), 10)
    operation = toy_stack.wait(operation_pb2.Operation(name=source.last_sync.operation))
    assert (operation.kind, operation.target) == (operation_pb2.OPERATION_KIND_SYNC_SOURCE, client.name)
    assert (operation.total_count, operation.succeeded_count, operation.embedded_chunk_count) == (10, 10, 20)
    assert client.finds("word3") == [f"{BASE}p03.md#page-3"]
    assert {document.source for document in toy_stack.documents("follow").values()} == {client.name}

    # Nothing changed: nothing is read, nothing is embedded.
    embedder.embedded_texts.clear()
    assert counts(client.sync()) == (0, 0, 0, 10, 0)
    # One file changed in one of its two sections, one is gone, one is new.
    (folder / "p03.md").write_text("# Page 3\n\nword3 alpha\n\n## Part\n\nrewritten gamma\n")
    (folder / "p04.md").unlink()
    (folder / "new.md").write_text("# New\n\nnovelty\n")
    assert counts(client.sync()) == (1, 1, 1, 8, 0)
    assert len(embedder.embedded_texts) == 2
    assert client.finds("rewritten") == [f"{BASE}p03.md#part"]
    assert client.finds("part3") == client.finds("word4") == []
    assert client.finds("novelty")
    embedder.embedded_texts.clear()
    assert counts(client.sync(full=True)) == (0, 0, 0, 10, 0)
    assert embedder.embedded_texts == []

    # The folder is away: nothing is removed, and the source says why.
    away = folder.rename(folder.with_name("follow-away"))
    operation = toy_stack.wait(client.begin())
    assert operation.state == operation_pb2.OPERATION_STATE_FAILED
    assert RpcFailure.from_status(operation.error).reason == "SOURCE_UNREACHABLE"
    source = client.get()
    assert source.state == source_pb2.SOURCE_STATE_FAILED
    assert RpcFailure.from_status(source.error).reason == "SOURCE_UNREACHABLE"
    assert len(client.active()) == 10
    away.rename(folder)

    # Six of ten are gone: asked first.
    for number in (0, 1, 2, 3, 5, 6):
        (folder / f"p{number:02d}.md").unlink()
    source = client.sync()
    assert source.state == source_pb2.SOURCE_STATE_WAITING_FOR_CONFIRMATION
    assert (source.last_sync.withheld_removal_count, counts(source)) == (6, (0, 0, 0, 4, 0))
    assert len(client.active()) == 10
    source = client.sync(confirm_removals=True)
    assert (source.state, counts(source)) == (source_pb2.SOURCE_STATE_IDLE, (0, 0, 6, 4, 0))
    assert client.active() == {"p07.md", "p08.md", "p09.md", "new.md"}
    assert client.finds("word0") == []

    # Deleted with its documents; what was handed in stays.
    toy_stack.wait(toy_stack.ingest("follow", [("https://other.example.com/mine.md", "# Mine\n\nhandmade\n")]))
    assert client.delete(delete_documents=True, request_id="gone") == 4
    assert client.delete(delete_documents=True, request_id="gone") == 4
    assert set(toy_stack.documents("follow")) == {"https://other.example.com/mine.md"}
    with pytest.raises(grpc.RpcError) as error:
        client.get()
    assert failure(error.value).reason == "SOURCE_NOT_FOUND"
    assert toy_stack.corpus("follow").chunk_count == 1


def test_a_killed_worker_is_replaced_and_its_sync_goes_on(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "killed"
    write(folder, 60)
    toy_stack.create("killed")
    client = Client(toy_stack, "killed", folder)
    embedder.seconds_per_text = 0.05
    created = client.create()
    request = pb.WaitOperationRequest(name=created.current_operation, until_done_count_exceeds=15)
    assert 0 < toy_stack.stub.WaitOperation(request, timeout=CALL_SECONDS).operation.done_count < 60
    toy_stack.kill("worker")
    ready = toy_stack.log("worker").count(" ready.")
    toy_stack.start_worker()
    # How long a process takes to start says more about the machine; from then on it is ours.
    until(lambda: toy_stack.log("worker").count(" ready.") > ready, 60)
    ready_at = time.monotonic()
    done = toy_stack.stub.GetOperation(pb.GetOperationRequest(name=created.current_operation), timeout=CALL_SECONDS).operation.done_count
    request.until_done_count_exceeds = done
    toy_stack.stub.WaitOperation(request, timeout=CALL_SECONDS)
    assert time.monotonic() - ready_at < 15.0
    source = client.wait()
    assert (source.state, counts(source)) == (source_pb2.SOURCE_STATE_IDLE, (60, 0, 0, 0, 0))
    operation = toy_stack.wait(operation_pb2.Operation(name=source.last_sync.operation))
    assert (operation.total_count, operation.succeeded_count, operation.embedded_chunk_count) == (60, 60, 120)
    assert toy_stack.corpus("killed").chunk_count == 120


def test_two_beats_sync_what_is_due_once_and_a_paused_source_never(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "due"
    write(folder, 2)
    # As one of the keys beside the corpora's is called.
    toy_stack.create("due")
    client = Client(toy_stack, "due", folder)
    client.create(sync_interval=duration_pb2.Duration(seconds=10))
    first = client.wait()
    assert first.HasField("next_sync_time")
    began = first.last_sync.start_time.ToMilliseconds()
    assert first.next_sync_time.ToMilliseconds() - began >= 10_000
    toy_stack.start_beat("beat")
    toy_stack.start_beat("beat-2")
    try:
        (folder / "p00.md").write_text("# Page 0\n\nfresh\n")
        until(lambda: bool(client.finds("fresh")), 40)
        listed = toy_stack.stub.ListOperations(pb.ListOperationsRequest(target="corpora/due"), timeout=CALL_SECONDS).operations
        times = sorted(operation.create_time.ToMilliseconds() for operation in listed)
        assert all(later - earlier > 9_000 for earlier, later in itertools.pairwise(times))
        paused = toy_stack.sources.PauseSource(source_pb2.PauseSourceRequest(name=client.name), timeout=CALL_SECONDS).source
        assert paused.state == source_pb2.SOURCE_STATE_PAUSED
        assert not paused.HasField("next_sync_time")
        with pytest.raises(grpc.RpcError) as error:
            client.begin()
        assert failure(error.value).reason == "SOURCE_PAUSED"
        resumed = toy_stack.sources.ResumeSource(source_pb2.ResumeSourceRequest(name=client.name), timeout=CALL_SECONDS).source
        assert resumed.HasField("next_sync_time")
    finally:
        toy_stack.kill("beat")
        toy_stack.kill("beat-2")
    request = source_pb2.UpdateSourceRequest(
        source=source_pb2.Source(name=client.name), update_mask=field_mask_pb2.FieldMask(paths=["sync_interval"])
    )
    assert not toy_stack.sources.UpdateSource(request, timeout=CALL_SECONDS).source.HasField("next_sync_time")
    client.wait()


def test_pausing_stops_a_sync_that_goes_on(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "paused"
    write(folder, 150)
    toy_stack.create("paused")
    client = Client(toy_stack, "paused", folder)
    embedder.seconds_per_text = 0.05
    created = client.create()
    request = pb.WaitOperationRequest(name=created.current_operation, until_done_count_exceeds=1)
    toy_stack.stub.WaitOperation(request, timeout=CALL_SECONDS)
    paused = toy_stack.sources.PauseSource(source_pb2.PauseSourceRequest(name=client.name), timeout=CALL_SECONDS).source
    operation = toy_stack.wait(operation_pb2.Operation(name=created.current_operation), 5)
    assert operation.state == operation_pb2.OPERATION_STATE_CANCELLED
    assert paused.last_sync.added_count < 150
    embedder.seconds_per_text = 0.0
    until(lambda: {each.state for each in toy_stack.documents("paused").values()} == {pb.DOCUMENT_STATE_ACTIVE}, 20)
    assert len(client.active()) < 150
    toy_stack.sources.ResumeSource(source_pb2.ResumeSourceRequest(name=client.name), timeout=CALL_SECONDS)
    client.sync()
    assert len(client.active()) == 150


def test_one_bad_file_fails_alone_and_says_why(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "bad"
    write(folder, 3)
    (folder / "ticket.json").write_text("{ this is no ticket")
    (folder / "big.md").write_text("x" * 3_000_000)
    toy_stack.create("bad")
    client = Client(toy_stack, "bad", folder)
    client.create()
    source = client.wait()
    assert counts(source) == (3, 0, 0, 0, 2)
    reasons = {item.uri.removeprefix(BASE): RpcFailure.from_status(item.error).reason for item in source.last_sync.failures}
    assert reasons["ticket.json"].startswith("DOCUMENT_") or reasons["ticket.json"]
    assert reasons["big.md"] == "DOCUMENT_TOO_LARGE"
    (folder / "ticket.json").unlink()
    (folder / "big.md").unlink()
    source = client.sync()
    assert counts(source) == (0, 0, 1, 3, 0)
    assert client.active() == {"p00.md", "p01.md", "p02.md"}


def test_what_cannot_be_asked_for_is_refused_with_every_reason(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    toy_stack.create("refused")
    outside = Client(toy_stack, "refused", Path("/etc"))
    with pytest.raises(grpc.RpcError) as error:
        outside.create()
    assert (failure(error.value).code, failure(error.value).reason) == (grpc.StatusCode.PERMISSION_DENIED, "SOURCE_NOT_ALLOWED")
    jira = source_pb2.JiraSource(base_url="https://example.atlassian.net", project_keys=["OPS"], token=source_pb2.SecretReference(name="t"))
    request = source_pb2.CreateSourceRequest(parent="corpora/refused", source_id="jira", source=source_pb2.Source(jira=jira))
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.sources.CreateSource(request, timeout=CALL_SECONDS)
    assert failure(error.value).reason == "SOURCE_SECRET_MISSING"
    jira.token.name = "../../etc/passwd"
    jira.base_url = "file:///etc/passwd"
    jira.project_keys[:] = ['OPS" OR 1=1']
    wrong = source_pb2.Source(jira=jira, loss_limit=2.0, sync_interval=duration_pb2.Duration(seconds=3), display_name="x" * 201)
    request = source_pb2.CreateSourceRequest(parent="corpora/refused", source_id="No", source=wrong)
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.sources.CreateSource(request, timeout=CALL_SECONDS)
    assert {field for field, _ in failure(error.value).violations} == {
        "source_id", "source.display_name", "source.sync_interval", "source.loss_limit", "source.jira.base_url",
        "source.jira.token.name", "source.jira.project_keys[0]",
    }  # fmt: skip
    request = source_pb2.CreateSourceRequest(parent="corpora/nowhere", source_id="docs", source=source_pb2.Source(web=_web()))
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.sources.CreateSource(request, timeout=CALL_SECONDS)
    assert failure(error.value).reason == "CORPUS_NOT_FOUND"


def test_sources_are_listed_in_pages_and_go_with_their_corpus(toy_stack: RetrieverStack, embedder: ToyEmbedder) -> None:
    folder = toy_stack.import_root / "listed-sources"
    write(folder, 1)
    toy_stack.create("listed-sources")
    for source in ("b", "a", "c"):
        Client(toy_stack, "listed-sources", folder, source).create(paused=True)
    request = source_pb2.ListSourcesRequest(parent="corpora/listed-sources", page_size=2)
    first = toy_stack.sources.ListSources(request, timeout=CALL_SECONDS)
    assert [source.name.rpartition("/")[2] for source in first.sources] == ["a", "b"]
    assert {source.state for source in first.sources} == {source_pb2.SOURCE_STATE_PAUSED}
    request.page_token = first.next_page_token
    assert [source.name.rpartition("/")[2] for source in toy_stack.sources.ListSources(request, timeout=CALL_SECONDS).sources] == ["c"]
    toy_stack.stub.DeleteCorpus(pb.DeleteCorpusRequest(name="corpora/listed-sources", force=True), timeout=CALL_SECONDS)
    toy_stack.create("listed-sources")
    again = source_pb2.ListSourcesRequest(parent="corpora/listed-sources")
    assert list(toy_stack.sources.ListSources(again, timeout=CALL_SECONDS).sources) == []
    shutil.rmtree(folder)


def _web() -> source_pb2.WebSource:
    return source_pb2.WebSource(start_url="https://docs.example.com/")
