"""The spans of one command: a root, and one for each call it makes. Small, because the OpenTelemetry SDK would double a client's start.

    trace = CommandTrace("corella ask")
    with trace:
        trace.open(endpoint)                    # nothing is recorded, and nothing sent along with calls, before
        Corella(observer=trace).ask("…")        # each call carries a W3C traceparent

The spans are exported (OTLP) when the command has done its work, by `corella.tracing.exporter`. A traceparent is sent only when there is
somebody to export to: a service's spans would otherwise name a parent that nobody ever sees.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from corella.tracing.endpoint import OtlpEndpoint

MAX_CALLS = 500
"""Calls that get a span of their own. Further ones, of a command that asks again and again, are children of the command itself."""


@dataclass
class RecordedSpan:
    """A span under way."""

    name: str
    parent_id: bytes = b""
    span_id: bytes = field(default_factory=lambda: os.urandom(8))
    begin_ns: int = 0
    end_ns: int = 0
    """0: not yet."""
    attributes: dict[str, str | int] = field(default_factory=dict)
    error: str = ""
    """What kind of error it ended with: a gRPC code or the name of an exception."""


@dataclass
class _UnderWay:
    """A trace that has not been closed."""

    root: RecordedSpan
    trace_id: bytes = field(default_factory=lambda: os.urandom(16))
    calls: list[tuple[RecordedSpan, Any]] = field(default_factory=list)
    """With the call of each, as soon as there is one."""
    is_parent: bool = False
    """Somebody was told of it."""


class CommandTrace:
    """The trace of one command. Safe to share between threads. Used as a context manager it is closed at the end, with what went wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._endpoint: OtlpEndpoint | None = None
        # Durations by the clock that nobody sets; the other one says when it all began.
        self._zero_ns = time.time_ns() - time.perf_counter_ns()
        self._trace = self._begun()

    def __enter__(self) -> CommandTrace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close(error)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self._trace.trace_id.hex()

    def open(self, endpoint: OtlpEndpoint | None) -> None:
        """From now on calls are recorded, to be exported there. None: nothing is recorded."""
        self._endpoint = endpoint

    def begin_anew(self) -> None:
        """Begins another trace, for the next question of somebody who goes on asking. What was not closed is forgotten."""
        with self._lock:
            self._trace = self._begun()

    def call_begins(self, method: str, address: str) -> tuple[Mapping[str, str], Callable[[Any], None]]:
        """What to send along with a call, and what to call with it once it has ended. See `corella.client.CallObserver`."""
        if self._endpoint is None:
            return {}, _nothing
        with self._lock:
            trace = self._trace
            trace.is_parent = True
            if len(trace.calls) >= MAX_CALLS:
                return _headers(trace, trace.root), _nothing
            span = RecordedSpan(method, trace.root.span_id, begin_ns=self._now())
            span.attributes = {"rpc.system.name": "grpc", "rpc.method": method, **_server(address)}
            place = len(trace.calls)
            trace.calls.append((span, None))

        def follow(call: Any) -> None:
            with self._lock:
                trace.calls[place] = (span, call)
            call.add_done_callback(lambda done: self._ended(span, done))

        return _headers(trace, span), follow

    def close(self, error: BaseException | None = None) -> None:
        """Ends the trace and exports it, unless no call was made. Failures to do so are nobody's trouble."""
        with self._lock:
            trace, wanted = self._trace, self._trace.is_parent
            trace.is_parent = False
            calls = list(trace.calls)
        if self._endpoint is None or not wanted:
            return
        root = trace.root
        root.name, root.end_ns, root.error = self.name, self._now(), _error_of(error)
        for span, call in calls:
            # gRPC tells of a call's end in a thread of its own, which may not have come round to it.
            if not span.end_ns and call is not None and call.done():
                self._ended(span, call)
            elif not span.end_ns:
                span.end_ns, span.error = root.end_ns, "UNFINISHED"
        # Imported here, when the person has their answer: this brings protobuf and gRPC's stubs.
        from corella.tracing.exporter import export

        export(self._endpoint, trace.trace_id, [root, *(span for span, _ in calls)])

    def _begun(self) -> _UnderWay:
        return _UnderWay(RecordedSpan(self.name, begin_ns=self._now()))

    def _ended(self, span: RecordedSpan, call: Any) -> None:
        code = call.code()
        span.attributes["rpc.response.status_code"] = code.name
        span.error = "" if code.name == "OK" else code.name
        span.end_ns = self._now()

    def _now(self) -> int:
        return self._zero_ns + time.perf_counter_ns()


def _headers(trace: _UnderWay, parent: RecordedSpan) -> dict[str, str]:
    # W3C Trace Context: version, trace, parent, and that it is sampled.
    return {"traceparent": f"00-{trace.trace_id.hex()}-{parent.span_id.hex()}-01"}


def _nothing(_call: Any) -> None:
    pass


def _server(address: str) -> dict[str, str | int]:
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    return {"server.address": host, "server.port": int(port)} if host and port.isdigit() else {"server.address": address}


def _error_of(error: BaseException | None) -> str:
    if error is None or getattr(error, "exit_code", 1) == 0:
        return ""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and hasattr(code(), "name") else type(error).__name__
