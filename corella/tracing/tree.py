"""Spans laid out as a waterfall: who called whom, when, how long, and what of it was their own time. Spans in, rows out.

What does not fit is shown as it is, never mended: a span whose parent is missing stands at the top and says so, and one that begins before
its parent, which only clocks that differ can do, keeps its place in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corella.tracing.spans import Span

SKEW_NS = 1_000_000
"""Clocks of two processes of one machine, and of two calls of one, differ by less."""


@dataclass(frozen=True)
class Row:
    """One span in its place."""

    span: Span
    depth: int
    """0 for a root."""
    is_orphan: bool
    """Its parent is not in the trace."""
    early_ns: int
    """By how much it begins before its parent; 0: as it should."""
    own_ns: int
    """Its duration without the time in which a child was at work."""


@dataclass(frozen=True)
class Waterfall:
    """A trace in rows, parents before children, children by their begin."""

    trace_id: str
    rows: tuple[Row, ...]
    begin_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """From the first begin to the last end."""
        return self.end_ns - self.begin_ns

    @property
    def orphan_count(self) -> int:
        """Spans without their parent."""
        return sum(row.is_orphan for row in self.rows)

    @property
    def error_count(self) -> int:
        """Spans that failed."""
        return sum(row.span.failed for row in self.rows)

    @property
    def skewed(self) -> tuple[tuple[str, str, int], ...]:
        """(service of the parent, service of the child, largest difference in nanoseconds) where clocks differ."""
        by_id = {row.span.span_id: row.span for row in self.rows}
        found: dict[tuple[str, str], int] = {}
        for row in self.rows:
            if row.early_ns:
                pair = (by_id[row.span.parent_id].service, row.span.service)
                found[pair] = max(found.get(pair, 0), row.early_ns)
        return tuple((*pair, by) for pair, by in sorted(found.items()))


def lay_out(spans: Iterable[Span]) -> Waterfall:
    """The waterfall of the spans of one trace. Raises `ValueError` when there are none."""
    by_id = {span.span_id: span for span in spans}
    if not by_id:
        raise ValueError("a trace without spans")
    ordered = sorted(by_id.values(), key=lambda span: (span.begin_ns, span.span_id))
    children: dict[str, list[Span]] = {}
    for span in ordered:
        children.setdefault(span.parent_id if span.parent_id in by_id else "", []).append(span)
    rows: list[Row] = []
    seen: set[str] = set()
    # After the roots whatever hangs together in a circle, which no root leads to.
    for top in [*children.get("", []), *ordered]:
        stack: list[tuple[Span, int]] = [(top, 0)]
        while stack:
            span, depth = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            below = [child for child in children.get(span.span_id, []) if child.span_id not in seen]
            is_orphan = depth == 0 and bool(span.parent_id)
            early = 0 if is_orphan else _early(span, by_id.get(span.parent_id))
            rows.append(Row(span, depth, is_orphan, early, _own(span, below)))
            stack += [(child, depth + 1) for child in reversed(below)]
    return Waterfall(ordered[0].trace_id, tuple(rows), ordered[0].begin_ns, max(max(span.begin_ns, span.end_ns) for span in ordered))


def _early(span: Span, parent: Span | None) -> int:
    by = parent.begin_ns - span.begin_ns if parent is not None else 0
    return by if by > SKEW_NS else 0


def _own(span: Span, children: list[Span]) -> int:
    covered, reached = 0, span.begin_ns
    for child in children:
        begin, end = max(child.begin_ns, reached), min(child.end_ns, span.end_ns)
        if end > begin:
            covered += end - begin
            reached = end
    return max(span.duration_ns - covered, 0)
