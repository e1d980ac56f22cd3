"""How Corella stands, for people: what `standing.gather` found, in tables. Sections without content are left out."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from corella.cli.output import console, duration, line, size
from corella.cli.trace_view import plural, took

STYLES = {
    "healthy": "green", "SERVING": "green", "starting": "yellow", "waiting": "yellow", "restarting": "yellow", "STALLED": "red",
    "WAITING_TO_RETRY": "yellow", "FAILED": "red", "WAITING_FOR_CONFIRMATION": "yellow",
}  # fmt: skip
_RIGHT = {"memory", "port", "pid", "restarts", "answered in", "for", "failed", "took"}
TROUBLED_SOURCES = {"FAILED", "WAITING_FOR_CONFIRMATION"}


def show(found: dict[str, Any]) -> None:
    """Writes it all."""
    out = console()
    _local(found["local"], out)
    services = table("service", "health", "answered in", "address")
    for service in found["services"]:
        services.add_row(
            service["name"], _colored(service["health"], "red"), duration(service["answered_seconds"]), line(service["address"])
        )
    out.print(services)
    _serving(found["serving"], out)
    out.print()
    _corpora(found["corpora"], out)
    _queued(found, out)
    _failed(found, out)
    _slow(found["traces"], out)
    _unasked(found, out)
    if not found["healthy"]:
        out.print("Something is not healthy." + ("" if found["local"] else " `corella up` starts Corella on this machine."), style="red")


def table(*headings: str) -> Table:
    """A table without lines."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        made.add_column(heading, justify="right" if heading in _RIGHT else "left", overflow="fold")
    return made


def _colored(state: str, otherwise: str = "") -> Text:
    return Text(line(state), style=STYLES.get(state, otherwise))


def _local(local: dict[str, Any] | None, out: Any) -> None:
    if not local:
        out.print("No local run here.\n")
        return
    processes = table("process", "state", "port", "pid", "memory", "restarts", "")
    for process in local["processes"]:
        after = process["healthy_after_seconds"]
        note = process["note"] or (f"healthy after {duration(after)}" if after is not None else "")
        processes.add_row(
            process["name"], _colored(process["state"], "red"), str(process["port"] or ""), str(process["pid"] or ""),
            size(process["memory_bytes"]), str(process["restarts"]), line(note, 90),
        )  # fmt: skip
    out.print(processes)
    out.print(f"{size(sum(process['memory_bytes'] for process in local['processes']))} in all, in {local['home']}\n", soft_wrap=True)


def _serving(serving: dict[str, Any], out: Any) -> None:
    if "error" not in serving:
        by = f"with {line(serving['adapter'])}" if serving["adapter"] else "without an adapter"
        out.print(f"{line(serving['model'])} answers {by}.", soft_wrap=True)


def _corpora(corpora: Any, out: Any) -> None:
    if isinstance(corpora, dict):
        out.print(f"Corpora: {line(corpora['error'])}\n", style="red")
    elif not corpora:
        out.print("No corpus yet: `corella ingest PATH` makes one.\n")
    else:
        shown = table("corpus", "documents", "by state", "chunks", "with vector")
        for corpus in corpora:
            states = Text(", ").join(Text(f"{count:,} {state}", STYLES.get(state, "")) for state, count in corpus["states"].items())
            shown.add_row(
                line(corpus["name"].removeprefix("corpora/")), f"{corpus['documents']:,}", states, f"{corpus['chunks']:,}",
                f"{corpus['embedded_chunks']:,}",
            )  # fmt: skip
        out.print(shown)
        out.print()


def _queued(found: dict[str, Any], out: Any) -> None:
    operations, trainings = _entries(found["operations"]), _entries(found["trainings"])
    if operations:
        shown = table("operation", "what", "on", "state", "done", "failed", "for", "")
        for each in operations:
            shown.add_row(
                line(each["name"].removeprefix("operations/")), _words(each["kind"]), line(each["target"].removeprefix("corpora/")),
                _colored(each["state"]), f"{each['done']:,} of {each['total']:,}", f"{each['failed'] or ''}",
                duration(each["age_seconds"]), line(each["message"], 80),
            )  # fmt: skip
        out.print(shown)
        out.print()
    if trainings:
        shown = table("training", "dataset", "doing", "")
        for job in trainings:
            shown.add_row(
                line(job["name"].removeprefix("jobs/")), line(job["dataset"].removeprefix("datasets/")), line(job["doing"]),
                line(", ".join(job["measures"])),
            )  # fmt: skip
        out.print(shown)
        out.print()
    if [] == found["operations"] == found["trainings"]:
        out.print("Nothing is queued.\n")


def _failed(found: dict[str, Any], out: Any) -> None:
    shown = table("failed in the last 24 hours", "", "")
    for each in _entries(found["failed_operations"]):
        why = each["message"] if each["state"] == "FAILED" else f"{each['failed']:,} of {each['total']:,}"
        shown.add_row(line(each["name"]), f"{_words(each['kind'])} {line(each['target'].removeprefix('corpora/'))}", line(why, 100))
    for each in _entries(found["failed_trainings"]):
        shown.add_row(line(each["name"]), f"training on {line(each['dataset'])}", line(each["error"], 100))
    if shown.row_count:
        out.print(shown)
        out.print()
    sources = table("source", "state", "")
    for each in _entries(found["sources"]):
        if each["state"] in TROUBLED_SOURCES or each["failed"]:
            why = each["error"] or (f"{each['failed']:,} documents failed at the last sync" if each["failed"] else "")
            sources.add_row(line(each["name"].removeprefix("corpora/").replace("/sources/", "/")), _colored(each["state"]), line(why, 100))
    if sources.row_count:
        out.print(sources)
        out.print()


def _slow(traces: dict[str, Any] | None, out: Any) -> None:
    if traces is None:
        return
    if "error" in traces:
        out.print(line(traces["error"]), style="red")
    elif traces["questions"]:
        failed = f", {traces['failed_questions']:,} failed" if traces["failed_questions"] else ""
        out.print(
            f"{plural(traces['questions'], 'question')} in the last 24 hours{failed}: half within {duration(traces['p50_seconds'])}, "
            f"95 % within {duration(traces['p95_seconds'])}.", soft_wrap=True,
        )  # fmt: skip
        slowest = table("slowest", "took", "failed")
        for each in traces["slowest"]:
            slowest.add_row(f"corella trace {each['trace_id'][:12]}", took(int(each["duration_ms"] * 1e6)), f"{each['failed_spans'] or ''}")
        out.print(slowest)


def _unasked(found: dict[str, Any], out: Any) -> None:
    """What a service that is there would not tell, such as for want of a role. Of one that is away its health says enough."""
    serving = {service["name"] for service in found["services"] if service["health"] == "SERVING"}
    sections = {
        "operations": "retriever", "sources": "retriever", "trainings": "trainer", "serving": "generator",
    }  # fmt: skip
    for section, service in sections.items():
        if isinstance(found[section], dict) and "error" in found[section] and service in serving:
            out.print(f"Not known ({section}): {line(found[section]['error'])}", style="yellow", soft_wrap=True)


def _entries(told: Any) -> list[dict[str, Any]]:
    """A list; what could not be asked has none."""
    return told if isinstance(told, list) else []


def _words(constant: str) -> str:
    return constant.lower().replace("_", " ")
