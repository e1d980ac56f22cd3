"""`corella trace`: where the time of a question went, in the terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import Json, session
from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.local.trace_reader import TraceReader
    from corella.tracing.spans import Span
    from corella.tracing.summary import TraceSummary
    from corella.tracing.tempo import Tempo

LAST = "last"
ARRIVED_SECONDS = 1.5
"""So long after its end a trace is whole: services hand on what they have every second."""
SHORTEST_PREFIX = 4


def trace(
    ctx: typer.Context,
    which: Annotated[
        str, typer.Argument(metavar="[TRACE_ID|last]", help="Trace id, its beginning, or the newest question.", show_default=False)
    ] = LAST,
    listing: Annotated[bool, typer.Option("--list", "-l", help="List the newest traces instead.")] = False,
    slowest: Annotated[bool, typer.Option("--slowest", help="With --list: the slowest first.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="With --list: only those in which something failed.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="With --list: how many at most.")] = 20,
    hours: Annotated[float, typer.Option(min=0.01, help="With --list and --tempo: how far back to look.")] = 168.0,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show every span, also many of a kind; with --list also what services did by themselves.")
    ] = False,
    attributes: Annotated[bool, typer.Option("--attributes", "-A", help="Show every attribute and event of every span.")] = False,
    tempo: Annotated[str, typer.Option(envvar="CORELLA_TEMPO", help="Address of a Grafana Tempo, to read from there.")] = "",
    tempo_token_file: Annotated[
        Path | None, typer.Option(envvar="CORELLA_TEMPO_TOKEN_FILE", help="File with the bearer token for Tempo.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one trace as a waterfall: every hop of a question, a document or a training, and what it took.

    Reads what the local run keeps, also after `corella down`; with --tempo, what a deployment keeps. `corella ask` writes the id below
    its answer.
    """
    from corella.cli.output import console, write_json
    from corella.cli.trace_json import summary_value, trace_value
    from corella.local.trace_reader import UnreadableStore
    from corella.tracing.tempo import TempoError
    from corella.tracing.tree import lay_out

    here = session(ctx)
    source = TempoTraces(_tempo(tempo, tempo_token_file, here.ca_file), hours) if tempo else LocalTraces(_reader(here.home), hours)
    try:
        if not listing:
            waterfall = lay_out(source.spans(which))
            if as_json:
                write_json(trace_value(waterfall))
                return
            from corella.cli.trace_view import show_trace

            show_trace(waterfall, everything=everything, attributes=attributes, known=source.summary)
            return
        summaries = source.recent(limit, slowest=slowest, failed=failed, background=everything)
    except (TempoError, UnreadableStore) as error:
        raise UserError(str(error)) from error
    if as_json:
        for summary in summaries:
            write_json(summary_value(summary))
    elif not summaries:
        console().print("No traces yet." if not failed else "No trace in which something failed.")
    else:
        from corella.cli.trace_view import show_list

        show_list(summaries)


class LocalTraces:
    """Those of the local run."""

    def __init__(self, reader: TraceReader, hours: float) -> None:
        self._reader = reader
        self._hours = hours

    def recent(self, limit: int, *, slowest: bool, failed: bool, background: bool) -> list[TraceSummary]:
        """What `--list` shows."""
        since = int((time.time() - self._hours * 3600) * 1e9)
        return self._reader.recent(limit, slowest_first=slowest, failed_only=failed, background=background, since_ns=since)

    def spans(self, which: str) -> list[Span]:
        """Of the trace that is meant. Raises `UserError` when there is none, or more than one."""
        if which == LAST:
            newest = self._arrived(self._newest)
            if not newest:
                raise UserError("No traces yet.", hint='`corella ask "…"` makes one.')
            return self._reader.spans(newest[0].trace_id)
        prefix = _hexadecimal(which)
        found = self._arrived(lambda: self._reader.matching(prefix))
        if not found:
            raise UserError(f"There is no trace {prefix} here.", hint="`corella trace --list` shows what is kept: the newest ones.")
        if len(found) > 1:
            raise UserError(f"More than one trace begins with {prefix}.", hint=", ".join(each.trace_id for each in found), exit_code=USAGE)
        return self._reader.spans(found[0].trace_id)

    def _newest(self) -> list[TraceSummary]:
        question = self._reader.newest_question()
        return [question] if question is not None else self._reader.recent(1)

    @staticmethod
    def _arrived(find: Callable[[], list[TraceSummary]]) -> list[TraceSummary]:
        """What `find` finds, after a moment in which the rest of the first may arrive where it has only just ended."""
        give_up = time.monotonic() + 2 * ARRIVED_SECONDS
        found = find()
        while found and time.monotonic() < give_up:
            age_ns = time.time_ns() - found[0].begin_ns - found[0].duration_ns
            if not 0 <= age_ns < ARRIVED_SECONDS * 1e9:
                break
            time.sleep(0.1)
            found = find()
        return found

    def summary(self, trace_id: str) -> TraceSummary | None:
        """Of a trace, where it is kept."""
        return next(iter(self._reader.matching(trace_id)), None)


class TempoTraces:
    """Those of a Tempo."""

    def __init__(self, tempo: Tempo, hours: float) -> None:
        self._tempo = tempo
        self._seconds = int(hours * 3600)

    def recent(self, limit: int, *, slowest: bool, failed: bool, background: bool) -> list[TraceSummary]:
        """What `--list` shows. Tempo finds some `limit` traces, not always the slowest there are."""
        from corella.tracing.tempo import listed

        found = self._search(listed(failed=failed, background=background), limit)
        return sorted(found, key=lambda each: -each.duration_ns) if slowest else found

    def spans(self, which: str) -> list[Span]:
        """Of the trace that is meant. Raises `UserError` when there is none."""
        from corella.tracing.tempo import QUESTIONS

        trace_id = which
        if which == LAST:
            newest = self._search(QUESTIONS, 20)
            if not newest:
                raise UserError(f"No question in the last {self._seconds / 3600:g} hours.", hint="--hours looks further back.")
            trace_id = newest[0].trace_id
        spans = self._tempo.spans(_hexadecimal(trace_id))
        if not spans:
            raise UserError(
                f"There is no trace {trace_id} in {self._tempo.url}.", hint="Tempo needs the whole id, and shows a trace after seconds."
            )
        return spans

    def summary(self, trace_id: str) -> TraceSummary | None:
        """Not asked for: a link costs no further request."""
        return None

    def _search(self, query: str, limit: int) -> list[TraceSummary]:
        return self._tempo.search(query, limit, self._seconds, int(time.time()))


def _hexadecimal(which: str) -> str:
    text = which.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}", text):
        raise UserError(
            f"{which!r} is no trace id.", hint=f"32 hexadecimal digits, at least the first {SHORTEST_PREFIX}; or `last`.", exit_code=USAGE
        )
    return text


def _reader(home: Path) -> Any:
    from corella.local.home import Home
    from corella.local.trace_reader import TraceReader

    folder = Home(home).traces
    reader = TraceReader(folder)
    if not reader.exists():
        raise UserError(
            f"No traces are kept in {folder}.", hint="`corella up` keeps them. Those of a deployment: --tempo URL, or CORELLA_TEMPO."
        )
    return reader


def _tempo(url: str, token_file: Path | None, ca_file: Path | None) -> Any:
    from corella.tracing.tempo import Tempo

    return Tempo(url, token_file.read_text().strip() if token_file else "", ca_file)
