"""Traces at a glance: one line of a list, and how long questions take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TraceSummary:
    """One line of a list of traces."""

    trace_id: str
    service: str
    name: str
    """Of the root; while that is not known, of the earliest span."""
    has_root: bool
    begin_ns: int
    duration_ns: int
    """From the first begin to the last end of its spans."""
    span_count: int | None
    """None: not known."""
    dropped_count: int
    """Spans beyond what is kept of one trace."""
    error_count: int | None


@dataclass(frozen=True)
class Questions:
    """How long questions took, in seconds, as the generator saw them: from the call to its end."""

    count: int = 0
    failed_count: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    """Both by the nearest rank: a value that was measured."""

    @staticmethod
    def of(seconds: Sequence[float], failed_count: int) -> Questions:
        """From durations in ascending order."""
        if not seconds:
            return Questions()

        def rank(share: float) -> float:
            return seconds[math.ceil(share * len(seconds)) - 1]

        return Questions(len(seconds), failed_count, rank(0.5), rank(0.95))
