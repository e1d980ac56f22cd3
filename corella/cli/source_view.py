"""Sources as people see them: a table, one in full, and a sync that goes on."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from corella.cli.source_options import interval_text

if TYPE_CHECKING:
    from corella.client import Corella
    from corella.v1 import operation_pb2, source_pb2

COUNTS = ("added", "changed", "removed", "unchanged", "failed")


def follow(corella: Corella, source_name: str, operation: operation_pb2.Operation, *, quiet: bool) -> source_pb2.Source:
    """Waits until a sync has ended, showing how far it is; the source as it then stands."""
    from corella.cli import ingesting
    from corella.v1 import source_pb2

    bars = None if quiet else ingesting.progress_bars()
    with bars or nullcontext():
        ingesting.follow(corella.retriever, operation, bars)
    return corella.sources.GetSource(source_pb2.GetSourceRequest(name=source_name)).source


def succeeded(source: source_pb2.Source) -> bool:
    """Whether the last sync did all that there was to do."""
    from corella.v1 import source_pb2

    troubled = {source_pb2.SOURCE_STATE_FAILED, source_pb2.SOURCE_STATE_WAITING_FOR_CONFIRMATION}
    return source.state not in troubled and not source.last_sync.failed_count


def show_result(source: source_pb2.Source) -> None:
    """What the last sync did."""
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, duration, line
    from corella.errors import RpcFailure
    from corella.v1 import source_pb2

    out, last, source_id = console(), source.last_sync, source.name.rpartition("/")[2]
    if last.failures:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("failed", overflow="fold")
        table.add_column("why", overflow="fold")
        for failed in last.failures:
            table.add_row(line(failed.uri or failed.name), line(str(RpcFailure.from_status(failed.error))), style="red")
        out.print(table)
    if source.HasField("last_sync"):
        summary = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for heading in COUNTS:
            summary.add_column(heading, justify="right")
        summary.add_row(*(f"{getattr(last, f'{heading}_count'):,}" for heading in COUNTS))
        out.print(summary)
    took = duration((last.end_time.ToMilliseconds() - last.start_time.ToMilliseconds()) / 1000)
    corpus = short(source.name.partition("/sources/")[0])
    if source.state == source_pb2.SOURCE_STATE_FAILED:
        out.print(f"The sync failed: {line(str(RpcFailure.from_status(source.error)))}", style="red", soft_wrap=True)
        out.print("Nothing was removed." + (f" It is tried again at {moment(source, 'next_sync_time')} UTC." if due(source) else ""))
    elif source.state == source_pb2.SOURCE_STATE_WAITING_FOR_CONFIRMATION:
        gone = last.withheld_removal_count
        out.print(f"{gone:,} documents are gone from the place. That is more than is removed without being asked.", style="yellow")
        out.print(f"`corella sources sync {source_id} --corpus {corpus} --confirm-removals` removes them.", soft_wrap=True)
    elif source.HasField("last_sync"):
        out.print(f"Corpus {corpus} is as the source is ({took}).", soft_wrap=True)


def due(source: source_pb2.Source) -> bool:
    """Whether a further sync will come by itself."""
    return bool(source.HasField("next_sync_time"))


def moment(message: Any, field: str) -> str:
    """A time in UTC; empty when it is not set."""
    return f"{getattr(message, field).ToDatetime():%m-%d %H:%M:%S}" if message.HasField(field) else ""


def where(source: source_pb2.Source) -> str:
    """The place, in one line."""
    kind = source.WhichOneof("place")
    place: Any = getattr(source, kind) if kind else None
    if kind == "directory":
        return str(place.path)
    if kind == "web":
        return str(place.start_url)
    if kind == "jira":
        return f"{place.base_url} {', '.join(place.project_keys)}"
    return f"{place.base_url} {', '.join(place.space_keys)}" if kind == "confluence" else ""


def state_word(source: source_pb2.Source) -> str:
    """The state as people say it."""
    from corella.cli.output import enum_word
    from corella.v1 import source_pb2

    return enum_word(source_pb2.SourceState, source.state).lower().replace("_", " ")


def show_table(sources: list[source_pb2.Source]) -> None:
    """One line for each source."""
    from rich.table import Table

    from corella.cli.output import console, line

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("source", "kind", "where", "state", "documents", "every", "last sync", "last", "next sync"):
        table.add_column(heading, justify="right" if heading == "documents" else "left", overflow="fold", no_wrap=heading != "where")
    for source in sources:
        last = source.last_sync
        changes = ", ".join(f"{getattr(last, f'{name}_count'):,} {name}" for name in COUNTS if getattr(last, f"{name}_count"))
        table.add_row(
            source.name.rpartition("/")[2], source.WhichOneof("place"), line(where(source), 60), state_word(source),
            f"{source.document_count:,}", interval_text(source.sync_interval.ToMilliseconds() / 1000), moment(last, "end_time"), changes,
            moment(source, "next_sync_time"), style="red" if state_word(source) == "failed" else "",
        )  # fmt: skip
    console().print(table)


def show_one(source: source_pb2.Source) -> None:
    """One source in full."""
    from corella.cli.output import console, line, to_dict

    out = console()
    for key, value in to_dict(source).items():
        if key not in ("last_sync", "error") and value not in ("", 0, "0", {}, []):
            out.print(f"{key:<18} {line(str(value))}", soft_wrap=True)
    show_result(source)
