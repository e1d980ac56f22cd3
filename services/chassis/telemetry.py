"""Traces, metrics and logs of a process, set up once, at its start.

Spans exist from the first line, so that every log line and every error carries a trace id; they leave the process only when an OTLP
endpoint is set. Text of questions, documents and answers enters a span only when `capture_text` is on: `text_attribute` decides.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from services.chassis.settings import TelemetrySettings

tracer = trace.get_tracer("corella")
meter = metrics.get_meter("corella")

_capture_text = False


def setup_telemetry(service: str, settings: TelemetrySettings) -> Callable[[], None]:
    """Sets up the process and returns what must be called at its end, so that the last spans are sent."""
    global _capture_text  # noqa: PLW0603 one switch for the process, set once at its start
    _capture_text = settings.capture_text
    setup_logging(service, settings)
    resource = Resource.create({"service.name": f"corella-{service}", "service.namespace": "corella"})
    traces = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(settings.sample_ratio))
    readers = []
    if settings.otlp_endpoint:
        # Imported here: exporters cost 0.3 s of start-up, which a process without an endpoint need not pay.
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        insecure = not settings.otlp_endpoint.startswith("https")
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=insecure)))
        exporter = OTLPMetricExporter(endpoint=settings.otlp_endpoint, insecure=insecure)
        interval = settings.metric_interval_seconds * 1000
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=interval))
    measures = MeterProvider(resource=resource, metric_readers=readers)
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(measures)

    def shutdown() -> None:
        traces.shutdown()
        measures.shutdown()

    return shutdown


def get_logger(name: str) -> Any:
    """A structured logger: `log.info("document_ingested", document=name, chunks=12)`."""
    return structlog.get_logger(name)


def current_trace_id() -> str:
    """Trace id of the current span, 32 hexadecimal digits; empty outside of any span."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def text_attribute(text: str) -> str:
    """The text itself when the deployment captures text, else only its length."""
    return text if _capture_text else f"({len(text)} characters)"


@contextmanager
def attached(carrier: Mapping[str, str]) -> Iterator[None]:
    """Makes the W3C trace context of a carrier (metadata, task headers) the parent of spans begun inside."""
    token = otel_context.attach(propagate.extract(dict(carrier)))
    try:
        yield
    finally:
        otel_context.detach(token)


def carrier() -> dict[str, str]:
    """The current trace context as W3C headers, to be sent along with a call or a task."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def _add_trace(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def setup_logging(service: str, settings: TelemetrySettings) -> None:
    """Sets up logs alone, for a process that forks: providers and exporters belong into its children."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = settings.log_format == "json"
    last: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Never with local variables: they hold questions and documents.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    # Lines of libraries take the same form as ours, so that a log reader meets one format only.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    structlog.contextvars.bind_contextvars(service=service)
    for noisy in ("httpx", "urllib3", "pymilvus", "asyncio"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
