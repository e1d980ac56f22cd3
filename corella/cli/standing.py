"""How Corella stands: processes and their memory, services, documents, operations."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from corella.cli.context import Session
from corella.cli.output import console, duration, enum_word, line, size

if TYPE_CHECKING:
    from corella.client import Corella
    from corella.local.home import Home, RunRecord

SERVICES = {
    "embedder": "corella.v1.EmbedderService",
    "retriever": "corella.v1.RetrieverService",
    "generator": "corella.v1.GeneratorService",
    "trainer": "corella.v1.TrainerService",
}
TIMEOUT_SECONDS = 10.0
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
STYLES = {"healthy": "green", "SERVING": "green", "starting": "yellow", "waiting": "yellow", "restarting": "yellow"}


def gather(session: Session) -> dict[str, Any]:
    """Asks everybody, side by side. What does not answer is in the result as such, never an exception."""
    from corella.local.home import Home

    with session.client() as corella, ThreadPoolExecutor(8) as pool:
        health = {name: pool.submit(_health, corella, name) for name in SERVICES}
        corpora = pool.submit(_told, lambda: _corpora(corella))
        operations = pool.submit(_told, lambda: _operations(corella))
        trainings = pool.submit(_told, lambda: _trainings(corella))
        local = _local(Home(session.home))
        services = [{"name": name, "address": getattr(corella.addresses, name), "health": asked.result()} for name, asked in health.items()]
        found: dict[str, Any] = {
            "local": local,
            "services": services,
            "corpora": corpora.result(),
            "operations": operations.result(),
            "trainings": trainings.result(),
        }
    processes = local["processes"] if local else []
    found["healthy"] = all(s["health"] == "SERVING" for s in services) and all(p["state"] == "healthy" for p in processes)
    return found


def _health(corella: Corella, name: str) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(corella.channel(getattr(corella.addresses, name)))
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[name]), timeout=TIMEOUT_SECONDS)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    except grpc.RpcError as error:
        return {"UNAVAILABLE": "unreachable", "DEADLINE_EXCEEDED": "no answer"}.get(error.code().name, error.code().name)


def _told(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]] | dict[str, Any]:
    import grpc

    from corella.cli.failures import describe

    try:
        return ask()
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


def _operations(corella: Corella) -> list[dict[str, Any]]:
    """Those that have not ended."""
    from corella.v1 import operation_pb2, retriever_pb2

    request = retriever_pb2.ListOperationsRequest(page_size=100)
    found = []
    for operation in corella.retriever.ListOperations(request, timeout=TIMEOUT_SECONDS).operations:
        state = enum_word(operation_pb2.OperationState, operation.state)
        if state not in ENDED:
            found.append({
                "name": operation.name, "target": operation.target, "state": state,
                "done": operation.done_count, "total": operation.total_count, "message": operation.message,
            })  # fmt: skip
    return found


def _trainings(corella: Corella) -> list[dict[str, Any]]:
    """Jobs that have not ended."""
    from corella.cli.training_view import ENDED as JOB_ENDED
    from corella.cli.training_view import heading, measures
    from corella.v1 import trainer_pb2

    jobs = corella.trainer.ListJobs(trainer_pb2.ListJobsRequest(page_size=100), timeout=TIMEOUT_SECONDS).jobs
    return [
        {"name": job.name, "dataset": job.dataset, "doing": heading(job), "measures": measures(job)}
        for job in jobs
        if job.state not in JOB_ENDED
    ]


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


def show(found: dict[str, Any]) -> None:
    """The same for people."""
    from rich.table import Table
    from rich.text import Text

    out = console()

    def table(*headings: str) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in headings:
            made.add_column(heading, justify="right" if heading in {"memory", "port", "pid", "restarts"} else "left")
        return made

    def colored(state: str) -> Text:
        return Text(state, style=STYLES.get(state, "red"))

    local = found["local"]
    if local:
        processes = table("process", "state", "port", "pid", "memory", "restarts", "")
        for process in local["processes"]:
            after = process["healthy_after_seconds"]
            note = process["note"] or (f"healthy after {duration(after)}" if after is not None else "")
            processes.add_row(
                process["name"], colored(process["state"]), str(process["port"] or ""), str(process["pid"] or ""),
                size(process["memory_bytes"]), str(process["restarts"]), line(note, 90),
            )  # fmt: skip
        out.print(processes)
        out.print(f"{size(sum(process['memory_bytes'] for process in local['processes']))} in all, in {local['home']}\n", soft_wrap=True)
    else:
        out.print("No local run here.\n")
    services = table("service", "health", "address")
    for service in found["services"]:
        services.add_row(service["name"], colored(service["health"]), service["address"])
    out.print(services)
    out.print()
    _show_contents(found, table, out)
    if not found["healthy"]:
        out.print("Something is not healthy." + ("" if local else " `corella up` starts Corella on this machine."), style="red")


def _show_contents(found: dict[str, Any], table: Callable[..., Any], out: Any) -> None:
    if isinstance(found["corpora"], dict):
        out.print(f"Corpora: {line(found['corpora']['error'])}", style="red")
        return
    if not found["corpora"]:
        out.print("No corpus yet: `corella ingest PATH` makes one.")
    else:
        corpora = table("corpus", "documents", "by state", "chunks", "with vector")
        for corpus in found["corpora"]:
            states = ", ".join(f"{count:,} {state}" for state, count in corpus["states"].items())
            corpora.add_row(
                corpus["name"].removeprefix("corpora/"),
                f"{corpus['documents']:,}",
                states,
                f"{corpus['chunks']:,}",
                f"{corpus['embedded_chunks']:,}",
            )
        out.print(corpora)
    if isinstance(found["operations"], list) and found["operations"]:
        operations = table("operation", "corpus", "state", "done", "")
        for operation in found["operations"]:
            operations.add_row(
                operation["name"].removeprefix("operations/"), operation["target"].removeprefix("corpora/"), operation["state"],
                f"{operation['done']:,} of {operation['total']:,}", line(operation["message"], 80),
            )  # fmt: skip
        out.print(operations)
    if isinstance(found["trainings"], list) and found["trainings"]:
        trainings = table("training", "dataset", "doing", "")
        for job in found["trainings"]:
            trainings.add_row(
                job["name"].removeprefix("jobs/"), job["dataset"].removeprefix("datasets/"), job["doing"], ", ".join(job["measures"])
            )
        out.print(trainings)
    if [] == found["operations"] == found["trainings"]:
        out.print("Nothing is queued.")


def rows(record: RunRecord) -> list[dict[str, Any]]:
    """The processes of a run as plain values."""
    from dataclasses import asdict

    return [{**asdict(process), "port": record.ports.get(process.name)} for process in record.processes]
