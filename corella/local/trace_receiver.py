"""Receives the traces of a local run: `python -m corella.local.trace_receiver FOLDER PORT`. OTLP over gRPC, on 127.0.0.1 only.

Metrics and logs are taken and let go: metrics are served by each process at its own port, logs lie in files. Nobody waits for this
process: exporters work behind, and try again when it is away.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from corella.local.trace_store import TraceStore

NICENESS = 5
"""Less urgent than what it watches."""
MAX_MESSAGE_BYTES = 16 * 2**20
_LET_GO = (
    ("opentelemetry.proto.collector.metrics.v1.MetricsService", "Export"),
    ("opentelemetry.proto.collector.logs.v1.LogsService", "Export"),
)


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Puts every export into the store."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers once the spans are kept. UNAVAILABLE, which exporters try again, when the file cannot be written."""
        try:
            self._store.add(request.resource_spans)
        except sqlite3.Error as error:
            print(f"not kept: {error}", file=sys.stderr, flush=True)
            context.abort(grpc.StatusCode.UNAVAILABLE, f"The spans could not be kept: {error}")
        return trace_service_pb2.ExportTraceServiceResponse()


def serve(store: TraceStore, port: int) -> grpc.Server:
    """A started server. Raises `RuntimeError` when the port is taken."""
    server = grpc.server(
        futures.ThreadPoolExecutor(2),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(TraceReceiver(store), server)
    # An empty message is a full success in both contracts; the bytes are not even decoded.
    empty = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    server.add_generic_rpc_handlers(tuple(grpc.method_handlers_generic_handler(service, {method: empty}) for service, method in _LET_GO))
    healthy = health.HealthServicer(experimental_non_blocking=False)
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    os.nice(NICENESS)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    store = TraceStore(folder)
    server = serve(store, port)
    stop.wait()
    server.stop(1.0).wait()
    store.close()


if __name__ == "__main__":
    main()
