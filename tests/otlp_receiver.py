"""An OTLP/gRPC receiver of the tests' own: keeps every span it is sent, and hands them on where one wants to see them elsewhere too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from corella.tracing.otlp import spans_of
from corella.tracing.spans import Span


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """What was received, by trace."""

    def __init__(self) -> None:
        self.port = 0
        self.metadata: list[dict[str, Any]] = []
        """Of each export."""
        self.forward_to = ""
        """`host:port` of another receiver, which gets the same; empty: nobody. It may be away."""
        self._spans: dict[tuple[str, str], Span] = {}
        self._changed = threading.Condition()

    @property
    def endpoint(self) -> str:
        """As OpenTelemetry's settings want it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """All spans so far."""
        with self._changed:
            return list(self._spans.values())

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace so far."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def until(self, holds: Callable[[list[Span]], bool], seconds: float, *, trace_id: str = "") -> list[Span]:
        """The spans (of one trace), as soon as they are as they should be. After `seconds` those that are there."""
        ends = time.monotonic() + seconds
        while True:
            found = self.trace(trace_id) if trace_id else self.spans
            left = ends - time.monotonic()
            if holds(found) or left <= 0:
                return found
            with self._changed:
                self._changed.wait(min(left, 0.5))

    def settled(self, trace_id: str, seconds: float, quiet_seconds: float = 3.0) -> list[Span]:
        """The spans of a trace once none has come for a while (services send every second) and none lacks its parent."""
        ends = time.monotonic() + seconds
        count, since = -1, time.monotonic()
        while time.monotonic() < ends:
            found = self.trace(trace_id)
            if len(found) != count:
                count, since = len(found), time.monotonic()
            elif found and not orphans(found) and time.monotonic() - since > quiet_seconds:
                break
            time.sleep(0.2)
        return self.trace(trace_id)

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Of both services: they have the method's name in common."""
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            return metrics_service_pb2.ExportMetricsServiceResponse()
        with self._changed:
            self.metadata.append(dict(context.invocation_metadata()))
            self._spans |= {(span.trace_id, span.span_id): span for span in spans_of(request.resource_spans)}
            self._changed.notify_all()
        if self.forward_to:
            try:
                with grpc.insecure_channel(self.forward_to) as channel:
                    trace_service_pb2_grpc.TraceServiceStub(channel).Export(request, timeout=5)
            except grpc.RpcError:
                pass
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def otlp_receiver(port: int = 0) -> Iterator[OtlpReceiver]:
    """A receiver that listens on 127.0.0.1."""
    receiver = OtlpReceiver()
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 * 2**20)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, server)
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield receiver
    finally:
        server.stop(1).wait()


def orphans(spans: list[Span]) -> list[Span]:
    """Those whose parent is not among them."""
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id and span.parent_id not in known]


def path(spans: list[Span], span: Span) -> list[str]:
    """A span and what caused it, outermost first, each as `service: name`."""
    by_id = {each.span_id: each for each in spans}
    found = []
    at: Span | None = span
    while at is not None:
        found.append(f"{at.service.removeprefix('corella-')}: {at.name}")
        at = by_id.get(at.parent_id)
    return found[::-1]
