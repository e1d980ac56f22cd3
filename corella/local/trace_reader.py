"""Reads the traces that a local run keeps, while it runs or afterwards. Never writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.trace.v1 import trace_pb2

from corella.local.trace_store import FILE_NAME
from corella.tracing.otlp import spans_of
from corella.tracing.spans import Span
from corella.tracing.summary import Questions, TraceSummary

_SUMMARY = "trace_id, service, name, has_root, begin_ns, end_ns, span_count, dropped_count, error_count"


class UnreadableStore(Exception):
    """The store is damaged, or another version of Corella wrote it."""


@dataclass(frozen=True)
class TraceReader:
    """The store in one folder. Every method raises `FileNotFoundError` when there is none, and `UnreadableStore`."""

    folder: Path

    def exists(self) -> bool:
        """Whether there is a store."""
        return (self.folder / FILE_NAME).exists()

    def recent(
        self, limit: int, *, slowest_first: bool = False, failed_only: bool = False, background: bool = True, since_ns: int = 0
    ) -> list[TraceSummary]:
        """The newest traces, or the slowest ones; without `background` those only that a command or a call from outside began."""
        order = "end_ns - begin_ns" if slowest_first else "begin_ns"
        return self._summaries(
            f"WHERE begin_ns >= ? AND (error_count > 0 OR NOT ?) AND (? OR NOT is_background) ORDER BY {order} DESC LIMIT ?",
            (since_ns, failed_only, background, limit),
        )

    def matching(self, prefix: str) -> list[TraceSummary]:
        """Traces whose id begins so (hexadecimal), at most 10."""
        return self._summaries("WHERE lower(hex(trace_id)) LIKE ? || '%' ORDER BY begin_ns DESC LIMIT 10", (prefix.lower(),))

    def newest_question(self) -> TraceSummary | None:
        """The trace of the newest question. The command's own span is there at once, the generator's with its next export."""
        where = "WHERE question_ns IS NOT NULL OR name = 'corella ask' ORDER BY begin_ns DESC LIMIT 1"
        return next(iter(self._summaries(where, ())), None)

    def slowest_questions(self, limit: int, since_ns: int) -> list[TraceSummary]:
        """Traces of questions, the slowest first."""
        where = "WHERE question_ns IS NOT NULL AND begin_ns >= ? ORDER BY question_ns DESC LIMIT ?"
        return self._summaries(where, (since_ns, limit))

    def questions(self, since_ns: int) -> Questions:
        """How long questions took that were asked since then."""
        with self._database() as database:
            rows = database.execute(
                "SELECT question_ns, question_failed FROM traces WHERE question_ns IS NOT NULL AND begin_ns >= ? ORDER BY question_ns",
                (since_ns,),
            ).fetchall()
        return Questions.of([row[0] / 1e9 for row in rows], sum(row[1] for row in rows))

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of a trace; none when it is not there."""
        with self._database() as database:
            rows = database.execute(
                "SELECT spans.content, resources.content FROM spans JOIN resources ON resources.id = spans.resource WHERE trace_id = ?",
                (bytes.fromhex(trace_id),),
            ).fetchall()
        groups = []
        for content, resource in rows:
            group = trace_pb2.ResourceSpans()
            group.resource.ParseFromString(resource)
            group.scope_spans.add().spans.add().ParseFromString(content)
            groups.append(group)
        return spans_of(groups)

    def _summaries(self, rest: str, values: tuple[int | str, ...]) -> list[TraceSummary]:
        with self._database() as database:
            rows = database.execute(f"SELECT {_SUMMARY} FROM traces {rest}", values).fetchall()  # noqa: S608 nothing in it comes from outside
        return [
            TraceSummary(identity.hex(), service, name, bool(root), begin, max(end - begin, 0), count + dropped, dropped, errors)
            for identity, service, name, root, begin, end, count, dropped, errors in rows
        ]

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        file = self.folder / FILE_NAME
        if not file.exists():
            raise FileNotFoundError(str(file))
        database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            yield database
        except sqlite3.Error as error:
            raise UnreadableStore(f"{file} cannot be read: {error}.") from error
        finally:
            database.close()
