"""How Corella stands, asked of everybody side by side: what is healthy, what is queued, what failed, what is slow.

Of the local run also processes, memory and traces; everything else by gRPC, so that it is the same for any deployment.
`standing_view` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from corella.cli import standing_work
from corella.cli.context import Session
from corella.cli.standing_work import LATELY_SECONDS, TIMEOUT_SECONDS

if TYPE_CHECKING:
    from corella.client import Corella
    from corella.local.home import Home, RunRecord

SERVICES = {
    "embedder": "corella.v1.EmbedderService",
    "retriever": "corella.v1.RetrieverService",
    "generator": "corella.v1.GeneratorService",
    "trainer": "corella.v1.TrainerService",
}
SLOWEST = 3


def gather(session: Session) -> dict[str, Any]:
    """Asks everybody. What does not answer is in the result as such, never an exception."""
    from corella.local.home import Home

    home = Home(session.home)
    with session.client() as corella, ThreadPoolExecutor(12) as pool:
        health = {name: pool.submit(_health, corella, name) for name in SERVICES}
        questions = {
            "corpora": _corpora,
            "operations": standing_work.operations,
            "sources": standing_work.sources,
            "trainings": standing_work.trainings,
            "serving": _serving,
        }
        asked = {name: pool.submit(_told, ask, corella) for name, ask in questions.items()}
        local = _local(home)
        services = [{"name": name, "address": getattr(corella.addresses, name), **told.result()} for name, told in health.items()]
        found: dict[str, Any] = {"local": local, "services": services}
        found |= {name: told.result() for name, told in asked.items()}
    for work in ("operations", "trainings"):
        told = found[work]
        found[work], found[f"failed_{work}"] = told if isinstance(told, tuple) else (told, told)
    found["traces"] = _traces(home) if session.is_local() else None
    processes = local["processes"] if local else []
    found["healthy"] = all(s["health"] == "SERVING" for s in services) and all(p["state"] == "healthy" for p in processes)
    return found


def _health(corella: Corella, name: str) -> dict[str, Any]:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(corella.channel(getattr(corella.addresses, name)))
    began = time.monotonic()
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[name]), timeout=TIMEOUT_SECONDS)
        health = str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    except grpc.RpcError as error:
        health = {"UNAVAILABLE": "unreachable", "DEADLINE_EXCEEDED": "no answer"}.get(error.code().name, error.code().name)
    return {"health": health, "answered_seconds": round(time.monotonic() - began, 4)}


def _told(ask: Callable[[Corella], Any], corella: Corella) -> Any:
    import grpc

    from corella.cli.failures import describe

    try:
        return ask(corella)
    except grpc.RpcError as error:
        return {"error": describe(error)["message"]}


def _corpora(corella: Corella) -> list[dict[str, Any]]:
    from corella.v1 import retriever_pb2

    found = []
    for corpus in corella.retriever.ListCorpora(retriever_pb2.ListCorporaRequest(page_size=1000), timeout=TIMEOUT_SECONDS).corpora:
        states = {}
        for state in retriever_pb2.DocumentState.keys()[1:]:
            request = retriever_pb2.ListDocumentsRequest(parent=corpus.name, state=state, page_size=1)
            count = corella.retriever.ListDocuments(request, timeout=TIMEOUT_SECONDS).total_size
            if count:
                states[state.removeprefix("DOCUMENT_STATE_")] = count
        found.append({
            "name": corpus.name, "documents": corpus.document_count, "states": states,
            "chunks": corpus.chunk_count, "embedded_chunks": corpus.embedded_chunk_count,
        })  # fmt: skip
    return found


def _serving(corella: Corella) -> dict[str, Any]:
    """Which model answers, with which adapter."""
    from corella.v1 import generator_pb2

    model = corella.generator.GetGenerationModel(generator_pb2.GetGenerationModelRequest(), timeout=TIMEOUT_SECONDS).model
    return {"model": model.display_name, "adapter": model.adapter, "engine": model.engine}


def _traces(home: Home) -> dict[str, Any] | None:
    """How long questions took lately, and the slowest of them; None where no traces are kept."""
    from corella.cli.trace_json import summary_value
    from corella.local.trace_reader import TraceReader, UnreadableStore

    reader, since = TraceReader(home.traces), int((time.time() - LATELY_SECONDS) * 1e9)
    if not reader.exists():
        return None
    try:
        asked, slowest = reader.questions(since), reader.slowest_questions(SLOWEST, since)
    except UnreadableStore as error:
        return {"error": str(error)}
    return {
        "questions": asked.count, "failed_questions": asked.failed_count, "p50_seconds": asked.p50_seconds,
        "p95_seconds": asked.p95_seconds, "slowest": [summary_value(each) for each in slowest],
    }  # fmt: skip


def _local(home: Home) -> dict[str, Any] | None:
    from corella.local.processes import family, find

    record = home.read()
    if record is None:
        return None
    alive = find(record.supervisor_pid, record.supervisor_started_at) is not None
    processes = rows(record)
    for process in processes:
        if find(process["pid"], process["started_at"]) is None and process["state"] == "healthy":
            process.update(state="dead", note="the supervisor is gone as well" if not alive else "")
        process["memory_bytes"] = sum(_resident(member) for member in family(process["pid"])) if process["pid"] else 0
    return {
        "home": str(home.path), "supervisor_pid": record.supervisor_pid, "supervisor_alive": alive,
        "state": record.state, "processes": processes,
    }  # fmt: skip


def _resident(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def rows(record: RunRecord) -> list[dict[str, Any]]:
    """The processes of a run as plain values."""
    from dataclasses import asdict

    return [{**asdict(process), "port": record.ports.get(process.name)} for process in record.processes]
