"""OTLP messages as spans. The only file that reads OpenTelemetry's protobuf."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2

from corella.tracing.spans import Event, Link, Span

_KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: "server",
    trace_pb2.Span.SPAN_KIND_CLIENT: "client",
    trace_pb2.Span.SPAN_KIND_PRODUCER: "producer",
    trace_pb2.Span.SPAN_KIND_CONSUMER: "consumer",
}


def spans_of(groups: Iterable[trace_pb2.ResourceSpans]) -> list[Span]:
    """The spans of an export or of a trace, in the order in which they stand there."""
    found = []
    for group in groups:
        resource = _attributes(group.resource.attributes)
        found += [_span(span, resource) for scope in group.scope_spans for span in scope.spans]
    return found


def spans_of_json(value: dict[str, Any]) -> list[Span]:
    """The spans of a trace in OTLP's JSON, or in that of Tempo, which has other names and base64 ids.

    Accepts `{"resourceSpans": […]}`, `{"batches": […]}` and `{"trace": {…}}`, with ids in hexadecimal or base64. Raises `ValueError` for
    anything else.
    """
    trace = value.get("trace", value)
    if not isinstance(trace, dict):
        raise ValueError("not a trace")
    groups: Any = trace.get("resourceSpans", trace.get("batches", []))
    try:
        for span in _json_spans(groups):
            for part in (span, *span.get("links", [])):
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in part:
                        part[key] = base64.b64encode(_id(part[key])).decode()
        message = json_format.ParseDict({"resourceSpans": groups}, trace_pb2.TracesData(), ignore_unknown_fields=True)
    except (AttributeError, TypeError, KeyError, json_format.ParseError) as error:
        raise ValueError(f"not a trace: {error}") from error
    return spans_of(message.resource_spans)


def _json_spans(groups: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for group in groups:
        # The former name of scopes, which stores that hold older traces still use.
        for scope in group.setdefault("scopeSpans", group.pop("instrumentationLibrarySpans", [])):
            yield from scope.get("spans", [])


def _id(text: str) -> bytes:
    # OTLP's JSON writes ids in hexadecimal (16 or 32 digits), protobuf's writes bytes in base64 (12 or 24 characters).
    try:
        return bytes.fromhex(text) if len(text) in {16, 32} else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"not an id: {text!r}") from error


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=str(resource.get("service.name", "")),
        name=span.name,
        kind=_KINDS.get(span.kind, "internal"),
        begin_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        status=span.status.message,
        attributes=_attributes(span.attributes),
        resource=resource,
        events=tuple(Event(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
