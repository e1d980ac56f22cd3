"""Services that say what a test tells them to, on real channels, and the command run as `corella` runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_status import rpc_status

from corella.cli import main
from corella.v1 import generator_pb2_grpc, operation_pb2, retriever_pb2, retriever_pb2_grpc
from services.chassis.errors import CorellaError, NotFound

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED


def abort(context: grpc.ServicerContext, error: CorellaError) -> None:
    context.abort_with_status(rpc_status.to_status(error.to_status()))


@dataclass
class FakeRetriever(retriever_pb2_grpc.RetrieverServiceServicer):
    """Answers from what a test puts in; remembers what it was asked."""

    corpora: dict[str, retriever_pb2.Corpus] = field(default_factory=dict)
    documents: list[retriever_pb2.Document] = field(default_factory=list)
    response: retriever_pb2.SearchResponse = field(default_factory=retriever_pb2.SearchResponse)
    ends: operation_pb2.Operation = field(default_factory=lambda: operation_pb2.Operation(state=SUCCEEDED))
    fail_ingest: list[CorellaError] = field(default_factory=list)
    fail_wait: list[CorellaError] = field(default_factory=list)
    error: CorellaError | None = None
    asked: list[Any] = field(default_factory=list)
    received: list[list[retriever_pb2.IngestDocumentsRequest]] = field(default_factory=list)

    def GetCorpus(self, request: Any, context: Any) -> Any:
        if request.name not in self.corpora:
            abort(context, NotFound(f"There is no corpus {request.name}.", reason="CORPUS_NOT_FOUND"))
        return retriever_pb2.GetCorpusResponse(corpus=self.corpora[request.name])

    def CreateCorpus(self, request: Any, context: Any) -> Any:
        corpus = retriever_pb2.Corpus()
        corpus.CopyFrom(request.corpus)
        corpus.name = f"corpora/{request.corpus_id}"
        self.corpora[corpus.name] = corpus
        return retriever_pb2.CreateCorpusResponse(corpus=corpus)

    def IngestDocuments(self, requests: Any, context: Any) -> Any:
        self.received.append(list(requests))
        if self.fail_ingest:
            abort(context, self.fail_ingest.pop(0))
        total = sum(1 for part in self.received[-1] if part.HasField("document"))
        running = operation_pb2.Operation(name="operations/1", state=operation_pb2.OPERATION_STATE_RUNNING, total_count=total)
        return retriever_pb2.IngestDocumentsResponse(operation=running)

    def WaitOperation(self, request: Any, context: Any) -> Any:
        if self.fail_wait:
            abort(context, self.fail_wait.pop(0))
        return retriever_pb2.WaitOperationResponse(operation=self.ends)

    def Search(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.error:
            abort(context, self.error)
        return self.response

    def ListDocuments(self, request: Any, context: Any) -> Any:
        # One document a page, so that whoever reads one page only is found out.
        start = int(request.page_token or 0)
        token = str(start + 1) if start + 1 < len(self.documents) else ""
        page = self.documents[start : start + 1]
        return retriever_pb2.ListDocumentsResponse(documents=page, next_page_token=token, total_size=len(self.documents))

    def DeleteDocument(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return retriever_pb2.DeleteDocumentResponse()


@dataclass
class FakeGenerator(generator_pb2_grpc.GeneratorServiceServicer):
    """Streams the events a test puts in, and then fails if it is told to."""

    events: list[Any] = field(default_factory=list)
    error: CorellaError | None = None
    asked: list[Any] = field(default_factory=list)

    def Ask(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked.append(request)
        yield from self.events
        if self.error:
            abort(context, self.error)


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def retriever() -> FakeRetriever:
    return FakeRetriever()


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def corella(
    retriever: FakeRetriever,
    generator: FakeGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Result]]:
    """`corella("search", "x")` against the fakes."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    retriever_pb2_grpc.add_RetrieverServiceServicer_to_server(retriever, server)
    generator_pb2_grpc.add_GeneratorServiceServicer_to_server(generator, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("CORELLA_RETRIEVER", f"127.0.0.1:{port}")
    monkeypatch.setenv("CORELLA_GENERATOR", f"127.0.0.1:{port}")
    monkeypatch.setenv("CORELLA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["corella", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.run()
        code = ended.value.code
        written = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0, written.out, written.err)

    yield run
    server.stop(0)
