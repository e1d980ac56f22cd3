"""Sends the spans of a command to an OTLP receiver, once, at its end."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping
from importlib import metadata

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from corella.tracing.endpoint import OtlpEndpoint
from corella.tracing.recorder import RecordedSpan

TIMEOUT_SECONDS = 1.0
"""The command's work is done and its answer shown: for its spans nobody waits longer."""
SERVICE = "corella-cli"


def export(endpoint: OtlpEndpoint, trace_id: bytes, spans: list[RecordedSpan]) -> bool:
    """Whether it arrived. What went wrong is said with CORELLA_DEBUG only."""
    try:
        with _channel(endpoint) as channel:
            stub = trace_service_pb2_grpc.TraceServiceStub(channel)
            stub.Export(_request(trace_id, spans), timeout=TIMEOUT_SECONDS, metadata=tuple(endpoint.headers.items()))
        return True
    except (grpc.RpcError, OSError) as error:
        if os.environ.get("CORELLA_DEBUG"):
            sys.stderr.write(f"The spans of this command were not exported: {error}\n")
        return False


def _channel(endpoint: OtlpEndpoint) -> grpc.Channel:
    if not endpoint.secure:
        return grpc.insecure_channel(endpoint.target)
    certificates = endpoint.ca_file.read_bytes() if endpoint.ca_file else None
    return grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(certificates))


def _request(trace_id: bytes, spans: list[RecordedSpan]) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    group = request.resource_spans.add()
    resource = {
        "service.name": SERVICE,
        "service.namespace": "corella",
        "service.version": metadata.version("corella"),
        "service.instance.id": str(uuid.uuid4()),
    }
    group.resource.attributes.extend(_pairs(resource))
    scope = group.scope_spans.add()
    scope.scope.name = "corella"
    for span in spans:
        made = scope.spans.add(
            trace_id=trace_id, span_id=span.span_id, parent_span_id=span.parent_id, name=span.name, flags=1,
            kind=trace_pb2.Span.SPAN_KIND_CLIENT if span.parent_id else trace_pb2.Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=span.begin_ns, end_time_unix_nano=span.end_ns, attributes=_pairs(span.attributes),
        )  # fmt: skip
        if span.error:
            made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
            made.attributes.extend(_pairs({"error.type": span.error}))
    return request


def _pairs(attributes: Mapping[str, str | int]) -> list[common_pb2.KeyValue]:
    def value(of: str | int) -> common_pb2.AnyValue:
        return common_pb2.AnyValue(int_value=of) if isinstance(of, int) else common_pb2.AnyValue(string_value=of)

    return [common_pb2.KeyValue(key=key, value=value(of)) for key, of in attributes.items()]
