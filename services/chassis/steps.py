"""Spans of the steps of a call, and links from one trace to another.

    with step("cite", {"corella.passages": 4}) as span:
        ...

What a step raises is told by its kind only. The SDK's own way would record the error's text and its stack, which may hold the text of
questions and documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from services.chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from services.chassis.telemetry import carrier, tracer

CALLERS_FAULT = (InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, PermissionDenied, Unauthenticated, Unimplemented)
"""Errors that do not make a step one that failed: the service did what it had to."""
LINK = "corella.link"
"""Attribute of a link: what the other span is to this one, such as `adapter.training` or `answer`."""

_propagator = TraceContextTextMapPropagator()


@contextmanager
def step(
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
    context: Context | None = None,
) -> Iterator[Span]:
    """A span around what happens inside, the current one meanwhile. `context` holds its parent; None: the current span."""
    with tracer.start_as_current_span(
        name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as span:  # fmt: skip
        try:
            yield span
        except Exception as error:
            mark_failed(span, error)
            raise


def mark_failed(span: Span, error: BaseException) -> None:
    """Says on a span what kind of error ended it. Only one that is not the caller's fault makes it a failed one."""
    error_kind = type(error).__qualname__
    span.set_attribute("error.type", error_kind)
    if isinstance(error, Exception) and not isinstance(error, CALLERS_FAULT):
        span.set_status(Status(StatusCode.ERROR, error_kind))


def current_traceparent() -> str:
    """The current span in W3C's form, to be kept with what it makes; empty outside of any span."""
    return carrier().get("traceparent", "")


def kept_context(traceparent: str) -> Context:
    """What a span begins in to be a child of one that was kept in W3C's form. Empty, and so a new trace, where nothing was kept."""
    return _propagator.extract({"traceparent": traceparent}, Context())


def link(traceparent: str, what: str) -> list[Link]:
    """A link to a span that was kept in W3C's form, saying what it is to this one. None for what is empty or not of that form."""
    found = trace.get_current_span(_propagator.extract({"traceparent": traceparent}, Context())).get_span_context()
    return [Link(found, {LINK: what})] if found.is_valid else []


def add_link(span: Span, traceparent: str, what: str) -> None:
    """`link`, on a span that has begun already."""
    for each in link(traceparent, what):
        span.add_link(each.context, each.attributes)
