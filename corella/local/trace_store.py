"""The newest traces of a local run, in one SQLite file of bounded size.

    traces.sqlite   traces: one row each, what a list shows
                    spans: as they came (OTLP protobuf), by trace
                    resources: what is true of a process, once for all its spans

It is a memory aid, not a record: whoever needs every trace runs a collector. A file that cannot be read is set aside and begun anew.
Kill -9 loses nothing that was answered for: each export is one transaction of a write-ahead log.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.trace.v1 import trace_pb2

FILE_NAME = "traces.sqlite"
QUESTION = "corella.v1.GeneratorService/Ask"
"""Name of the server's span of one question."""
COMMANDS = "corella-cli"
_VERSION = 2
_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE traces (
  trace_id BLOB PRIMARY KEY, seen_at REAL NOT NULL, begin_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
  span_count INTEGER NOT NULL, dropped_count INTEGER NOT NULL, error_count INTEGER NOT NULL, byte_count INTEGER NOT NULL,
  service TEXT NOT NULL, name TEXT NOT NULL, has_root INTEGER NOT NULL,
  is_background INTEGER NOT NULL, question_ns INTEGER, question_failed INTEGER
) WITHOUT ROWID;
CREATE INDEX traces_by_age ON traces (seen_at);
CREATE TABLE resources (id INTEGER PRIMARY KEY, content BLOB NOT NULL UNIQUE);
CREATE TABLE spans (
  trace_id BLOB NOT NULL, span_id BLOB NOT NULL, resource INTEGER NOT NULL, content BLOB NOT NULL, UNIQUE (trace_id, span_id)
);
PRAGMA user_version = {_VERSION};
"""
MANY_RESOURCES = 200
_ROW_BYTES = 100
"""What a row takes beside its content, so that the limit holds for the file as well."""


@dataclass(frozen=True)
class Limits:
    """What is kept. Beyond, the traces that were seen longest ago go first."""

    max_bytes: int = 64 * 2**20
    """Of all spans; the file is about as large."""
    max_age_seconds: float = 7 * 86_400.0
    max_traces: int = 5_000
    max_traces_of_a_kind: int = 500
    """With the same root: so that what happens every second does not push out the training of yesterday."""
    max_spans_of_a_trace: int = 5_000
    """Further ones are counted, not kept."""
    prune_seconds: float = 20.0
    """How long the limits may be overstepped, at most by `prune_spans`."""
    prune_spans: int = 5_000


class TraceStore:
    """The one writer of a store. Safe to share between threads."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._pruned_at = 0.0
        self._spans_since = 0
        self.file = folder / FILE_NAME
        folder.mkdir(parents=True, exist_ok=True)
        self._database = _open(self.file)

    def add(self, groups: Iterable[trace_pb2.ResourceSpans]) -> int:
        """Keeps the spans of an export, all or none. One that is there already stays as it is. Returns how many were new.

        Raises `sqlite3.Error`, such as for a full disk; the same may then be tried again.
        """
        with self._lock, self._database:
            added = 0
            for group in groups:
                resource = self._resource(group)
                service = _service_of(group)
                added += sum(self._add(span, resource, service) for scope in group.scope_spans for span in scope.spans)
        self._spans_since += added
        if self._spans_since >= self._limits.prune_spans or time.monotonic() - self._pruned_at > self._limits.prune_seconds:
            self.prune()
        return added

    def prune(self) -> None:
        """Removes what is beyond the limits."""
        limits = self._limits
        with self._lock:
            with self._database:
                beyond = self._database.execute(
                    """
                    WITH recent AS (
                      SELECT trace_id, seen_at, byte_count, row_number() OVER (PARTITION BY service, name ORDER BY seen_at DESC) AS of_kind
                      FROM traces WHERE seen_at >= :oldest
                    ), kept AS (
                      SELECT trace_id, row_number() OVER (ORDER BY seen_at DESC) AS number,
                        sum(byte_count) OVER (ORDER BY seen_at DESC ROWS UNBOUNDED PRECEDING) AS bytes
                      FROM recent WHERE of_kind <= :of_a_kind
                    )
                    SELECT trace_id FROM traces
                    WHERE trace_id NOT IN (SELECT trace_id FROM kept WHERE number <= :traces AND bytes <= :bytes)
                    """,
                    {
                        "oldest": time.time() - limits.max_age_seconds, "traces": limits.max_traces,
                        "of_a_kind": limits.max_traces_of_a_kind, "bytes": limits.max_bytes,
                    },
                ).fetchall()  # fmt: skip
                self._database.executemany("DELETE FROM traces WHERE trace_id = ?", beyond)
                self._database.executemany("DELETE FROM spans WHERE trace_id = ?", beyond)
                # One a process; finding the unused ones reads every span.
                if self._database.execute("SELECT count(*) FROM resources").fetchone()[0] > MANY_RESOURCES:
                    self._database.execute("DELETE FROM resources WHERE id NOT IN (SELECT resource FROM spans)")
            # As a script, because it must be stepped to its end, a page a step.
            self._database.executescript("PRAGMA incremental_vacuum")
            # The file itself shrinks when its log is written back.
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._pruned_at, self._spans_since = time.monotonic(), 0

    def close(self) -> None:
        """Closes the file; what was added is in it."""
        with self._lock:
            self._database.close()

    def _resource(self, group: trace_pb2.ResourceSpans) -> int:
        content = group.resource.SerializeToString(deterministic=True)
        self._database.execute("INSERT OR IGNORE INTO resources (content) VALUES (?)", (content,))
        [found] = self._database.execute("SELECT id FROM resources WHERE content = ?", (content,)).fetchone()
        return int(found)

    def _add(self, span: trace_pb2.Span, resource: int, service: str) -> bool:
        if len(span.trace_id) != 16 or len(span.span_id) != 8:
            return False
        known = self._database.execute("SELECT span_count FROM traces WHERE trace_id = ?", (span.trace_id,)).fetchone()
        kept = known is None or known[0] < self._limits.max_spans_of_a_trace
        content = span.SerializeToString() if kept else b""
        if kept:
            row = (span.trace_id, span.span_id, resource, content)
            if self._database.execute("INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?)", row).rowcount == 0:
                return False
        failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        question = span.name == QUESTION and span.kind == trace_pb2.Span.SPAN_KIND_SERVER
        is_root = not span.parent_span_id
        # Until the root has come, the earliest span gives the trace its name.
        self._database.execute(
            """
            INSERT INTO traces
            VALUES (:id, :now, :begin, :end, :kept, 1 - :kept, :failed, :bytes, :service, :name, :root, :background, :q, :q_failed)
            ON CONFLICT (trace_id) DO UPDATE SET
              seen_at = :now, span_count = span_count + :kept, dropped_count = dropped_count + 1 - :kept,
              error_count = error_count + :failed, byte_count = byte_count + :bytes,
              service = iif(:root OR (NOT has_root AND :begin < begin_ns), :service, service),
              name = iif(:root OR (NOT has_root AND :begin < begin_ns), :name, name),
              has_root = max(has_root, :root), is_background = max(is_background, :background),
              begin_ns = min(begin_ns, :begin), end_ns = max(end_ns, :end),
              question_ns = coalesce(:q, question_ns), question_failed = coalesce(:q_failed, question_failed)
            """,
            {
                "id": span.trace_id, "now": time.time(), "begin": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                "kept": int(kept), "failed": int(failed), "bytes": len(content) + _ROW_BYTES if kept else 0, "service": service,
                "name": span.name, "root": int(is_root),
                # Begun by a service itself: neither by a command nor by a call from outside.
                "background": int(is_root and service != COMMANDS and span.kind != trace_pb2.Span.SPAN_KIND_SERVER),
                "q": span.end_time_unix_nano - span.start_time_unix_nano if question else None,
                "q_failed": int(failed) if question else None,
            },
        )  # fmt: skip
        return kept


def _service_of(group: trace_pb2.ResourceSpans) -> str:
    return next((pair.value.string_value for pair in group.resource.attributes if pair.key == "service.name"), "")


def _open(file: Path) -> sqlite3.Connection:
    try:
        return _opened(file)
    except sqlite3.DatabaseError:
        # Damaged, or of another version: nothing here is worth more than a run that starts.
        file.replace(file.with_suffix(".sqlite.unreadable"))
        for beside in ("-wal", "-shm"):
            file.with_name(file.name + beside).unlink(missing_ok=True)
        return _opened(file)


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=10.0, check_same_thread=False)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(_SCHEMA)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        database.execute("PRAGMA journal_mode = WAL")
        # With a write-ahead log this outlives the process's death; only a power cut may cost the last seconds.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {8 * 2**20}")
        database.execute("SELECT count(*) FROM traces").fetchone()
    except sqlite3.Error:
        database.close()
        raise
    return database
