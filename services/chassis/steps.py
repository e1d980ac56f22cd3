"""Spans of the steps of a call, and links from one trace to another.

    with step("cite", {"corella.passages": 4}) as span:
        ...

What a step raises is told by its kind only. The SDK's own way would record the error's text and its stack, which may hold the text of
questions and documents.

A span costs 20 µs of processor time, twice that where nothing of it is in the caches. What happens many times in a request of some
milliseconds is therefore a `detail`: in traces that are not sampled it has a span only where that may explain why the trace is kept.
"""

from __future__ import annotations

import time
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

EXPLAINS_SLOWNESS_NS = 50_000_000
"""50 ms: beyond what is quick, and a hundredth of what makes a request a slow one by default (`telemetry.slow_seconds`)."""

_propagator = TraceContextTextMapPropagator()


@contextmanager
def step(
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
    context: Context | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> Iterator[Span]:
    """A span around what happens inside, the current one meanwhile. `context` holds its parent; None: the current span.

    Exceptions that are `expected` do not make it one that failed.
    """
    with tracer.start_as_current_span(
        name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as span:  # fmt: skip
        try:
            yield span
        except expected:
            raise
        except Exception as error:
            mark_failed(span, error)
            raise


class Detail:
    """A detail whose span, if there will be one, is made at its end."""

    def __init__(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.attributes = dict(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """As on a span."""
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """As on a span."""
        self.attributes.update(attributes)


@contextmanager
def detail(
    name: str,
    attributes: Mapping[str, AttributeValue],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    expected: tuple[type[Exception], ...] = (),
) -> Iterator[Span | Detail]:
    """A step that has a span only in a sampled trace, or when it failed or took 50 ms.

    Without one, spans begun inside are children of the span around it.
    """
    around = trace.get_current_span().get_span_context()
    if around.trace_flags.sampled or not around.is_valid:
        with step(name, attributes, kind=kind, expected=expected) as span:
            yield span
        return
    made, failure = Detail(attributes), None
    began_ns = time.time_ns()
    try:
        yield made
    except expected:
        raise
    except Exception as error:
        failure = error
        raise
    finally:
        ended_ns = time.time_ns()
        if failure is not None or ended_ns - began_ns >= EXPLAINS_SLOWNESS_NS:
            late = tracer.start_span(name, kind=kind, attributes=made.attributes, start_time=began_ns)
            if failure is not None:
                mark_failed(late, failure)
            late.end(ended_ns)


def tell(name: str, around: Span, begun_ns: int, ended_ns: int, attributes: Mapping[str, AttributeValue] | None = None) -> None:
    """A detail that is over when it is told, below the span `around`: as `detail`, it has a span in a sampled trace, or if it took 50 ms.

    Times are nanoseconds since the epoch.
    """
    slow = around.is_recording() and ended_ns - begun_ns >= EXPLAINS_SLOWNESS_NS
    if slow or around.get_span_context().trace_flags.sampled:
        within = trace.set_span_in_context(around)
        tracer.start_span(name, within, attributes=attributes, start_time=begun_ns).end(ended_ns)


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
