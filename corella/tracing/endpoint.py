"""Where a command's own spans go: to where the spans of the services it calls go."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

CONNECT_SECONDS = 0.3
"""Longest that a command waits to learn whether anybody is there. On one machine it takes less than a millisecond."""


@dataclass(frozen=True)
class OtlpEndpoint:
    """A receiver of OTLP over gRPC."""

    host: str
    port: int
    ca_file: Path | None = None
    secure: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def answers(self) -> bool:
        """Whether somebody accepts connections there."""
        try:
            socket.create_connection((self.host, self.port), CONNECT_SECONDS).close()
        except OSError:
            return False
        return True


def chosen_endpoint(of_run: str | None) -> OtlpEndpoint | None:
    """Where the services of a local run send theirs (empty: to no one place); without a run what OpenTelemetry's variables say.

    None: nowhere, or nobody is there, or not by gRPC.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    given = endpoint_of_environment()
    # The rest of the trace is where the run's services send it, whatever this terminal's variables say by now.
    url = given if of_run is None else of_run
    endpoint = _parsed(url, given=url == given)
    return endpoint if endpoint is not None and endpoint.answers() else None


def _variable(name: str) -> str:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""


def endpoint_of_environment() -> str:
    """What `OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT` says; empty where it is not set or not meant for gRPC."""
    return _variable("ENDPOINT") if _variable("PROTOCOL") in {"", "grpc"} else ""


def _parsed(url: str, *, given: bool) -> OtlpEndpoint | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 4317
    except ValueError:
        return None
    if not url or not host:
        return None
    if not given:
        return OtlpEndpoint(host, port)
    pairs = (pair.partition("=") for pair in _variable("HEADERS").split(",") if "=" in pair)
    certificate = _variable("CERTIFICATE")
    return OtlpEndpoint(
        host, port, Path(certificate) if certificate else None, parts.scheme == "https",
        {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs},
    )  # fmt: skip
