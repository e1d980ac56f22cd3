"""The services with and without telemetry, side by side, and the receiver that takes what they export."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from bench.retriever_stack import RetrieverStack, free_ports
from corella.local.stack import common_environment

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = "a tenth sampled"
START_SECONDS = 300
SERVICES = ("embedder", "retriever", "generator")
"""Each calls the one before it."""
_TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
_METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"


@dataclass
class Way:
    """A process of each service, all set up in one way, and what every turn of theirs took."""

    name: str
    ratio: float | None
    """Share of traces sampled; None: there is no telemetry."""
    addresses: dict[str, str] = field(default_factory=dict)
    """By service."""
    metrics: list[int] = field(default_factory=list)
    processes: list[psutil.Process] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By load: of each turn."""
    cpu_seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unscraped_seconds: float = 0.0

    def cpu(self) -> float:
        """Seconds of processor time taken so far, by the processes and by those they started."""
        each = [one for process in self.processes for one in (process, *process.children(recursive=True))]
        return sum(sum(one.cpu_times()[:2]) for one in each)


def ways() -> list[Way]:
    """Without telemetry, as the chart sets it, and with all of it."""
    return [Way("off", None), Way(DEFAULT, 0.1), Way("all sampled", 1.0)]


@contextmanager
def started(made: Sequence[Way], stack: RetrieverStack, receiver_port: int, folder: Path, services: Sequence[str]) -> Iterator[None]:
    """Starts the services of each way anew, beside a stack that has the stores, and ends them whatever happens."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for way in made:
            way.addresses, way.metrics, way.processes = {}, [], []
            for service in services:
                port, metrics_port = free_ports(2)
                way.addresses[service] = f"127.0.0.1:{port}"
                telemetry = _telemetry(way, service, receiver_port, metrics_port)
                own = {
                    f"CORELLA_{service.upper()}_SERVER__PORT": str(port),
                    "CORELLA_RETRIEVER_EMBEDDER__ADDRESS": way.addresses["embedder"],
                    "CORELLA_GENERATOR_RETRIEVER__ADDRESS": way.addresses.get("retriever", ""),
                    "CORELLA_GENERATOR_STATE_FOLDER": str(folder / f"state of {way.name}"),
                }
                environment = {**os.environ, **common_environment(), **stack.environment(service), **own, **telemetry}
                with (folder / f"{service} {way.name}.log").open("wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", f"services.{service}"], cwd=ROOT, env=environment, stdout=log, stderr=log
                    )
                running.append(process)
                way.processes.append(psutil.Process(process.pid))
                # One after the other: the next needs this one, and two cores start no two engines at once.
                _wait_for(process, way.addresses[service], Path(log.name))
        yield
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(60)


def _wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    ends_at = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while True:
            try:
                return ready.result(timeout=1)
            except grpc.FutureTimeoutError:
                if process.poll() is not None or time.monotonic() > ends_at:
                    raise SystemExit(f"{log.stem} did not start; its log ends:\n{log.read_text(errors='replace')[-3000:]}") from None


def _telemetry(way: Way, service: str, receiver_port: int, metrics_port: int) -> dict[str, str]:
    prefix = f"CORELLA_{service.upper()}_TELEMETRY__"
    if way.ratio is None:
        return {"OTEL_SDK_DISABLED": "true", f"{prefix}OTLP_ENDPOINT": "", f"{prefix}METRICS_PORT": "0"}
    way.metrics.append(metrics_port)
    return {
        "OTEL_SDK_DISABLED": "false",
        f"{prefix}OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}",
        f"{prefix}SAMPLE_RATIO": str(way.ratio),
        f"{prefix}METRICS_PORT": str(metrics_port),
    }


def receive(port: int) -> None:
    """A process of its own: takes every export, keeps those of traces, and says at its end how many spans they were."""
    taken: list[bytes] = []

    def traces(request: bytes, _context: Any) -> bytes:
        taken.append(request)
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    for service, method in ((_TRACES, traces), (_METRICS, lambda _request, _context: b"")):
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    sys.stdin.read()
    server.stop(1).wait()
    # Not decoded before: a collector has a machine of its own.
    exports = [trace_service_pb2.ExportTraceServiceRequest.FromString(one) for one in taken]
    print(sum(len(scope.spans) for one in exports for group in one.resource_spans for scope in group.scope_spans))
