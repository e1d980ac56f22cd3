"""Traces, metrics and logs of a process, set up once, at its start.

    sampling.py              which traces are kept
    metrics_prometheus.py    OpenTelemetry's metrics as Prometheus families, with exemplars
    metrics_endpoint.py      the process's `/metrics`
    metrics_children.py      metrics of forked children at their parent's `/metrics`
    telemetry_logs.py        logs

Spans exist from the first line, so that every log line and every error carries a trace id; they leave the process only when an OTLP
endpoint is set. Text of questions, documents and answers enters a span only when `capture_text` is on: `text_attribute` decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from services.chassis.sampling import KeptExemplars, RecordingSampler, TraceKeeper
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry_logs import get_logger, setup_logging

if TYPE_CHECKING:
    from services.chassis.metrics_children import ChildrenMetrics

tracer = trace.get_tracer("corella")
meter = metrics.get_meter("corella")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0)
"""Bounds of histograms of durations: those of the semantic conventions, and three for answers written by a CPU."""

_EXPORT_EVERY_SECONDS = 1.0
_MAX_QUEUED_SPANS = 8_192
_FLUSH_SECONDS = 3.0
"""How long a process that ends tries to send its last spans and metrics, each."""

_capture_text = False
_keeper: TraceKeeper | None = None


def setup_telemetry(
    service: str, settings: TelemetrySettings, *, expose_process_registry: bool = False, children: ChildrenMetrics | None = None
) -> Callable[[], None]:
    """Sets up the process and returns what must be called at its end, so that the last spans are sent.

    `expose_process_registry` shows at the metrics endpoint also what libraries count with prometheus_client (vLLM does).
    `children` is given in a forked child: its metrics appear at its parent's endpoint, and it has none of its own.
    """
    global _capture_text, _keeper  # noqa: PLW0603 one switch and one keeper for the process, set once at its start
    _capture_text, _keeper = settings.capture_text, None
    setup_logging(service, settings)
    resource = Resource.create({"service.name": f"corella-{service}", "service.namespace": "corella", **_version()})
    traces = TracerProvider(resource=resource, sampler=RecordingSampler(settings.sample_ratio))
    readers: list[MetricReader] = []
    end_traces = traces.shutdown
    if settings.otlp_endpoint:
        # Imported here: exporters cost 0.3 s of start-up, which a process without an endpoint need not pay.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=_insecure(settings))
        batches = BatchSpanProcessor(exporter, max_queue_size=_MAX_QUEUED_SPANS, schedule_delay_millis=_EXPORT_EVERY_SECONDS * 1000)
        _keeper = TraceKeeper(batches, settings.slow_seconds)
        traces.add_span_processor(_keeper)
        end_traces = partial(_flushed, traces.shutdown, exporter.shutdown)
        # A measurement costs each reader the same again, and whoever has both ways would count everything twice.
        if settings.push_metrics or not (settings.metrics_port or children):
            readers.append(_pushing(settings))
    end_metrics = _prometheus(settings, resource, readers, expose_process_registry, children)
    measures = MeterProvider(resource=resource, metric_readers=readers, exemplar_filter=KeptExemplars(_is_kept))
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(measures)

    def shutdown() -> None:
        end_metrics()
        end_traces()
        try:
            measures.shutdown(timeout_millis=_FLUSH_SECONDS * 1000)
        except Exception as error:  # the only kind the SDK has for a receiver that is away; no reason to end otherwise than well
            get_logger(__name__).warning("last_metrics_not_sent", error=str(error))

    return shutdown


def _version() -> dict[str, str]:
    try:
        return {"service.version": version("corella")}
    except PackageNotFoundError:  # run from its folder, without being installed
        return {}


def _insecure(settings: TelemetrySettings) -> bool:
    return not settings.otlp_endpoint.startswith("https")


def _pushing(settings: TelemetrySettings) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=settings.otlp_endpoint, insecure=_insecure(settings))
    return PeriodicExportingMetricReader(exporter, export_interval_millis=settings.metric_interval_seconds * 1000)


def _prometheus(
    settings: TelemetrySettings, resource: Resource, readers: list[MetricReader], process_registry: bool, children: ChildrenMetrics | None
) -> Callable[[], None]:
    """Adds a reader for the metrics endpoint, this process's or its parent's, where there is one. Returns what ends it."""
    if children is None and not settings.metrics_port:
        return lambda: None
    # Imported here: most commands and tests have no endpoint.
    from prometheus_client import ProcessCollector
    from prometheus_client.registry import Collector

    from services.chassis.metrics_endpoint import ProcessRegistry, serve_metrics
    from services.chassis.metrics_prometheus import PrometheusCollector, PrometheusReader

    reader = PrometheusReader(resource.attributes)
    readers.append(reader)
    process: Collector = ProcessRegistry() if process_registry else ProcessCollector(registry=None)
    collectors = [PrometheusCollector(reader), process]
    return serve_metrics(settings, collectors) if children is None else children.report(collectors)


def _flushed(shutdown: Callable[[], None], interrupt: Callable[[], None]) -> None:
    """Sends what is left, for a few seconds: the SDK alone would wait half a minute for a receiver that is away."""
    timer = threading.Timer(_FLUSH_SECONDS, interrupt)
    timer.daemon = True
    timer.start()
    shutdown()
    timer.cancel()


def _is_kept(span: trace.Span) -> bool:
    return _keeper.keeps(span) if _keeper is not None else span.get_span_context().trace_flags.sampled


def is_held_back(span: trace.Span) -> bool:
    """Whether a span's trace was not sampled, so that its part here may be kept or not."""
    return _keeper is not None and not span.get_span_context().trace_flags.sampled


def kept_beyond_ratio() -> bool:
    """Whether the current span's trace was not sampled but its part here is kept all the same, which its caller must be told."""
    span = trace.get_current_span()
    return is_held_back(span) and _is_kept(span)


def keep_as_callee() -> None:
    """Keeps the current span's part of its trace because a callee keeps its own."""
    if _keeper is not None:
        _keeper.keep(trace.get_current_span().get_span_context(), "callee")


def current_trace_id() -> str:
    """Trace id of the current span, 32 hexadecimal digits; empty outside of any span."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def captures_text() -> bool:
    """Whether the deployment lets text into spans and logs."""
    return _capture_text


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
