"""Spans of calls of Milvus, named as OpenTelemetry's conventions for databases say.

Names of collections hold ids of tenants and corpora; vectors, texts and filters enter no span. A call that belongs to no trace (sweeps,
looks at what is there) leaves none: each would be a trace of its own.

https://opentelemetry.io/docs/specs/semconv/db/database-spans/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from services.chassis.steps import detail

Attributes = Mapping[str, str | int]


class MilvusSpans:
    """Spans of calls of one Milvus."""

    def __init__(self, uri: str) -> None:
        at = urlsplit(uri)
        # A path is Milvus Lite's file.
        where: dict[str, str | int] = {"server.address": at.hostname} if at.hostname else {}
        if at.port:
            where["server.port"] = at.port
        self._always: dict[str, str | int] = {"db.system.name": "milvus", **where}

    @contextmanager
    def call(self, operation: str, collection: str, more: Attributes | None = None) -> Iterator[None]:
        """Around a call. `collection` may be empty; what is raised is told by its kind."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return
        target = {"db.collection.name": collection} if collection else {}
        attributes = {**self._always, "db.operation.name": operation, **target, **(more or {})}
        with detail(f"{operation} {collection}".strip(), attributes, kind=SpanKind.CLIENT):
            yield
