"""Traces as JSON: what `corella trace --json` writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from corella.tracing.summary import TraceSummary
from corella.tracing.tree import Waterfall


def summary_value(summary: TraceSummary) -> dict[str, Any]:
    """One line of `--list`. Times in seconds since 1970 and in milliseconds."""
    return {
        "trace_id": summary.trace_id, "service": summary.service, "name": summary.name, "has_root": summary.has_root,
        "begin_time": summary.begin_ns / 1e9, "duration_ms": summary.duration_ns / 1e6, "spans": summary.span_count,
        "dropped_spans": summary.dropped_count, "failed_spans": summary.error_count,
    }  # fmt: skip


def trace_value(waterfall: Waterfall) -> dict[str, Any]:
    """A trace: its spans in the order of the waterfall, with offsets from its beginning."""
    return {
        "trace_id": waterfall.trace_id,
        "begin_time": waterfall.begin_ns / 1e9,
        "duration_ms": waterfall.duration_ns / 1e6,
        "failed_spans": waterfall.error_count,
        "orphans": waterfall.orphan_count,
        "clock_skew": [{"parent": parent, "child": child, "at_least_ms": by / 1e6} for parent, child, by in waterfall.skewed],
        "spans": [
            {
                "span_id": row.span.span_id, "parent_id": row.span.parent_id, "depth": row.depth, "service": row.span.service,
                "name": row.span.name, "kind": row.span.kind, "offset_ms": (row.span.begin_ns - waterfall.begin_ns) / 1e6,
                "duration_ms": row.span.duration_ns / 1e6, "own_ms": row.own_ns / 1e6, "failed": row.span.failed,
                "status": row.span.status, "orphan": row.is_orphan, "attributes": _plain(row.span.attributes),
                "events": [{**asdict(event), "attributes": _plain(event.attributes)} for event in row.span.events],
                "links": [{**asdict(link), "attributes": _plain(link.attributes)} for link in row.span.links],
            }
            for row in waterfall.rows
        ],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(of) for key, of in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
