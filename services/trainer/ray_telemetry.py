"""The part of a training's trace that Ray's workers tell, each a process of its own, on another machine perhaps.

    driver     handed_over(settings)                             goes along in the worker's configuration
    worker     with worker_span(handed, "train worker", …):      sent before the block is left, as Ray may end the process at once

Without an endpoint nothing is set up there: the libraries cost a worker half a second. A process may do several trials of a search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

from services.chassis.settings import TelemetrySettings
from services.chassis.steps import step
from services.chassis.telemetry import attached, carrier, setup_telemetry

SERVICE = "trainer-ray-worker"
_FLUSH_MILLISECONDS = 3_000

Handed = Mapping[str, Any]


def handed_over(settings: TelemetrySettings | None) -> Handed:
    """The current trace context and how to report, in plain values."""
    if settings is None or not settings.otlp_endpoint:
        return {}
    # A port of the driver's machine is nothing to a worker.
    return {"settings": settings.model_dump() | {"metrics_port": 0}, "headers": carrier()}


@contextmanager
def worker_span(handed: Handed, name: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
    """A span of a worker, a child of what was current when the worker was asked for."""
    if handed and not isinstance(trace.get_tracer_provider(), TracerProvider):
        setup_telemetry(SERVICE, TelemetrySettings(**handed["settings"]))
    try:
        with attached(handed.get("headers", {})), step(name, attributes) as span:
            yield span
    finally:
        provider = trace.get_tracer_provider()
        if handed and isinstance(provider, TracerProvider):
            provider.force_flush(_FLUSH_MILLISECONDS)
