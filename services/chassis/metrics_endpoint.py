"""The process's Prometheus endpoint, `http://metrics_host:metrics_port/metrics`.

It answers from threads of its own, also while the event loop is busy. A scraper that accepts OpenMetrics gets exemplars with the trace
and the span of a measurement. Metrics hold no text and no names of users or documents, so it asks for no authentication; who may reach
it is for the network to say.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import REGISTRY, CollectorRegistry, exposition
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry_logs import get_logger

log = get_logger(__name__)

_BIND_AGAIN_SECONDS = 5.0
_READ_SECONDS = 10.0
_LOOK_SECONDS = 0.05
"""How often the server looks whether it is to end."""


class ProcessRegistry(Collector):
    """What the process's libraries count in prometheus_client's own registry, with the process's size and time."""

    def collect(self) -> Iterator[Metric]:
        """The families as they are now."""
        return iter(REGISTRY.collect())


def serve_metrics(settings: TelemetrySettings, collectors: Sequence[Collector]) -> Callable[[], None]:
    """Begins to serve what the collectors say, and returns what ends it. No two of them may have a family of the same name.

    A service must not die of a port that is taken: that is logged as an error, and tried again until it is free.
    """
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    ended = threading.Event()
    servers: list[_Server] = []

    def bind() -> bool:
        try:
            server = _Server(settings.metrics_host, settings.metrics_port, registry)
        except OSError as error:
            log.error("metrics_port_taken", host=settings.metrics_host, port=settings.metrics_port, error=str(error))
            return False
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(_LOOK_SECONDS,), name="metrics", daemon=True).start()
        log.info("metrics_served", host=settings.metrics_host, port=settings.metrics_port)
        return True

    def keep_trying() -> None:
        while not ended.wait(_BIND_AGAIN_SECONDS):
            if bind():
                break

    waiting = None
    if not bind():
        waiting = threading.Thread(target=keep_trying, name="metrics-port", daemon=True)
        waiting.start()

    def end() -> None:
        ended.set()
        if waiting is not None:
            waiting.join()
        for server in servers:
            server.shutdown()
            server.server_close()

    return end


class _Server(ThreadingHTTPServer):
    block_on_close = False  # a scraper that reads slowly must not keep the process

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = registry
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # http.server's own asks DNS for its name, which may take seconds.
        socketserver.TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _READ_SECONDS

    def do_GET(self) -> None:
        """Answers a scrape."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            kind, text = _written(self.server.registry, self.headers.get("Accept", ""))
        except Exception:
            log.exception("metrics_not_collected")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: there is a scrape every few seconds."""


def _written(registry: CollectorRegistry, accept: str) -> tuple[str, bytes]:
    """Content type and text of the metrics.

    Names are written as they are. prometheus_client's own endpoint turns the colons of vLLM's into underscores for every scraper that
    accepts OpenMetrics and does not ask for `escaping=allow-utf-8`, as Prometheus 2 does not, and only in samples, not in their TYPE lines.
    """
    if "application/openmetrics-text" in accept:
        return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(registry, openmetrics.ALLOWUTF8)
    return exposition.CONTENT_TYPE_PLAIN_0_0_4, exposition.generate_latest(registry, openmetrics.ALLOWUTF8)
