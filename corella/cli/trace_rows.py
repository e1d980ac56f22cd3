"""Which rows of a waterfall are shown one by one, and which as many of a kind. Rows in, rows out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from corella.tracing.tree import Row

ALIKE = 5
"""So many siblings of one name are shown as one line, unless everything is asked for."""
KEPT_OF_ALIKE = 2


@dataclass(frozen=True)
class Shown:
    """A line on the screen: a span, or several alike with all that is below them."""

    row: Row
    count: int = 1
    span_count: int = 1
    duration_ns: int = 0
    """Of several the sum."""
    own_ns: int = 0
    end_ns: int = 0


def single(row: Row) -> Shown:
    """A span as a line of its own."""
    return Shown(row, 1, 1, row.span.duration_ns, row.own_ns, row.span.end_ns)


def collapsed(rows: Sequence[Row]) -> list[Shown]:
    """Of siblings of one service and name only the first two, and the rest as one line. One with trouble below it is always shown."""
    ends, parents, troubled = _family(rows)
    kinds: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row.depth and not troubled[place]:
            kinds[parents[place], row.span.service, row.span.name].append(place)
    together = {members[KEPT_OF_ALIKE]: members[KEPT_OF_ALIKE:] for members in kinds.values() if len(members) >= ALIKE}
    hidden = {place for members in together.values() for place in members[1:]}
    found: list[Shown] = []
    place = 0
    while place < len(rows):
        if place in together:
            found.append(_several(rows, together[place], ends))
        elif place not in hidden:
            found.append(single(rows[place]))
            place += 1
            continue
        place = ends[place]
    return found


def guide_lines(depths: Sequence[int]) -> list[str]:
    """The lines that lead from each row's parent to it, of rows in the order of the tree."""
    lines: list[str] = []
    # From the end: whether at a level another sibling comes further down.
    goes_on: list[bool] = []
    for depth in reversed(depths):
        del goes_on[depth + 1 :]
        goes_on += [False] * (depth + 1 - len(goes_on))
        above = "".join("│ " if goes_on[level] else "  " for level in range(1, depth))
        lines.append(above + ("├ " if goes_on[depth] else "└ ") if depth else "")
        goes_on[depth] = True
    return lines[::-1]


def _several(rows: Sequence[Row], members: list[int], ends: list[int]) -> Shown:
    spans = [rows[place].span for place in members]
    return Shown(
        rows[members[0]],
        len(members),
        sum(ends[place] - place for place in members),
        sum(span.duration_ns for span in spans),
        sum(rows[place].own_ns for place in members),
        max(span.end_ns for span in spans),
    )


def _family(rows: Sequence[Row]) -> tuple[list[int], list[int], list[bool]]:
    """For each row: where what is below it ends, its parent (-1: none), and whether it or anything below it is out of order."""
    ends, parents = [len(rows)] * len(rows), [-1] * len(rows)
    troubled = [row.span.failed or row.is_orphan or row.early_ns > 0 for row in rows]
    open_rows: list[int] = []
    for place, row in enumerate(rows):
        while open_rows and rows[open_rows[-1]].depth >= row.depth:
            ends[open_rows.pop()] = place
        parents[place] = open_rows[-1] if open_rows else -1
        open_rows.append(place)
    for place in reversed(range(len(rows))):
        if troubled[place] and parents[place] >= 0:
            troubled[parents[place]] = True
    return ends, parents, troubled
