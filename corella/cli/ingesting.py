"""Streams documents to the retriever and follows the operation to its end, also across restarts of the retriever."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import grpc

from corella.cli.failures import UserError
from corella.cli.files import Findings, Found
from corella.cli.output import console, enum_word
from corella.client import corpus_name
from corella.errors import RpcFailure
from corella.v1 import operation_pb2, retriever_pb2, retriever_pb2_grpc

PIECE_BYTES = 2**20
STREAM_DOCUMENTS = 5_000
STREAM_BYTES = 256 * 2**20
"""Longest stream; more documents make several operations."""
UPLOAD_TIMEOUT_SECONDS = 120.0
WAIT_SECONDS = 3.0
"""How often the bar is brought up to date while no document is finished."""
PATIENCE_SECONDS = 300.0
"""How long a retriever that went away is waited for."""
ENDED = {operation_pb2.OPERATION_STATE_SUCCEEDED, operation_pb2.OPERATION_STATE_FAILED, operation_pb2.OPERATION_STATE_CANCELLED}


@dataclass(frozen=True)
class Plan:
    """Where the documents go, and how a corpus is made that is not there yet."""

    corpus: str
    lazy: bool = False
    metric: str = ""
    chunk_tokens: int = 0
    overlap_tokens: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    access_users: tuple[str, ...] = ()
    access_groups: tuple[str, ...] = ()

    @property
    def access(self) -> retriever_pb2.Access | None:
        """Who may read the documents; None: a document that is there keeps what it has, and a new one is as the corpus says."""
        if not (self.access_users or self.access_groups):
            return None
        level = retriever_pb2.ACCESS_LEVEL_LISTED
        return retriever_pb2.Access(level=level, users=self.access_users, groups=self.access_groups)

    @property
    def corpus_name(self) -> str:
        """Resource name of the corpus."""
        return corpus_name(self.corpus)

    def corpus_message(self) -> retriever_pb2.Corpus:
        """The corpus as it is to be created."""
        mode = retriever_pb2.EMBEDDING_MODE_LAZY if self.lazy else retriever_pb2.EMBEDDING_MODE_UNSPECIFIED
        return retriever_pb2.Corpus(
            chunking=retriever_pb2.Chunking(max_tokens=self.chunk_tokens, overlap_tokens=self.overlap_tokens),
            metric=self.metric or None,
            embedding_mode=mode,
        )


@dataclass
class Outcome:
    """What became of the documents."""

    operations: list[operation_pb2.Operation] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether anything that should have been ingested was not."""
        succeeded = operation_pb2.OPERATION_STATE_SUCCEEDED
        return any(operation.failed_count or operation.state != succeeded for operation in self.operations)

    def counts(self) -> dict[str, int]:
        """How many documents ended how."""
        kinds = {"added": "succeeded_count", "unchanged": "unchanged_count", "failed": "failed_count", "cancelled": "cancelled_count"}
        return {kind: sum(getattr(operation, name) for operation in self.operations) for kind, name in kinds.items()}

    def failures(self) -> list[dict[str, str]]:
        """The failed documents, with the reason of each, and what failed as a whole."""
        found = []
        for operation in self.operations:
            for item in operation.failures:
                failure = RpcFailure.from_status(item.error)
                found.append({"uri": item.uri or item.name, "reason": str(failure), "code": failure.reason})
            if operation.HasField("error"):
                failure = RpcFailure.from_status(operation.error)
                found.append({"uri": operation.name, "reason": str(failure), "code": failure.reason})
        return found


def ingest(
    stub: retriever_pb2_grpc.RetrieverServiceStub, findings: Findings, plan: Plan, *, wait: bool = True, quiet: bool = False
) -> Outcome:
    """Hands the documents over and, if asked, waits until all are searchable, unchanged or failed."""
    began = time.monotonic()
    ensure_corpus(stub, plan)
    outcome = Outcome()
    bars = None if quiet else progress_bars()
    with bars or nullcontext():
        for batch in _batches(findings.documents):
            operation = _hand_over(stub, batch, plan, findings, bars)
            outcome.operations.append(follow(stub, operation, bars) if wait else operation)
    outcome.seconds = time.monotonic() - began
    return outcome


def ensure_corpus(stub: retriever_pb2_grpc.RetrieverServiceStub, plan: Plan) -> None:
    """Makes the corpus unless it is there. Raises `UserError` when it is there with other settings than those asked for."""
    try:
        found = stub.GetCorpus(retriever_pb2.GetCorpusRequest(name=plan.corpus_name)).corpus
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        corpus_id = plan.corpus_name.removeprefix("corpora/")
        request = retriever_pb2.CreateCorpusRequest(corpus_id=corpus_id, corpus=plan.corpus_message(), request_id=uuid.uuid4().hex)
        stub.CreateCorpus(request)
        return
    asked = plan.corpus_message()
    differing = [
        name
        for name, wanted, there in (
            ("--lazy", asked.embedding_mode, found.embedding_mode),
            ("--metric", asked.metric, found.metric),
            ("--chunk-tokens", asked.chunking.max_tokens, found.chunking.max_tokens),
            ("--overlap-tokens", asked.chunking.overlap_tokens, found.chunking.overlap_tokens),
        )
        if wanted and wanted != there
    ]
    if differing:
        raise UserError(
            f"The corpus {plan.corpus} exists already, with another setting for {', '.join(differing)}; ingesting does not change these.",
            hint="Leave the option out, or choose another name with --corpus.",
        )


