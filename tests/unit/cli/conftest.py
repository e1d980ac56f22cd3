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
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from corella.cli import main
from corella.v1 import (
    generator_pb2,
    generator_pb2_grpc,
    operation_pb2,
    retriever_pb2,
    retriever_pb2_grpc,
    source_pb2,
    source_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)
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
    traces: dict[str, int] = field(default_factory=dict)

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

    def ReindexCorpus(self, request: Any, context: Any) -> Any:
        return retriever_pb2.ReindexCorpusResponse(operation=self._switching(request, context))

    def RollBackCorpus(self, request: Any, context: Any) -> Any:
        return retriever_pb2.RollBackCorpusResponse(operation=self._switching(request, context))

    def _switching(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.error:
            abort(context, self.error)
        return operation_pb2.Operation(name="operations/1", state=operation_pb2.OPERATION_STATE_RUNNING, total_count=2)

    def IngestDocuments(self, requests: Any, context: Any) -> Any:
        self.received.append(list(requests))
        if self.fail_ingest:
            abort(context, self.fail_ingest.pop(0))
        total = sum(1 for part in self.received[-1] if part.HasField("document"))
        running = operation_pb2.Operation(name="operations/1", state=operation_pb2.OPERATION_STATE_RUNNING, total_count=total)
        return retriever_pb2.IngestDocumentsResponse(operation=running)

    def GetOperation(self, request: Any, context: Any) -> Any:
        running = operation_pb2.Operation(name=request.name, state=operation_pb2.OPERATION_STATE_RUNNING)
        return retriever_pb2.GetOperationResponse(operation=running)

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

    def UpdateDocumentAccess(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return retriever_pb2.UpdateDocumentAccessResponse(document=retriever_pb2.Document(uri="https://a", access=request.access))

    def RetryDocuments(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return retriever_pb2.RetryDocumentsResponse(operation=self.ends)

    def AuditDocument(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        traces = [retriever_pb2.Trace(place=place, count=count) for place, count in self.traces.items()]
        return retriever_pb2.AuditDocumentResponse(name=request.name, traces=traces)


@dataclass
class FakeGenerator(generator_pb2_grpc.GeneratorServiceServicer):
    """Streams the events a test puts in, and then fails if it is told to."""

    events: list[Any] = field(default_factory=list)
    error: CorellaError | None = None
    asked: list[Any] = field(default_factory=list)
    records: list[generator_pb2.FeedbackRecord] = field(default_factory=list)
    model: generator_pb2.GenerationModel = field(default_factory=generator_pb2.GenerationModel)
    traces: dict[str, int] = field(default_factory=dict)

    def ForgetDocument(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.error:
            abort(context, self.error)
        return generator_pb2.ForgetDocumentResponse(traces=self._traces())

    def AuditDocument(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.error:
            abort(context, self.error)
        return generator_pb2.GeneratorServiceAuditDocumentResponse(name=request.name, traces=self._traces())

    def _traces(self) -> list[Any]:
        return [retriever_pb2.Trace(place=place, count=count) for place, count in self.traces.items()]

    def CreateFeedback(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        stored = generator_pb2.Feedback()
        stored.CopyFrom(request.feedback)
        stored.name = f"{request.parent}/feedback"
        return generator_pb2.CreateFeedbackResponse(feedback=stored)

    def ListFeedback(self, request: Any, context: Any) -> Any:
        return generator_pb2.ListFeedbackResponse(records=self.records)

    def GetGenerationModel(self, request: Any, context: Any) -> Any:
        if self.error:
            abort(context, self.error)
        return generator_pb2.GetGenerationModelResponse(model=self.model)

    def Ask(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked.append(request)
        yield from self.events
        if self.error:
            abort(context, self.error)


class FakeTrainer(trainer_pb2_grpc.TrainerServiceServicer):
    """Returns what a test puts in for a method, one answer a call and the last one again; remembers what it was asked.

    An answer is a message, a list of messages for a stream, or an error.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.asked: dict[str, list[Any]] = {}
        self.received = b""

    def _next(self, method: str, request: Any) -> Any:
        self.asked.setdefault(method, []).append(request)
        prepared = self.answers.get(method, [])
        if not prepared:
            return None
        return prepared.pop(0) if len(prepared) > 1 else prepared[0]

    def CreateDataset(self, requests: Any, context: Any) -> Any:
        parts = list(requests)
        self.received = b"".join(part.jsonl for part in parts)
        return self._answer("CreateDataset", parts, context, trainer_pb2.CreateDatasetResponse)

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        for one in self._next("WatchJob", request) or []:
            if isinstance(one, CorellaError):
                abort(context, one)
            yield one

    def _answer(self, method: str, request: Any, context: Any, empty: Any) -> Any:
        answer = self._next(method, request)
        if isinstance(answer, CorellaError):
            abort(context, answer)
        return empty() if answer is None else answer


def _unary(method: str) -> Any:
    empty = getattr(trainer_pb2, f"{method}Response")
    return lambda self, request, context: self._answer(method, request, context, empty)


for _method in trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"].methods_by_name:
    if _method not in {"CreateDataset", "WatchJob"}:
        setattr(FakeTrainer, _method, _unary(_method))


class FakeSources(source_pb2_grpc.SourceServiceServicer):
    """Keeps the sources it is given; every sync ends as `last_sync`, `state` and `error` say."""

    def __init__(self) -> None:
        self.sources: dict[str, source_pb2.Source] = {}
        self.after = source_pb2.Source(state=source_pb2.SOURCE_STATE_IDLE)
        self.asked: list[Any] = []

    def CreateSource(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        source = source_pb2.Source()
        source.CopyFrom(request.source)
        source.name = f"{request.parent}/sources/{request.source_id}"
        source.current_operation = "" if request.paused else "operations/1"
        self.sources[source.name] = source
        return source_pb2.CreateSourceResponse(source=source)

    def GetSource(self, request: Any, context: Any) -> Any:
        if request.name not in self.sources:
            abort(context, NotFound("There is no such source.", reason="SOURCE_NOT_FOUND"))
        source = source_pb2.Source()
        source.CopyFrom(self.sources[request.name])
        source.MergeFrom(self.after)
        return source_pb2.GetSourceResponse(source=source)

    def ListSources(self, request: Any, context: Any) -> Any:
        return source_pb2.ListSourcesResponse(sources=[self._as_it_stands(name) for name in sorted(self.sources)])

    def UpdateSource(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return source_pb2.UpdateSourceResponse(source=request.source)

    def SyncSource(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return source_pb2.SyncSourceResponse(operation=operation_pb2.Operation(name="operations/1", total_count=3))

    def PauseSource(self, request: Any, context: Any) -> Any:
        return source_pb2.PauseSourceResponse(source=self._as_it_stands(request.name))

    def ResumeSource(self, request: Any, context: Any) -> Any:
        return source_pb2.ResumeSourceResponse(source=self._as_it_stands(request.name))

    def DeleteSource(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return source_pb2.DeleteSourceResponse(deleted_document_count=3 if request.delete_documents else 0)

    def _as_it_stands(self, name: str) -> source_pb2.Source:
        source = source_pb2.Source()
        source.CopyFrom(self.sources[name])
        source.MergeFrom(self.after)
        return source


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def retriever() -> FakeRetriever:
    return FakeRetriever()


@pytest.fixture
def sources() -> FakeSources:
    return FakeSources()


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def trainer() -> FakeTrainer:
    return FakeTrainer()


@pytest.fixture
def corella(
    retriever: FakeRetriever,
    sources: FakeSources,
    generator: FakeGenerator,
    trainer: FakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Result]]:
    """`corella("search", "x")` against the fakes."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    retriever_pb2_grpc.add_RetrieverServiceServicer_to_server(retriever, server)
    source_pb2_grpc.add_SourceServiceServicer_to_server(sources, server)
    generator_pb2_grpc.add_GeneratorServiceServicer_to_server(generator, server)
    trainer_pb2_grpc.add_TrainerServiceServicer_to_server(trainer, server)
    healthy = health.HealthServicer()
    for name in ("Embedder", "Retriever", "Generator", "Trainer"):
        healthy.set(f"corella.v1.{name}Service", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("CORELLA_EMBEDDER", f"127.0.0.1:{port}")
    monkeypatch.setenv("CORELLA_TRAINER", f"127.0.0.1:{port}")
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
