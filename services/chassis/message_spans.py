"""Spans of messages, by OpenTelemetry's semantic conventions for messaging: one for sending, one for processing.

The span that processes is a child of the one that sent, so both are in the trace of whoever called. A message sent outside of any trace
(a beat's, a watch's) leaves no span: each would be a trace of its own that says nothing.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from services.chassis.steps import step
from services.chassis.telemetry import attached, carrier


@contextmanager
def sending(queue: str, task: str, count: int = 1) -> Iterator[dict[str, str]]:
    """Around the sending of `count` messages. Gives the headers they are to carry."""
    if not trace.get_current_span().get_span_context().is_valid:
        yield {}
        return
    # A batch of one is no batch, by the conventions.
    batch = {"messaging.batch.message_count": count} if count > 1 else {}
    attributes = {**_attributes("send", queue, task), **batch}
    with step(f"send {queue}", attributes, kind=SpanKind.PRODUCER):
        yield carrier()


@contextmanager
def processing(queue: str, task: str, headers: Mapping[str, object] | None) -> Iterator[None]:
    """Around what a message makes a worker do. `headers` are the message's."""
    received = {key: value for key, value in (headers or {}).items() if isinstance(value, str)}
    context = propagate.extract(received)
    if not trace.get_current_span(context).get_span_context().is_valid:
        # Nor is it a part of whatever was current here.
        with attached({}):
            yield
        return
    with step(f"process {queue}", _attributes("process", queue, task), kind=SpanKind.CONSUMER, context=context):
        yield


def _attributes(operation: str, queue: str, task: str) -> dict[str, str | int]:
    return {
        "messaging.system": "celery",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "corella.task": task,
    }