def _batches(documents: list[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    room = STREAM_BYTES
    for document in documents:
        if batch and (len(batch) == STREAM_DOCUMENTS or document.size > room):
            yield batch
            batch, room = [], STREAM_BYTES
        batch.append(document)
        room -= document.size
    if batch:
        yield batch


def _hand_over(
    stub: retriever_pb2_grpc.RetrieverServiceStub, batch: list[Found], plan: Plan, findings: Findings, bars: Any
) -> operation_pb2.Operation:
    request_id = uuid.uuid4().hex
    until = time.monotonic() + PATIENCE_SECONDS
    bar = bars.add_task("handing over", total=len(batch), detail="") if bars else None
    while True:
        sent = _messages(batch, plan, request_id, findings, lambda: bars.advance(bar) if bars else None)
        try:
            operation = stub.IngestDocuments(sent, timeout=UPLOAD_TIMEOUT_SECONDS).operation
        except grpc.RpcError as error:
            _wait_or_raise(error, until)
            if bars:
                bars.reset(bar)
            continue
        if bars:
            bars.remove_task(bar)
        return operation


def _messages(
    batch: list[Found], plan: Plan, request_id: str, findings: Findings, advance: Any
) -> Iterator[retriever_pb2.IngestDocumentsRequest]:
    yield retriever_pb2.IngestDocumentsRequest(start=retriever_pb2.IngestStart(parent=plan.corpus_name, request_id=request_id))
    for found in batch:
        try:
            content = found.path.read_bytes()
        except OSError as error:
            # It was there when the folder was read.
            skipped = (str(found.path), error.strerror or "cannot be read")
            if skipped not in findings.skipped:
                findings.skipped.append(skipped)
            continue
        document = retriever_pb2.Document(uri=found.uri, mime_type=found.mime_type, metadata=plan.metadata, access=plan.access)
        yield retriever_pb2.IngestDocumentsRequest(document=document)
        for start in range(0, len(content), PIECE_BYTES):
            yield retriever_pb2.IngestDocumentsRequest(content=content[start : start + PIECE_BYTES])
        advance()


def follow(stub: retriever_pb2_grpc.RetrieverServiceStub, operation: operation_pb2.Operation, bars: Any) -> operation_pb2.Operation:
    """Waits for the end of an operation, showing how far it is."""
    bar = bars.add_task("", total=operation.total_count, detail="") if bars else None
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        if bars:
            bars.update(
                bar, description=enum_word(operation_pb2.OperationState, operation.state).lower().replace("_", " "),
                completed=operation.done_count, total=operation.total_count, detail=_detail(operation),
            )  # fmt: skip
        if operation.state in ENDED:
            return operation
        request = retriever_pb2.WaitOperationRequest(name=operation.name, until_done_count_exceeds=operation.done_count)
        request.timeout.FromSeconds(int(WAIT_SECONDS))
        try:
            operation = stub.WaitOperation(request, timeout=WAIT_SECONDS + 10).operation
            until = time.monotonic() + PATIENCE_SECONDS
        except grpc.RpcError as error:
            if bars:
                bars.update(bar, description="retriever away")
            _wait_or_raise(error, until)
        except KeyboardInterrupt:
            name = operation.name.removeprefix("operations/")
            console(error=True).print(f"The work goes on: `corella operations get {name}` shows it, `cancel` stops it.", soft_wrap=True)
            raise


def _wait_or_raise(error: Any, until: float) -> None:
    failure = RpcFailure.from_rpc_error(error)
    passing = failure.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
    if not (passing or failure.retry_after_seconds) or time.monotonic() > until:
        raise error
    time.sleep(failure.retry_after_seconds or 1.0)


def _detail(operation: operation_pb2.Operation) -> str:
    parts = [f"{operation.embedded_chunk_count:,} chunks embedded"] if operation.embedded_chunk_count else []
    if operation.failed_count:
        parts.append(f"{operation.failed_count:,} failed")
    if operation.HasField("expected_end_time") and operation.state not in ENDED:
        left = max(0, operation.expected_end_time.ToSeconds() - time.time())
        parts.append(f"about {int(left) // 60}:{int(left) % 60:02d} left")
    return ", ".join(parts)


def progress_bars() -> Any:
    """Bars of `rich` on standard error, for `follow`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )  # fmt: skip
    return Progress(*columns, console=console(error=True), transient=True)
