"""A trace in the terminal: the tree of its spans, each with a bar where it lies in time. Everything shown is cleaned: see `output`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from corella.cli.output import clean, console, line
from corella.cli.trace_details import details, exceptions
from corella.cli.trace_rows import Shown, collapsed, guide_lines, single
from corella.tracing.summary import TraceSummary
from corella.tracing.tree import Waterfall

COLORS = {
    "cli": "white", "generator": "magenta", "retriever": "cyan", "retriever-worker": "blue", "embedder": "green", "trainer": "yellow",
    "trainer-worker": "bright_yellow", "trainer-driver": "bright_yellow",
}  # fmt: skip
MAX_LINKS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def show_trace(waterfall: Waterfall, *, everything: bool, attributes: bool, known: Callable[[str], TraceSummary | None]) -> None:
    """Writes a waterfall. `known` finds the trace a link points to, where it is at hand."""
    out = console()
    _heading(waterfall, out)
    width = out.width
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("span", no_wrap=True, overflow="ellipsis", max_width=max(28, width * 35 // 100))
    table.add_column("service", no_wrap=True)
    bar_width = 32 if width >= 140 else 16 if width >= 100 else 10
    table.add_column("", no_wrap=True, width=bar_width)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("own", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    lines = [single(row) for row in waterfall.rows] if everything else collapsed(waterfall.rows)
    for shown, guides in zip(lines, guide_lines([shown.row.depth for shown in lines]), strict=True):
        span = shown.row.span
        service = span.service.removeprefix("corella-")
        style = "red" if span.failed else COLORS.get(service, "")
        name = Text(guides, style="dim")
        name.append(("✗ " if span.failed else "") + line(span.name) + (f" ×{shown.count}" if shown.count > 1 else ""), style)
        words = Text(_words(shown, attributes=attributes), "red" if span.failed else "dim")
        table.add_row(
            name, Text(line(service), style), Text(bar(waterfall, span.begin_ns, shown.end_ns, bar_width), style),
            took(shown.duration_ns), Text(took(shown.own_ns), "dim"), words,
        )  # fmt: skip
    out.print(table)
    if attributes:
        _all_attributes(waterfall, out)
    _links(waterfall, out, known)
    _doubts(waterfall, out)


def bar(waterfall: Waterfall, begin_ns: int, end_ns: int, width: int) -> str:
    """Where it lies in the time of the whole trace, in eighths of a character; at least one is seen."""
    whole = max(waterfall.duration_ns, 1)
    first = (begin_ns - waterfall.begin_ns) / whole * width
    last = min(max((end_ns - waterfall.begin_ns) / whole * width, first + 0.125), width)
    cells = min(int(first), width - 1)
    if int(last) == int(first) or last - first < 1:
        return " " * cells + _EIGHTHS[max(1, min(8, round((last - first) * 8)))]
    rest = last - int(last)
    return " " * cells + "█" * (int(last) - cells) + (_EIGHTHS[round(rest * 8)] if round(rest * 8) else "")


def took(nanoseconds: int) -> str:
    """A time in three digits: `0.31 ms`, `12.0 ms`, `1.75 s`, `3 min 20 s`."""
    ms = nanoseconds / 1e6
    if ms < 1000:
        return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 120_000 else f"{int(ms / 60_000)} min {int(ms / 1000) % 60:02d} s"


def show_list(summaries: Iterable[TraceSummary]) -> None:
    """Writes a list of traces."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("trace", "what", "service", "begun", "took", "spans", "failed"):
        table.add_column(heading, justify="right" if heading in {"took", "spans", "failed"} else "left", no_wrap=heading != "what")
    for each in summaries:
        name = line(each.name, 60) or "(not known)"
        failed = "" if not each.error_count else str(each.error_count)
        table.add_row(
            each.trace_id, name if each.has_root else f"{name} (its beginning is missing)", line(each.service.removeprefix("corella-")),
            f"{datetime.fromtimestamp(each.begin_ns / 1e9):%m-%d %H:%M:%S}", took(each.duration_ns),
            "" if each.span_count is None else f"{each.span_count:,}", Text(failed, "red"),
        )  # fmt: skip
    console().print(table)


