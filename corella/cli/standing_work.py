"""Work under way and work that failed: operations and sources of the retriever, jobs of the trainer. Part of `standing`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from corella.cli.output import enum_word

if TYPE_CHECKING:
    from corella.client import Corella

TIMEOUT_SECONDS = 10.0
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
LATELY_SECONDS = 24 * 3600.0
"""How far back failures and slow questions count."""


Entries = list[dict[str, Any]]


def operations(corella: Corella) -> tuple[Entries, Entries]:
    """Those that have not ended, the longest under way first; and those that ended lately and in which something failed."""
    lately = time.time() - LATELY_SECONDS
    told = _all_operations(corella)
    failed = [each for each in told if each["failed"] and each["state"] in ENDED and each["updated_at"] >= lately]
    return [each for each in told if each["state"] not in ENDED][::-1], failed


def _all_operations(corella: Corella) -> list[dict[str, Any]]:
    from corella.errors import RpcFailure
    from corella.v1 import operation_pb2, retriever_pb2

    request = retriever_pb2.ListOperationsRequest(page_size=100)
    found = []
    for operation in corella.retriever.ListOperations(request, timeout=TIMEOUT_SECONDS).operations:
        state = enum_word(operation_pb2.OperationState, operation.state)
        error = str(RpcFailure.from_status(operation.error)) if operation.HasField("error") else ""
        found.append({
            "name": operation.name, "kind": enum_word(operation_pb2.OperationKind, operation.kind), "target": operation.target,
            "state": state, "done": operation.done_count, "total": operation.total_count,
            # One that failed as a whole counts, whatever became of its items.
            "failed": operation.failed_count or int(state == "FAILED"), "message": error or operation.message,
            "age_seconds": round(time.time() - operation.create_time.ToNanoseconds() / 1e9, 1),
            "updated_at": max(operation.update_time.ToNanoseconds(), operation.end_time.ToNanoseconds()) / 1e9,
        })  # fmt: skip
    return found


def sources(corella: Corella) -> list[dict[str, Any]]:
    """All of them, with what failed at the last sync."""
    from corella.cli.paging import every
    from corella.errors import RpcFailure
    from corella.v1 import retriever_pb2, source_pb2

    def call(method: Any) -> Callable[[Any], Any]:
        return lambda request: method(request, timeout=TIMEOUT_SECONDS)

    found = []
    for corpus in every(call(corella.retriever.ListCorpora), retriever_pb2.ListCorporaRequest(), "corpora"):
        request = source_pb2.ListSourcesRequest(parent=corpus.name)
        for source in every(call(corella.sources.ListSources), request, "sources"):
            found.append({
                "name": source.name, "state": enum_word(source_pb2.SourceState, source.state), "documents": source.document_count,
                "failed": source.last_sync.failed_count,
                "error": str(RpcFailure.from_status(source.error)) if source.HasField("error") else "",
            })  # fmt: skip
    return found


def trainings(corella: Corella) -> tuple[Entries, Entries]:
    """Jobs that have not ended; and those that failed lately. One that was rejected did what it is for."""
    from corella.cli.training_view import ENDED as JOB_ENDED
    from corella.cli.training_view import heading, measures
    from corella.errors import RpcFailure
    from corella.v1 import trainer_pb2

    lately = time.time() - LATELY_SECONDS
    jobs = corella.trainer.ListJobs(trainer_pb2.ListJobsRequest(page_size=100), timeout=TIMEOUT_SECONDS).jobs
    under_way = [
        {"name": job.name, "dataset": job.dataset, "doing": heading(job), "measures": measures(job)}
        for job in jobs
        if job.state not in JOB_ENDED
    ]
    failed = [
        {
            "name": job.name,
            "dataset": job.dataset,
            "error": str(RpcFailure.from_status(job.error)) if job.HasField("error") else job.message,
        }
        for job in jobs
        if job.state == trainer_pb2.JOB_STATE_FAILED and job.end_time.ToNanoseconds() / 1e9 >= lately
    ]
    return under_way, failed