def _heading(waterfall: Waterfall, out: Any) -> None:
    root = waterfall.rows[0].span
    begun = datetime.fromtimestamp(waterfall.begin_ns / 1e9).astimezone()
    parts = [f"{begun:%Y-%m-%d %H:%M:%S %z}", took(waterfall.duration_ns), plural(len(waterfall.rows), "span")]
    parts.append(plural(len({row.span.service for row in waterfall.rows}), "service"))
    if waterfall.error_count:
        parts.append(f"{waterfall.error_count} failed")
    out.print(Text(f"{line(root.name)}  ", "bold").append(f"trace {waterfall.trace_id}", "dim"), soft_wrap=True)
    out.print(" · ".join(parts) + "\n", style="red" if waterfall.error_count else "dim", soft_wrap=True)


def _words(shown: Shown, *, attributes: bool) -> str:
    row = shown.row
    parts = ["its parent is missing"] if row.is_orphan else []
    if row.early_ns:
        parts.append(f"begins {took(row.early_ns)} before its parent")
    if shown.count > 1:
        below = f", {shown.span_count:,} spans with what is below" if shown.span_count > shown.count else ""
        return "; ".join([*parts, f"{shown.count} more, alike{below}"])
    parts += exceptions(row.span)
    return " · ".join([*parts, *([] if attributes else details(row.span))])


def _all_attributes(waterfall: Waterfall, out: Any) -> None:
    for row in waterfall.rows:
        span = row.span
        out.print(f"\n{line(span.name)}  {line(span.service)}  {span.span_id}  {span.kind}", style="bold", soft_wrap=True)
        for name, value in sorted(span.attributes.items()):
            out.print(f"  {line(name)} = {clean(str(value))}", soft_wrap=True)
        for link in span.links:
            told = ", ".join(f"{line(key)}={line(str(value))}" for key, value in sorted(link.attributes.items()))
            out.print(f"  → span {link.span_id} of trace {link.trace_id} {told}", soft_wrap=True)
        for event in span.events:
            out.print(f"  +{took(event.time_ns - span.begin_ns)} {line(event.name)}", soft_wrap=True)
            for name, value in sorted(event.attributes.items()):
                out.print(f"      {line(name)} = {clean(str(value))}", soft_wrap=True)


def _links(waterfall: Waterfall, out: Any, known: Callable[[str], TraceSummary | None]) -> None:
    """What it has to do with in other traces. Links within the trace are shown with `--attributes` only."""
    found: dict[tuple[str, str, str], int] = {}
    for row in waterfall.rows:
        for link in row.span.links:
            if link.trace_id != waterfall.trace_id:
                words = ", ".join(line(str(value), 80) for _, value in sorted(link.attributes.items()))
                key = (link.trace_id, line(row.span.name), words)
                found[key] = found.get(key, 0) + 1
    if found:
        out.print()
    for number, ((trace_id, name, words), count) in enumerate(found.items()):
        if number == MAX_LINKS:
            out.print(f"{len(found) - MAX_LINKS:,} more links: --json has them.", style="dim")
            return
        other = known(trace_id)
        more = [text for text in (words, f"{line(other.name)}, {took(other.duration_ns)}" if other else "") if text]
        times = f" ×{count}" if count > 1 else ""
        out.print(f"{name}{times} → trace {trace_id}" + (f" ({'; '.join(more)})" if more else ""), style="dim", soft_wrap=True)


def _doubts(waterfall: Waterfall, out: Any) -> None:
    """What is not as it should be in the trace itself."""
    if waterfall.orphan_count:
        out.print(
            f"\n{plural(waterfall.orphan_count, 'span')} without a parent here: it was not exported, not yet, or not kept.",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    for parent, child, by in waterfall.skewed:
        one = f"The clocks of {line(parent)} and {line(child)} differ" if parent != child else f"Clocks of {line(parent)} differ"
        out.print(f"{one} by at least {took(by)}: bars between them are shifted against each other.", style="yellow", soft_wrap=True)


def plural(count: int, word: str) -> str:
    """`1 span`, `2 spans`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
